"""Find the parts of a Cosmos-Predict2 checkpoint on the hub or on disk, and load them one by one."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError
from torch import nn

from theworld import tiny
from theworld.config import CONTROL_TAPS, WorldSettings
from theworld.constants import TINY_MODEL
from theworld.hub import again, fetch
from theworld.tiny.random_weights import draw_weights, measure_latents
from theworld.world.custom import FeatureShape, own_tap
from theworld.world.siglip import gemma_folder, vision_config
from theworld.world.vae import skip_empty_frames

Part = Literal["vae", "transformer", "scheduler"]
CONFIG_FILES: dict[Part, str] = {
    "vae": "config.json",
    "transformer": "config.json",
    "scheduler": "scheduler_config.json",
}
CLASSES: dict[Part, type] = {
    "vae": AutoencoderKLWan,
    "transformer": CosmosTransformer3DModel,
    "scheduler": FlowMatchEulerDiscreteScheduler,
}
"""The only class of each part that the taps run; diffusers would build it from the files of any other."""

_BOUNDS: dict[Part, dict[str, tuple[int, int]]] = {
    "vae": {"z_dim": (1, 1_024)},
    "transformer": {
        "num_layers": (1, 1_024),
        "num_attention_heads": (1, 1_024),
        "attention_head_dim": (1, 4_096),
        "text_embed_dim": (1, 65_536),
    },
}
_LISTS: dict[Part, dict[str, range]] = {
    "vae": {"temperal_downsample": range(1, 9)},
    "transformer": {"patch_size": range(3, 4)},
}
"""Fields that shapes of features depend on: their least and greatest values, or the lengths of their lists."""

WEIGHTED_PARTS: tuple[Part, ...] = ("vae", "transformer")


_UNBUILDABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors of networks that are built from values that do not fit."""


def parts_read(settings: WorldSettings) -> tuple[Part, ...]:
    """Return the parts of a Cosmos checkpoint that this tap needs; never the text encoder."""
    if settings.reads == "siglip" or own_tap(settings) is not None:
        return ()
    if settings.reads == "vae":
        return ("vae", "transformer", "scheduler") if settings.shape_of == "rollout" else ("vae",)
    return ("vae", "transformer", "scheduler") if denoises(settings) else ("vae", "transformer")


def denoises(settings: WorldSettings) -> bool:
    """Return True if a `dit` tap reads states during the pipeline's own denoising."""
    return settings.shape_of == "dit" and settings.dit_future == "denoised"


def resolve_cosmos(
    name: str, revision: str | None, parts: Sequence[Part], weights: bool = True
) -> tuple[Path, str | None]:
    """Return the folder of the named parts; from the hub, only these are downloaded.

    Args:
        name: hub id, folder, or "tiny".
        revision: commit of the hub repository.
        parts: required subfolders.
        weights: download the weights, too, and not only the configuration files.

    Returns:
        The folder, and the commit if it came from the hub.

    Raises:
        ValueError: if it cannot be found or downloaded, or lacks a part.
    """
    commit = None
    if name == TINY_MODEL or Path(name).is_dir():
        if revision is not None:
            raise ValueError(f"cosmos_revision={revision!r} is a commit on the hub, but {name!r} is a folder: drop it")
        folder = tiny.stack() / "cosmos" if name == TINY_MODEL else Path(name)
    else:
        kinds = ("json", "safetensors") if weights else ("json",)
        patterns = ["model_index.json", *(f"{part}/*.{kind}" for part in parts for kind in kinds)]
        folder = fetch(name, patterns, revision)
        commit = folder.name
    needed = [f"{part}/{CONFIG_FILES[part]}" for part in parts]
    if weights:
        needed += [f"{part}/*.safetensors" for part in parts if part in WEIGHTED_PARTS]
    missing = [pattern for pattern in needed if not any(folder.glob(pattern))]
    if missing:
        raise ValueError(
            f"{folder}: no {', '.join(missing)}; expected the layout of nvidia/Cosmos-Predict2-2B-Video2World"
            f" with the parts {', '.join(parts)}"
        )
    check_pipeline(folder)
    return folder, commit


def _parts_of_shape(settings: WorldSettings) -> tuple[Part, ...]:
    """Return the parts whose configuration files decide the shape of a feature."""
    return ("vae", "transformer") if settings.reads == "dit" else ("vae",)


