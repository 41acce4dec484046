"""Arguments of `from_pretrained`: settings of the fusion, options of transformers and of the hub, and other names."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from torch import Tensor

from theworld.config.renamed import current_arguments
from theworld.modeling.configuration import WORLD_CONFIG_FIELDS, WorldFields, as_adapters

SETTINGS: Final = WORLD_CONFIG_FIELDS - {
    "model_type",
    "base_revision",
    "base_fingerprint",
    "world_channels",
    "world_stride_px",
    "world_fingerprint",
    "trained_parts",
}
"""Fields of the configuration that `TheWorld.from_pretrained` accepts; it finds the others out itself."""

_OF_TRANSFORMERS: Final = frozenset(
    [
        "adapter_kwargs",
        "adapter_name",
        "allow_all_kernels",
        "attn_implementation",
        "cache_dir",
        "device_map",
        "device_mesh",
        "disable_mmap",
        "distributed_config",
        "dtype",
        "experts_implementation",
        "force_download",
        "from_flax",
        "from_tf",
        "fusion_config",
        "generation_config",
        "gguf_file",
        "ignore_mismatched_sizes",
        "kernel_config",
        "key_mapping",
        "local_files_only",
        "low_cpu_mem_usage",
        "max_memory",
        "mirror",
        "offload_buffers",
        "offload_folder",
        "offload_state_dict",
        "proxies",
        "quantization_config",
        "state_dict",
        "subfolder",
        "token",
        "torch_dtype",
        "tp_plan",
        "tp_size",
        "tqdm_class",
        "trust_remote_code",
        "use_kernels",
        "use_safetensors",
        "variant",
        "weights_only",
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
    ]
)
"""Arguments that `PreTrainedModel.from_pretrained` takes, besides those of our own signature."""

_OUR_OWN: Final = frozenset({"revision", "load_world", "transfer_tap", "world_device", "output_loading_info", "config"})

_NAMES: Final = {"hf_token": "token", "use_auth_token": "token", "device": "device_map"}
"""Names of other libraries and of former versions to the names here."""

_REMEDIES: Final = {
    "load_in_8bit": "use quantization_config=BitsAndBytesConfig(load_in_8bit=True), from transformers",
    "load_in_4bit": "use quantization_config=BitsAndBytesConfig(load_in_4bit=True), from transformers",
    "use_flash_attention_2": 'use attn_implementation="flash_attention_2"',
    "precision": 'use dtype="bfloat16" or "float32"',
    "resume_download": "drop it: downloads always continue",
}
"""Arguments that have no single counterpart here."""


def renamed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments under their names here; each other name is announced once.

    Raises:
        TypeError: for an argument under two names.
    """
    return current_arguments(arguments, _NAMES, "from_pretrained")


def take_settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the settings from keyword arguments and return them; the rest is for transformers.

    Args:
        arguments: fields of TheWorldConfig, or `config=` with all of them, as AutoModel passes a checkpoint's.
            `load_full_cosmos_pipeline=True` of earlier code names the tap `rollout`.

    Raises:
        TypeError: for a name that looks like a misspelt setting, or a setting under two names.
    """
    current = renamed(arguments)
    arguments.clear()
    arguments.update(current)
    config = arguments.pop("config", None)
    if config is not None and not isinstance(config, WorldFields):
        raise TypeError(f"config={type(config).__name__}: expected a TheWorldConfig, or its fields one by one")
    values = {} if config is None else {name: getattr(config, name) for name in SETTINGS}
    if arguments.pop("load_full_cosmos_pipeline", False) and arguments.get("enable_world", True):
        arguments.setdefault("world_tap", "rollout")
    if arguments.get("lora") is not None:
        arguments["lora"] = as_adapters(arguments["lora"])
    for name in arguments.keys() - SETTINGS - _OF_TRANSFORMERS - _REMEDIES.keys():
        if meant := get_close_matches(name, SETTINGS, n=1, cutoff=0.8):
            raise TypeError(f"no setting {name!r}: did you mean {meant[0]!r}?")
    return {**values, **{name: arguments.pop(name) for name in SETTINGS & arguments.keys()}}


def check_options(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that transformers does not take, before anything loads.

    Args:
        arguments: of `TheWorld.from_pretrained`, without the settings.

    Raises:
        TypeError: with the name, and the right one if there is one.
    """
    for name in sorted(arguments.keys() - _OF_TRANSFORMERS):
        remedy = _REMEDIES.get(name)
        if remedy is None:
            known = SETTINGS | _OF_TRANSFORMERS | _OUR_OWN
            close = get_close_matches(name.lstrip("_"), known, n=1, cutoff=0.6)
            remedy = f"did you mean {close[0]}?" if close else "it is no setting of TheWorld, and none of transformers'"
        raise TypeError(f"from_pretrained takes no {name}: {remedy}")
    quantization = arguments.get("quantization_config")
    if quantization is not None and not (isinstance(quantization, Mapping) or hasattr(quantization, "quant_method")):
        raise TypeError(
            f"quantization_config={type(quantization).__name__}: expected a quantization config of transformers, such"
            " as BitsAndBytesConfig(load_in_4bit=True)"
        )


def hub_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that say how files are downloaded."""
    return {name: arguments[name] for name in ("token", "cache_dir", "local_files_only") if name in arguments}


def pictures_and_question(inputs: Any, question: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the first two arguments of `generate`, also if they are given as `image=` and by other names.

    Args:
        inputs: the first argument.
        question: the second one.
        options: all others; pictures are removed from them.

    Raises:
        TypeError: for an argument under a name that `generate` does not have, or pictures without a question.
    """
    for name in ("prompt", "prompts", "text", "questions", "images", "video", "videos", "clip"):
        if name in options:
            meant = "question" if name in ("prompt", "prompts", "text", "questions") else "image"
            more = ", which takes a video, too" if name in ("video", "videos", "clip") else ""
            raise TypeError(
                f"generate takes no {name}: use generate(image=..., question=...); it is {meant} here{more}"
            )
    for name in ("start", "end", "frame_rate", "fps", "num_frames"):
        if name in options:
            raise TypeError(
                f"generate takes no {name}: give the video as a part of a chat,"
                ' generate({"type": "video", "video": ..., "start": ..., "end": ..., "frame_rate": ...}, question)'
            )
    if "image" in options:
        if inputs is not None:
            raise TypeError("generate got pictures twice: as its first argument, and as image=")
        inputs = options.pop("image")
    if question is None and inputs is not None and not isinstance(inputs, Tensor):
        raise TypeError(f"generate got a {type(inputs).__name__} without a question: use generate(image, question)")
    return inputs, question


def take_generation_config(config: Any, options: dict[str, Any]) -> None:
    """Move a generation config that is the second argument of `generate` to the options, and check them.

    Raises:
        TypeError: for two generation configs.
        ValueError: for `prefill_chunk_size`.
    """
    if config is not None:
        if "generation_config" in options:
            raise TypeError("generate got two generation configs: the second argument and generation_config=")
        options["generation_config"] = config
    if options.get("prefill_chunk_size") or getattr(options.get("generation_config"), "prefill_chunk_size", None):
        raise ValueError("prefill_chunk_size cannot split world tokens: drop it")
