"""TheWorld: the public model class, with loading, generation, freezing and saving."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from theworld.constants import DEFAULT_GEMMA_MODEL
from theworld.io import whole_files
from theworld.modeling import arguments, base_files, checkpoints, devices, freezing, loading, lora, names, quantization
from theworld.modeling.bases import SHARED_PREFIX
from theworld.modeling.configuration import TheWorldConfig, TheWorldGemma4Config, TheWorldQwen3VLConfig, WorldFields
from theworld.modeling.fusion import Fusion
from theworld.modeling.generation import PrefixCache, prefill
from theworld.modeling.native import FusedGemma, FusedGemma4, FusedQwen3VL, fused_class
from theworld.modeling.world_gate import AutoLook, ask, is_auto
from theworld.precision import loading_dtype
from theworld.world.tap import WorldTap


class TheWorld(Fusion):
    """A vision-language model fused with a world model.

    The frozen world model is not a submodule: DDP, FSDP, the optimiser and `state_dict` never see it. An object is of
    the subclass for its base, which its configuration names.
    """

    config_class: Any = TheWorldConfig
    """Of the default base; each subclass has its own."""

    def __new__(cls, config: Any = None, **unknown: Any) -> "TheWorld":
        """Choose the subclass for the base of the configuration."""
        return super().__new__(_of_base(cls, config) if isinstance(config, WorldFields) else cls)  # pyright: ignore[reportArgumentType]

    def __init__(self, config: Any, **unknown: Any) -> None:
        if not isinstance(config, WorldFields) or unknown:
            first = repr(config) if isinstance(config, str) else "..."
            given = ", ".join([first, *(f"{name}=..." for name in unknown)])
            raise TypeError(f"TheWorld({given}) builds no model: use TheWorld.from_pretrained({given})")
        super().__init__(config)

    # --- loading and saving ------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        pretrained_model_name_or_path: str | Path = DEFAULT_GEMMA_MODEL,
        *,
        revision: str | None = None,
        load_world: bool = True,
        transfer_tap: bool = False,
        world_device: str | torch.device | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a fused model.

        Args:
            pretrained_model_name_or_path: hub id or folder of a base (Gemma 3, Gemma 4, Qwen3-VL) or of a saved
                TheWorld; "tiny", the embedded Gemma 3; "tiny-foresight", the embedded TheWorld.
            revision: commit, branch or tag on the hub.
            load_world: False skips the world model's weights: for stored features.
            transfer_tap: let `world_tap` name another tap than the checkpoint was trained on, of the same states: you
                can align on true futures (`true-future`) and then use imagined ones (`rollout`).
            world_device: device of the frozen world model; default: that of Gemma's embeddings.
            output_loading_info: also return transformers' report.
            kwargs: fields of TheWorldConfig (`num_world_steps`, `world_tap`, `lora`, ...); the rest goes to
                transformers (`dtype`, `device_map`, `max_memory`, `token`, `cache_dir`, ...). Without `dtype` the
                weights keep their saved number format, but become float32 where this machine emulates it.

        Raises:
            ValueError: for settings that contradict each other.
            CheckpointError: for a checkpoint that does not fit.
        """
        settings = arguments.take_settings(kwargs)
        arguments.check_options(kwargs)
        hub = arguments.hub_options(kwargs)
        dtype = kwargs.pop("torch_dtype", kwargs.get("dtype"))
        name, options = str(pretrained_model_name_or_path), {"revision": revision, **hub}
        config, checkpoint = loading.resolve(
            name, settings, transfer_tap=transfer_tap, loads_world=load_world, dtype=dtype, **options
        )
        saved_parts = list(config.trained_parts or ())  # freezing adds to the list of the configuration
        if checkpoint is not None:
            checkpoints.check_world(config, checkpoint)
        kwargs["dtype"] = loading_dtype(dtype, config.dtype)
        quantization.settle(config, kwargs)
        loading.fetch_base(config, **hub)
        model, info = _of_base(cls, config)._load_base(config, **kwargs)
        model.base_options.update((name, hub[name]) for name in ("cache_dir",) if name in hub)
        config = model.config  # a copy
        if config.enable_world and (load_world or config.owns_vae):
            model.load_world(world_device)
        if config.lora is not None:
            lora.add_adapters(model, config.lora_settings())
        freezing.freeze(model, config)  # before any trained tensor: parts that train are float32
        devices.refuse_offloaded(model, {*freezing.trainable_parts(config), *(saved_parts if checkpoint else ())})
        if checkpoint is not None:
            checkpoints.read_model(model, checkpoint, saved_parts, keeps_formats=kwargs["dtype"] == "auto")
            config.name_or_path = model.name_or_path = str(checkpoint)
        model._suppress_world_tokens()
        return (model, info) if output_loading_info else model

    def _suppress_world_tokens(self) -> None:
        """Keep placeholders of the world, which never belong in an answer, out of answers."""
        config = self.config
        if config.tokens_per_slot and config.enable_world:
            self.generation_config.suppress_tokens = [config.sow_token_id, config.eow_token_id, config.world_token_id]

    @classmethod
    def _load_base(cls, config: WorldFields, device_map: Any = None, **kwargs: Any) -> tuple["TheWorld", Any]:
        """Load the base's weights and initialise our own layers; also return transformers' report."""
        if isinstance(device_map, dict):
            device_map = dict(device_map)  # transformers changes it
        load: Any = super().from_pretrained
        with base_files.loading_base(config.base_model_name):
            model, info = load(
                names.base_folder(config.base_model_name),
                config=config,
                revision=config.base_revision or "main",
                device_map=device_map,
                output_loading_info=True,
                **kwargs,
            )
        model._check_loading(info)
        model.match_embeddings()
        return model, info

    @staticmethod
    def _load_pretrained_model(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, expected_keys: Any = None
    ) -> Any:
        # By now transformers has planned the device of each module, and has moved none.
        if load_config.device_map is not None and model.config.enable_world:
            devices.keep_world_in_memory(load_config.device_map, [name for name, _ in model.named_children()])
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys)

    def _check_loading(self, info: dict[str, Any]) -> None:
        ours = {name for name in self.state_dict() if name.startswith("world.")}
        if set(info["missing_keys"]) != ours or info["unexpected_keys"] or info["mismatched_keys"]:
            raise loading.CheckpointError(
                f"{self.config.base_model_name}: missing {sorted(set(info['missing_keys']) - ours)}, unexpected"
                f" {sorted(info['unexpected_keys'])}, of another shape {info['mismatched_keys']}: not a"
                f" {self.config.BASE.title}"
            )

    @classmethod
    def from_checkpoint_hub(
        cls, repo_id: str, checkpoint_name: str | None = None, revision: str | None = None, **kwargs: Any
    ) -> "TheWorld":
        """Load a checkpoint from a hub repository.

        Args:
            repo_id: OWNER/NAME.
            checkpoint_name: a folder in it (`best`, `checkpoint-500`), or a file of weights in that folder; None: its
                root.
            revision: branch, tag or commit; None: the newest.
            kwargs: as `from_pretrained`.

        Raises:
            ValueError: if it cannot be fetched.
            CheckpointError: as `from_pretrained`.
        """
        from theworld.hub import fetch

        place = PurePosixPath(checkpoint_name or "")
        if place.suffix in (".bin", ".pt", ".pth", ".safetensors"):
            place = place.parent  # whose files belong together
        kwargs = arguments.renamed(kwargs)
        patterns = [str(place / name) for name in loading.CHECKPOINT_FILES]
        folder = fetch(repo_id, patterns, revision, **arguments.hub_options(kwargs))
        return cls.from_pretrained(folder / place, **kwargs)

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> None:
        """Save every part that was trained or changed in any way, under module names; files are written atomically.

        Gemma's frozen weights, and those of a loaded world, are compared with their files. If a part differs from its
        base, because you merged adapters or edited a weight, the checkpoint holds that part as well.

        Args:
            save_directory: folder to write to.
            state_dict: tensors gathered elsewhere (FSDP); default: the model's own.
            kwargs: `push_to_hub` and its options, as in transformers; this kind of checkpoint supports no other
                options of transformers, and they raise an error.

        Raises:
            ValueError: for an option that is not supported.
            CheckpointError: for a change that no checkpoint holds: other shapes, adapters of peft, buffers, the frozen
                world; and for weights that are not finite.
        """
        if not isinstance(save_directory, str | Path) or not str(save_directory):
            raise ValueError(f"save_directory={save_directory!r}: expected the path of a folder")
        push = kwargs.pop("push_to_hub", False)
        kwargs.pop("max_shard_size", None)  # push_to_hub always passes it; trained tensors are one file
        if not push and (unknown := sorted(kwargs.keys() - {"is_main_process"})):
            raise ValueError(f"save_pretrained got {unknown}: expected save_directory, state_dict, push_to_hub")
        if not kwargs.pop("is_main_process", True):
            return
        with whole_files(Path(save_directory)) as aside:
            checkpoints.write_model(self, aside, state_dict)
        if push:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    def save_checkpoint(self, path: str | Path, optimizer: torch.optim.Optimizer | None = None, epoch: int = 0) -> None:
        """Save the model, an optimiser's state and the epoch; see `load_checkpoint`."""
        checkpoints.save_checkpoint(self, Path(path), optimizer, epoch)

    def load_checkpoint(self, path: str | Path, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
        """Read a checkpoint into this model; returns {"epoch": ...}.

        Raises:
            CheckpointError: for a missing or foreign tensor, another base, another tap.
        """
        return checkpoints.load_checkpoint(self, Path(path), optimizer)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Read tensors as torch does. With strict=False they may be those of a checkpoint, as a plain Trainer resumes.

        A checkpoint has its own names for layers with adapters, and the parts that it never holds are not missing.
        """
        if strict:
            return super().load_state_dict(state_dict, strict, assign)
        names = {checkpoints.saved_name(name): name for name in self.state_dict()}
        state: dict[str, Any] = {names.get(str(name), str(name)): tensor for name, tensor in state_dict.items()}
        result: Any = super().load_state_dict(state, strict, assign)
        trained = {names[name] for name in checkpoints.tensors_of(self, self.config.trained_parts or [])}
        result.missing_keys[:] = [name for name in result.missing_keys if name in trained]
        return result

    # --- the world ---------------------------------------------------------------------------------------

    def load_world(self, device: str | torch.device | None = None) -> None:
        """Load the networks that the tap reads; a VAE that trains becomes a submodule."""
        from theworld.world.factory import open_tap
        from theworld.world.loading import load_vae

        place = self.device if device is None else device
        settings = self.config.world_settings()
        if not self.config.owns_vae:
            self.attach_world(open_tap(settings, place))
        elif self.cosmos_vae is None:
            self.cosmos_vae = load_vae(settings, place)

    def attach_world(self, tap: WorldTap) -> None:
        """Read the world through this tap.

        Raises:
            CheckpointError: if its features have another shape, or the model was trained on another world.
        """
        config = self.config
        if config.owns_vae:
            raise loading.CheckpointError(
                "the VAE trains or was trained with this model, which reads the world through it: features of a tap or"
                " a feature store come from the VAE before training"
            )
        if (tap.num_channels, tap.stride_px) != (config.world_channels, config.world_stride_px):
            raise loading.CheckpointError(
                f"a tap of {tap.num_channels} channels and stride {tap.stride_px} px; the model was built for"
                f" {config.world_channels} channels and {config.world_stride_px} px"
            )
        if config.world_fingerprint not in (None, tap.fingerprint):
            raise loading.CheckpointError(
                f"the model was trained on the world {config.world_fingerprint}, this tap is {tap.fingerprint}"
            )
        config.world_fingerprint = tap.fingerprint
        self._unregistered("tap", tap)

    def detach_world(self) -> None:
        """Release the world model; from then on you pass features."""
        self._unregistered("tap", None)

    # --- generation --------------------------------------------------------------------------------------

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Any = None,
        question: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Call transformers' `generate(**inputs)`; or, short, `generate(image, "What is in this image?") -> str`.

        Args:
            inputs: token ids, as in transformers; with a question, the pictures and videos (see `generation.ask`), also
                as `image=`. A list of questions with a list of pictures gives a list of answers. A path, bytes or a
                decoder of a video is a video; an array (F, H, W, 3) is F pictures, and a video as
                `{"type": "video", "video": array, "frame_rate": 30}`.
            question: text about the pictures, or a list of texts; or a GenerationConfig, which is transformers' second
                argument.
            kwargs: every option of transformers' `generate`; with a question also `num_world_steps` and `world`.
                `world="auto"` with `choices` returns an `AutoAnswer`: the world is asked where the margin is small.

        Raises:
            TypeError: for two generation configs, pictures without a question, or an argument of another name.
            ValueError: for `prefill_chunk_size`.
        """
        inputs, question = arguments.pictures_and_question(inputs, question, kwargs)
        if question is not None and not isinstance(question, GenerationConfig):
            return ask(self, inputs, question, **kwargs)
        arguments.take_generation_config(question, kwargs)
        return super().generate(inputs, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def look(
        self,
        image: Any,
        num_world_steps: int | None = None,
        world: Any = None,
        features: Float[Tensor, "N C T h w"] | None = None,
    ) -> PrefixCache | Any:
        """Encode pictures or videos once for more questions: `model.look(image).ask("Which bin?")`; see `prefill`.

        `world="auto"` returns an `AutoLook`: its `ask(question, choices)` imagines only where it is unsure.

        Raises:
            ValueError: on a base other than Gemma 3, and as `prefill` or `AutoLook`.
        """
        if is_auto(world):
            return AutoLook(self, image, num_world_steps, features)
        self.config.BASE.refuse(SHARED_PREFIX)
        return prefill(self, image, num_world_steps, world, features)

    @contextmanager
    def without_world(self) -> Iterator[None]:
        """Switch the world off within a `with` block; trained parts of Gemma stay."""
        enabled, processor = self.config.enable_world, self.processor
        plain = copy.copy(processor)  # the same tokenizer and image processor, no world tokens
        plain.enable_world = self.config.enable_world = False
        self._unregistered("_processor", plain)
        try:
            yield
        finally:
            self.config.enable_world = enabled
            self._unregistered("_processor", processor)

    # --- parameters --------------------------------------------------------------------------------------

    def freeze(self, **parts: bool) -> None:
        """Freeze or unfreeze parts: `freeze(gemma_vision=False)` lets the vision tower train."""
        freezing.check_names(parts)
        if parts.get("cosmos_vae") is False and self.cosmos_vae is None:
            raise ValueError("the VAE can train only if it was loaded so: from_pretrained(freeze_cosmos_vae=False)")
        for name, frozen in parts.items():
            setattr(self.config, f"freeze_{name}", frozen)
        freezing.freeze(self, self.config)

    def merge_lora(self) -> None:
        """Add the adapters to Gemma's own weights: the outputs stay the same, and checkpoints then hold these weights.

        Sums are rounded to the format of the weights: in bfloat16 outputs may differ in their last digits.

        Raises:
            ValueError: for a model without adapters, or with quantized weights.
        """
        if self.config.lora is None:
            raise ValueError("no adapters to merge: the model was loaded without lora")
        lora.merge_adapters(self)
        trained = {*(self.config.trained_parts or ()), *self.config.lora_settings().targets} - {"adapters"}
        self.config.lora = None
        self.config.trained_parts = [part for part in freezing.PARTS if part in trained]
        freezing.freeze(self, self.config)

    def get_trainable_parameters(self) -> tuple[int, int, float]:
        """Count (trainable, total, percent) of the model's own parameters, without the frozen world model."""
        trainable, total = (sum(column) for column in zip(*freezing.count_parameters(self).values(), strict=True))
        return trainable, total, 100 * trainable / total

    def parameter_table(self) -> str:
        """Format the trainable and total parameters of each part as a table."""
        return freezing.parameter_table(self)


class TheWorldGemma3(TheWorld, FusedGemma):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 3 fused with a world model."""


class TheWorldGemma4(TheWorld, FusedGemma4):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 4 fused with a world model."""

    config_class = TheWorldGemma4Config


class TheWorldQwen3VL(TheWorld, FusedQwen3VL):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Qwen3-VL fused with a world model."""

    config_class = TheWorldQwen3VLConfig


def _of_base(cls: type[TheWorld], config: WorldFields) -> type[TheWorld]:
    """Return the subclass for the base of a configuration; `cls` itself if it already is one."""
    if cls is not TheWorld:
        return cls
    return next(kind for kind in TheWorld.__subclasses__() if issubclass(kind, fused_class(config)))