def locate(settings: WorldSettings, weights: bool = True) -> tuple[WorldSettings, str | None]:
    """Replace the names in the settings by folders, and return the commit of the Cosmos repository: one hub access.

    Args:
        settings: of the tap.
        weights: download the parts that the tap reads (controls have no weights); False: those of `feature_shape`.

    Raises:
        ValueError: as `resolve_cosmos`.
    """
    if own_tap(settings) is not None:  # your own tap finds its files itself
        return settings, None
    if settings.reads == "siglip":
        return replace(settings, siglip_model_name=str(gemma_folder(settings.siglip_model_name, weights))), None
    parts = parts_read(settings) if weights else _parts_of_shape(settings)
    weights = weights and settings.tap not in CONTROL_TAPS
    folder, commit = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights)
    return replace(settings, cosmos_model_name=str(folder), cosmos_revision=None), commit


def read_config(folder: Path, part: Part) -> dict[str, Any]:
    """Read the configuration of one part, without the names and versions of its author.

    Raises:
        ValueError: if the file is no JSON object, or belongs to a network or schedule of another class.
    """
    file = folder / part / CONFIG_FILES[part]
    values = _read_object(file, folder)
    _check_class(file, values.get("_class_name"), part)
    for name, (least, most) in _BOUNDS.get(part, {}).items():
        value = values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{file}: {name}={value!r}: expected a whole number of {least} to {most}; {again(folder)}")
    for name, length in _LISTS.get(part, {}).items():
        value = values.get(name)
        if (
            not isinstance(value, list)
            or len(value) not in length
            or any(type(item) not in (int, bool) for item in value)
        ):
            raise ValueError(
                f"{file}: {name}={value!r}: expected a list of {length[0]} to {length[-1]} values; {again(folder)}"
            )
    return {key: value for key, value in values.items() if not key.startswith("_")}


def check_pipeline(folder: Path) -> None:
    """Check the classes in model_index.json, if the checkpoint has this file.

    Raises:
        ValueError: for a pipeline with another network or schedule than those that the taps run.
    """
    file = folder / "model_index.json"
    if not file.is_file():
        return
    values = _read_object(file, folder)
    for part in CONFIG_FILES:
        entry = values.get(part)
        if isinstance(entry, list) and len(entry) == 2:  # library and class
            _check_class(file, entry[1], part, where=f"{part}: ")


def _read_object(file: Path, folder: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); {again(folder)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} is damaged (it holds no JSON object); {again(folder)}")
    return values


def _check_class(file: Path, name: Any, part: Part, where: str = "") -> None:
    """Raise an error for another class; a part without a name is taken for ours."""
    known = CLASSES[part].__name__
    if name not in (None, known):
        raise ValueError(
            f"{file}: {where}the class {name!r}; expected {known!r}, the one that Cosmos-Predict2 has and TheWorld"
            " runs: name another checkpoint with cosmos_model_name, or register a tap of your own for this one"
        )


def feature_shape(settings: WorldSettings) -> FeatureShape:
    """Compute the channels and the stride of a tap's features from the configuration files alone.

    Raises:
        ValueError: if the checkpoint cannot be found, or has no block `dit_block`.
    """
    if (registered := own_tap(settings)) is not None:
        return registered.shape(settings)
    if settings.reads == "siglip":
        vision = vision_config(settings.siglip_model_name)
        return FeatureShape(vision.hidden_size, vision.patch_size)
    parts = _parts_of_shape(settings)
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights=False)
    vae = read_config(folder, "vae")
    stride_px = 2 ** len(vae["temperal_downsample"])  # as in diffusers' pipeline
    if settings.reads != "dit":
        return FeatureShape(vae["z_dim"], stride_px)
    transformer = read_config(folder, "transformer")
    _check_block(settings.dit_block, transformer["num_layers"], folder)
    num_channels = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    return FeatureShape(num_channels, stride_px * transformer["patch_size"][1])


def load_vae(settings: WorldSettings, device: str | torch.device = "cpu") -> AutoencoderKLWan:
    """Load the VAE in `settings.dtype`; the tap `random` draws its weights from `settings.seed`."""
    folder = _folder(settings, "vae")
    dtype = getattr(torch, settings.dtype)
    if settings.tap != "random":
        return skip_empty_frames(_load(AutoencoderKLWan, folder, "vae", dtype).to(device))
    generator = torch.Generator().manual_seed(settings.seed)
    vae = _draw(AutoencoderKLWan, folder, "vae", generator)
    measure_latents(vae, generator)  # the statistics on disk are for the trained weights
    nn.Module.to(vae, device, dtype)  # in place; the class's own `to` warns about layers that it lacks
    return skip_empty_frames(vae)


