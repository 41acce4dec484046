"""TheWorld: the fused model as a user meets it: load, ask, freeze, save."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.constants import DEFAULT_GEMMA_MODEL
from theworld.io import whole_files
from theworld.modeling import checkpoints, devices, freezing, loading, lora
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.fusion import FusedGemma
from theworld.modeling.generation import Seen, ask
from theworld.precision import loading_dtype
from theworld.world.tap import WorldTap, clip_seeds


class TheWorld(FusedGemma):
    """Gemma 3 fused with a world model.

    The frozen world model is no module of this one: DDP, FSDP, the optimiser and `state_dict` never see it.
    """

    tap: WorldTap | None
    """The frozen world; None: features must be given, or the VAE is a module that trains."""
    cosmos_vae: Any

    def __init__(self, config: TheWorldConfig) -> None:
        super().__init__(config)
        self.cosmos_vae = None
        self.__dict__["tap"] = None  # never registered as a module, whatever it is

    # --- where it comes from and goes to -----------------------------------------------------------------

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
            pretrained_model_name_or_path: hub id or folder of a Gemma 3 or of a saved TheWorld; "tiny", the
                embedded Gemma 3; "tiny-foresight", the embedded TheWorld.
            revision: commit, branch or tag on the hub.
            load_world: False leaves the world model's weights alone: for stored features.
            transfer_tap: let `world_tap` name another tap than the checkpoint was trained on, of the same states:
                what was aligned on true futures (`true-future`) is given imagined ones (`rollout`).
            world_device: device of the frozen world model; default: that of Gemma's embeddings.
            output_loading_info: also return transformers' report.
            kwargs: fields of TheWorldConfig (`num_world_steps`, `world_tap`, `lora`, ...); the rest goes to
                transformers (`dtype`, `device_map`, `max_memory`, `token`, `cache_dir`, ...). Without `dtype` weights
                keep the number format that they were saved in, but are float32 where this machine emulates it.

        Raises:
            ValueError: for settings that contradict each other.
            CheckpointError: for a checkpoint that does not fit.
        """
        name = loading.embedded(str(pretrained_model_name_or_path))
        settings = loading.take_settings(kwargs)
        hub = {name: kwargs[name] for name in loading.HUB_OPTIONS & kwargs.keys()}
        checkpoint = None
        if loading.is_checkpoint(name, revision=revision, **hub):
            checkpoint = loading.fetch_checkpoint(name, revision=revision, **hub)
            if load_world and settings.get("enable_world", True):
                settings = loading.native_world(checkpoint, settings)
            config = loading.load_settings(checkpoint, settings, transfer_tap)
        else:
            config = loading.configure(name, settings, revision=revision, **hub)
        saved_parts = list(config.trained_parts or ())
        loading.fetch_base(config, **hub)
        kwargs["dtype"] = loading_dtype(kwargs.pop("torch_dtype", kwargs.get("dtype")), config.dtype)
        model, info = cls._load_base(config, **kwargs)
        if config.enable_world and (load_world or config.owns_vae):
            model.load_world(world_device)
        if config.lora is not None:
            lora.add_adapters(model, config.lora_settings())
        freezing.freeze(model, model.config)  # first: what trains is read in full precision
        devices.refuse_offloaded(model, {*freezing.trainable_parts(config), *(saved_parts if checkpoint else ())})
        if checkpoint is not None:
            checkpoints.read_model(model, checkpoint, saved_parts)
            model.config.name_or_path = model.name_or_path = str(checkpoint)
        if config.tokens_per_slot and config.enable_world:  # they stand for the world; no answer contains them
            model.generation_config.suppress_tokens = [config.sow_token_id, config.eow_token_id, config.world_token_id]
        return (model, info) if output_loading_info else model

    @classmethod
    def _load_base(cls, config: TheWorldConfig, device_map: Any = None, **kwargs: Any) -> tuple["TheWorld", Any]:
        """Gemma with its weights and our layers freshly drawn, and transformers' report."""
        if isinstance(device_map, dict):
            device_map = dict(device_map)  # the caller's stays as it is
        load: Any = super().from_pretrained
        with loading.loading_base(config.base_model_name):
            model, info = load(
                loading.base_folder(config.base_model_name),
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
        # transformers has planned by now which module goes to which device, and has placed none.
        if load_config.device_map is not None and model.config.enable_world:
            devices.keep_world_in_memory(load_config.device_map, [name for name, _ in model.named_children()])
        return FusedGemma._load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys)

    def _check_loading(self, info: dict[str, Any]) -> None:
        ours = {name for name in self.state_dict() if name.startswith("world.")}
        if set(info["missing_keys"]) != ours or info["unexpected_keys"] or info["mismatched_keys"]:
            raise loading.CheckpointError(
                f"{self.config.base_model_name}: missing {sorted(set(info['missing_keys']) - ours)}, unexpected"
                f" {sorted(info['unexpected_keys'])}, of another shape {info['mismatched_keys']}: not a Gemma 3"
            )

    @classmethod
    def from_checkpoint_hub(
        cls, repo_id: str, checkpoint_name: str | None = None, revision: str | None = None, **kwargs: Any
    ) -> "TheWorld":
        """Load a checkpoint of a hub repository.

        Args:
            repo_id: OWNER/NAME.
            checkpoint_name: a folder in it (`best`, `checkpoint-500`); None: its root.
            revision: branch, tag or commit; None: the newest.
            kwargs: as `from_pretrained`.

        Raises:
            ValueError: if it cannot be fetched.
            CheckpointError: as `from_pretrained`.
        """
        from theworld.hub import fetch

        patterns = [f"{checkpoint_name}/{name}" if checkpoint_name else name for name in loading.CHECKPOINT_FILES]
        hub = {name: kwargs[name] for name in loading.HUB_OPTIONS & kwargs.keys()}
        folder = fetch(repo_id, patterns, revision, **hub)
        return cls.from_pretrained(Path(folder, checkpoint_name or ""), **kwargs)

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> None:
        """Save what was ever trained, under module names; each file whole, other files of the folder left alone.

        Args:
            save_directory: folder to write to.
            state_dict: tensors gathered elsewhere (FSDP); default: the model's own.
            kwargs: `push_to_hub` and its options, as transformers takes them; other options of transformers have
                no meaning for a checkpoint of this kind and are refused.
        """
        push = kwargs.pop("push_to_hub", False)
        kwargs.pop("max_shard_size", None)  # push_to_hub always gives it; what was trained is one file
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

    # --- the world ---------------------------------------------------------------------------------------

    def load_world(self, device: str | torch.device | None = None) -> None:
        """Load what the tap reads; a VAE that trains becomes a module of the model."""
        from theworld.world.factory import open_tap
        from theworld.world.loading import load_vae

        place = self.device if device is None else device
        settings = self.config.world_settings()
        if not self.config.owns_vae:
            self.attach_world(open_tap(settings, place))
        elif self.cosmos_vae is None:
            self.cosmos_vae = load_vae(settings, place)

    def attach_world(self, tap: Any) -> None:
        """Read the world through this tap (anything with the interface of WorldTap).

        Raises:
            CheckpointError: if its features have another shape, or the model was trained on another world.
        """
        own = self.config
        if own.owns_vae:
            raise loading.CheckpointError(
                "the VAE trains or was trained with this model, which reads the world through it: a tap or a feature"
                " store would give what the VAE saw before"
            )
        if (tap.num_channels, tap.stride_px) != (own.world_channels, own.world_stride_px):
            raise loading.CheckpointError(
                f"a tap of {tap.num_channels} channels and stride {tap.stride_px} px; the model was built for"
                f" {own.world_channels} channels and {own.world_stride_px} px"
            )
        if own.world_fingerprint not in (None, tap.fingerprint):
            raise loading.CheckpointError(
                f"the model was trained on the world {own.world_fingerprint}, this tap is {tap.fingerprint}"
            )
        own.world_fingerprint = tap.fingerprint
        self.__dict__["tap"] = tap

    def detach_world(self) -> None:
        """Let go of the world model; features must then be given."""
        self.__dict__["tap"] = None

    def read_world(
        self, world_pixels: UInt8[Tensor, "N F 3 H W"], num_world_steps: int | None = None
    ) -> Float[Tensor, "N C T h w"]:
        """Features of N clips, from the tap or from the VAE that trains with the model."""
        from theworld.world.vae import encode_mean

        steps = self.config.num_world_steps if num_world_steps is None else num_world_steps
        settings = self.config.world_settings()
        settings.num_slots(world_pixels.shape[1], steps)
        if self.cosmos_vae is not None:
            return encode_mean(self.cosmos_vae, world_pixels)
        if self.tap is None:
            raise ValueError("no world is loaded: use from_pretrained(load_world=True), load_world() or attach_world()")
        return self.tap.read(world_pixels, steps, clip_seeds(world_pixels, settings.seed))

    # --- generation --------------------------------------------------------------------------------------

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Any = None, question: Any = None, **kwargs: Any
    ) -> Any:
        """transformers' `generate(**inputs)`; or, short, `generate(image, "What is in this image?") -> str`.

        The second form takes `num_world_steps` and every option of the first.
        """
        if isinstance(question, str):
            return ask(self, inputs, question, **kwargs)
        if question is not None:
            kwargs["generation_config"] = question
        generation_config = kwargs.get("generation_config")
        if kwargs.get("prefill_chunk_size") or getattr(generation_config, "prefill_chunk_size", None):
            raise ValueError("prefill_chunk_size cannot split world tokens: drop it")
        return super().generate(inputs, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def look(
        self,
        image: Any,
        num_world_steps: int | None = None,
        world: list[Any] | None = None,
        features: Float[Tensor, "N C T h w"] | None = None,
    ) -> Seen:
        """Look at pictures once, for several questions: `model.look(image).ask("Which bin?")`; see `Seen`."""
        return Seen(self, image, num_world_steps, world, features)

    @contextmanager
    def without_world(self) -> Iterator[None]:
        """The same model without its world, for as long as this lasts; what was trained of its Gemma stays."""
        enabled, processor = self.config.enable_world, self.processor
        plain = copy.copy(processor)  # the same tokenizer and pictures, no world tokens
        plain.enable_world = self.config.enable_world = False
        self.__dict__["_processor"] = plain
        try:
            yield
        finally:
            self.config.enable_world = enabled
            self.__dict__["_processor"] = processor

    # --- parameters --------------------------------------------------------------------------------------

    def freeze(self, **parts: bool) -> None:
        """Freeze or unfreeze parts: `freeze(gemma_vision=False)` lets the vision tower train."""
        if unknown := parts.keys() - {"gemma_vision", "gemma_language", "cosmos_vae"}:
            raise ValueError(f"freeze got {sorted(unknown)}: expected gemma_vision, gemma_language or cosmos_vae")
        if parts.get("cosmos_vae") is False and self.cosmos_vae is None:
            raise ValueError(
                "whether the VAE can train is decided at loading: from_pretrained(freeze_cosmos_vae=False)"
            )
        for name, frozen in parts.items():
            setattr(self.config, f"freeze_{name}", frozen)
        freezing.freeze(self, self.config)

    def merge_lora(self) -> None:
        """Add what the adapters learnt to Gemma's own weights; it says the same, and a checkpoint holds them whole.

        A sum is rounded to the format of the weights: in bfloat16 answers may differ in their last digits.

        Raises:
            ValueError: for a model without adapters.
        """
        if self.config.lora is None:
            raise ValueError("no adapters to merge: the model was loaded without lora")
        lora.merge_adapters(self)
        trained = {*(self.config.trained_parts or ()), *self.config.lora_settings().targets} - {"adapters"}
        self.config.lora = None
        self.config.trained_parts = [part for part in freezing.PARTS if part in trained]
        freezing.freeze(self, self.config)

    def get_trainable_parameters(self) -> tuple[int, int, float]:
        """(trainable, total, percent) of the model's own parameters; the frozen world is not among them."""
        counts = freezing.count_parameters(self).values()
        trainable, total = (sum(column) for column in zip(*counts, strict=True))
        return trainable, total, 100 * trainable / total

    def parameter_table(self) -> str:
        """Trainable and total parameters by part, ready to print."""
        return freezing.parameter_table(self)


def compile_layers(model: TheWorld) -> None:
    """Compile each layer of Gemma's language model, in place: names of weights stay.

    Layers that are alike and rows of any length share one program. `torch.compile` of the whole model would break at
    the checks of placeholders, and compile all of its layers one by one.
    """
    for layer in model.model.language_model.layers:
        layer.compile(dynamic=True)