def load_transformer(settings: WorldSettings, device: str | torch.device = "cpu") -> CosmosTransformer3DModel:
    """Load the denoiser in `settings.dtype`: all of it if it imagines, else the blocks up to `dit_block`.

    The tap `random` draws its weights from `settings.seed`.

    Raises:
        ValueError: if there is no block `dit_block`, or a tensor is missing or foreign.
    """
    folder = _folder(settings, "transformer")
    dtype = getattr(torch, settings.dtype)
    num_layers = read_config(folder, "transformer")["num_layers"]
    if settings.reads == "dit":
        _check_block(settings.dit_block, num_layers, folder)
        if not denoises(settings):
            num_layers = settings.dit_block + 1
    if settings.tap == "random":
        generator = torch.Generator().manual_seed(settings.seed)
        transformer = _draw(CosmosTransformer3DModel, folder, "transformer", generator, num_layers=num_layers)
        nn.Module.to(transformer, device, dtype)
        return transformer
    kept = "|".join(map(str, range(num_layers)))
    later_block = rf"transformer_blocks\.(?!({kept})\.)\d+\."
    transformer = _load(CosmosTransformer3DModel, folder, "transformer", dtype, later_block, num_layers=num_layers)
    return transformer.to(device)


def load_scheduler(settings: WorldSettings) -> FlowMatchEulerDiscreteScheduler:
    """Load the noise schedule.

    Raises:
        ValueError: without Karras sigmas: the schedule would run upwards, and features would be NaN without an error.
    """
    folder = _folder(settings, "scheduler")
    read_config(folder, "scheduler")  # names a damaged file
    try:
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    except _UNBUILDABLE as error:
        file = folder / "scheduler" / CONFIG_FILES["scheduler"]
        raise ValueError(f"{file}: gives no schedule ({' '.join(str(error).split())}); {again(folder)}") from error
    if not scheduler.config.use_karras_sigmas:
        raise ValueError(
            f"{folder / 'scheduler'}: use_karras_sigmas is off; Cosmos-Predict2 is sampled with Karras sigmas: set it"
            " in scheduler_config.json"
        )
    return scheduler


def _folder(settings: WorldSettings, part: Part) -> Path:
    weights = settings.tap not in CONTROL_TAPS
    return resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, (part,), weights)[0]


def _check_block(block: int, num_layers: int, folder: Path) -> None:
    if block >= num_layers:
        raise ValueError(
            f"dit_block={block}, but the transformer in {folder} has {num_layers} blocks: choose 0 to {num_layers - 1}"
        )


def _load(
    model_class: type[ModelMixin], folder: Path, part: Part, dtype: torch.dtype, left_out: str = "$^", **kwargs: Any
) -> Any:
    """Load a part in eval mode and check every tensor; those that match `left_out` may stay on disk."""
    read_config(folder, part)  # names a damaged file, and another network
    load: Any = model_class.from_pretrained
    try:
        with _quiet_about_left_out():
            options = {"torch_dtype": dtype, "use_safetensors": True, "output_loading_info": True, **kwargs}
            model, report = load(folder, subfolder=part, **options)
    except (SafetensorError, OSError, *_UNBUILDABLE) as error:  # diffusers has no error class of its own
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder / part}: missing, damaged or half-downloaded weights ({reason}); {again(folder)}"
        ) from error
    foreign = [key for key in report["unexpected_keys"] if not re.match(left_out, key)]
    missing = list(report["missing_keys"])
    if missing or foreign or report["mismatched_keys"]:
        raise ValueError(
            f"{folder / part}: {len(missing)} tensors missing {missing[:3]}, {len(foreign)} foreign {foreign[:3]},"
            f" {len(report['mismatched_keys'])} of another shape; the files are not those of its config.json"
        )
    return model


def _draw(model_class: Any, folder: Path, part: Part, generator: torch.Generator, **changes: Any) -> Any:
    """Build the part in eval mode with random weights, without touching the global random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            model = model_class.from_config(read_config(folder, part), **changes)
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder / part / CONFIG_FILES[part]}: gives no network ({reason}); {again(folder)}"
        ) from error
    draw_weights(model, generator)
    return model.eval()


@contextmanager
def _quiet_about_left_out() -> Iterator[None]:
    """Silence the warning that lists every tensor left on disk; `_load` checks them by name."""

    def is_other(record: logging.LogRecord) -> bool:
        return "were not used when initializing" not in record.getMessage()

    reporting = logging.getLogger("diffusers.models.modeling_utils")
    reporting.addFilter(is_other)
    try:
        yield
    finally:
        reporting.removeFilter(is_other)
