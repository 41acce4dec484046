"""The model to build or load: its fusion, its adapters, and the distillation of its world."""

from collections.abc import Collection, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import ArgsKwargs

from theworld.config.base import MOST, STRICT, Count, NumSlots, PathSetting
from theworld.config.problems import dataclass
from theworld.config.world import TINY_WORLD, WorldSettings, looks_ahead_by
from theworld.constants import DEFAULT_GEMMA_MODEL, TEMPORAL_STRIDE, TINY_MODEL
from theworld.precision import Dtype

LoraTarget = Literal["language", "vision"]

_LARGEST_RANK: Final = 16_384
"""Rank of adapters beyond any model's width."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraSettings:
    """Adapters (LoRA): a trained product of two small matrices beside each frozen linear layer."""

    targets: Annotated[tuple[LoraTarget, ...], Field(strict=False)] = ()
    """Parts whose attention and MLP layers get adapters: `language`, `vision`, or both; empty: no adapters."""

    rank: Count = 16
    """Inner width of the product."""

    alpha: Count = 32
    """Scale of the product: alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on an adapter's inputs in training."""

    @model_validator(mode="after")
    def _check(self) -> "LoraSettings":
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets={self.targets} contains a target twice")
        if not self.targets and (self.rank, self.alpha, self.dropout) != (16, 32, 0.0):
            raise ValueError("rank, alpha and dropout are not used without targets: name language, vision, or both")
        return self

    def check_frozen(self, freeze_gemma_vision: bool, freeze_gemma_language: bool) -> None:
        """Check that every part with adapters is frozen, and that a rank is no wider than any model.

        Raises:
            ValueError: if a target trains itself.
        """
        if self.rank > _LARGEST_RANK:
            raise ValueError(f"lora.rank={self.rank}: expected 1 to {_LARGEST_RANK:,}")
        trained = {"vision": not freeze_gemma_vision, "language": not freeze_gemma_language}
        if both := [target for target in self.targets if trained[target]]:
            raise ValueError(
                f"lora.targets={self.targets} with freeze_gemma_{both[0]}=False: adapters need frozen layers: freeze"
                " them, or merge the adapters (merge_lora) and train the layers themselves"
            )

    def check_quantized(self, quantize: str | None, trained_parts: Collection[str] = ()) -> None:
        """Check that the layers in 4 bits have adapters, and are those of the base's own files.

        Raises:
            ValueError: without adapters of the language model, or for a checkpoint that holds the language model.
        """
        if quantize is None:
            return
        if "language" not in self.targets:
            raise ValueError(
                f"quantize={quantize!r} with lora.targets={self.targets}: 4-bit weights do not train, and adapters make"
                " up for their rounding; add language to lora.targets, or drop quantize"
            )
        if "language" in trained_parts:
            raise ValueError(
                f"quantize={quantize!r} reads the base's own files, and this checkpoint holds a language model that was"
                " trained or merged: drop quantize"
            )


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelSettings:
    """The model to build or load, its fusion with the world, and its frozen parts."""

    gemma_model_name: str = DEFAULT_GEMMA_MODEL
    """Hub id or folder of the Gemma 3 checkpoint, or "tiny"."""

    gemma_revision: str | None = None
    """Commit of the hub repository."""

    checkpoint: PathSetting | None = None
    """Folder or hub id of a saved TheWorld to start from; None: Gemma with a new fusion."""

    transfer_tap: bool = False
    """Let world.tap differ from the checkpoint's if it reads the same states: align on true futures, use imagined."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as precision has it, or bfloat16 on a device that computes it natively, else
    float32."""

    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention implementation of Gemma; None: transformers' choice. On a CPU with bfloat16 instructions `eager` trains
    short sequences fastest."""

    enable_world: bool = True
    """Off: plain Gemma 3; the world is not loaded, and only distillation uses the settings of the world below."""

    num_world_steps: NumSlots = 0
    """K, future latent slots; each covers 4 pixel frames. If you name no tap, K > 0 means the tap `rollout`."""

    max_world_steps: NumSlots = 16
    """Largest K: rows of the temporal embeddings."""

    num_clip_frames: Annotated[int, Field(ge=1, le=MOST)] = 5
    """Frames of a video that the world model sees, 1 + 4j: the last ones at its frame rate."""

    num_gemma_frames: Annotated[int, Field(ge=1, le=MOST)] = 1
    """Frames of a video that Gemma sees: the last, or more of the clip; 1 for residual fusion."""

    world_fusion: Literal["tokens", "residual"] = "tokens"
    """World tokens before the first turn, or a gated residual on Gemma's image tokens."""

    world_projection_mode: Literal["spatial", "channel"] = "spatial"
    """Unit of a token: a position of the feature grid, or a latent channel."""

    world_projection_architecture: Literal["linear", "mlp", "mlp_final_gelu"] = "mlp"
    """Layers of the projector."""

    world_projection_width: Count | None = None
    """Hidden width of the mlp; None: the width of a Gemma token."""

    world_grid: Count | None = None
    """Side of the fused grid, cells: every feature is resized to it; None: the tap's own."""

    freeze_gemma_vision: bool = True
    """Freeze the vision tower and its projector."""

    freeze_gemma_projector: bool | None = None
    """Freeze the projector of image tokens, between vision tower and language model; None: as freeze_gemma_vision.
    False beside a frozen tower trains the projector alone, the usual first stage of a new pair of the two."""

    freeze_gemma_language: bool = True
    """Freeze the language model."""

    freeze_cosmos_vae: bool = True
    """Freeze the VAE; off only with tap `vae`."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters beside frozen layers."""

    quantize: Literal["4bit"] | None = None
    """Keep the frozen layers of the language model in 4 bits (NF4) below its adapters, as QLoRA does: about a quarter
    of their memory in bfloat16, and slower steps. Needs `language` in lora.targets, and the extra `quantized`."""

    world: WorldSettings = field(default_factory=WorldSettings)
    """The world model and the tap that reads it."""

    @model_validator(mode="before")
    @classmethod
    def _complete_world(cls, values: Any) -> Any:
        """Choose defaults of the world by the other settings: as `TheWorld.from_pretrained` does."""
        given: Any = values.kwargs if isinstance(values, ArgsKwargs) else values
        world: Any = given.get("world", {}) if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(world, Mapping):  # complete already
            return values
        defaults = dict(TINY_WORLD) if given.get("gemma_model_name") == TINY_MODEL else {}
        if given.get("checkpoint") is None and looks_ahead_by(given.get("num_world_steps"), world):
            defaults["tap"] = "rollout"
        if not defaults:
            return values
        if isinstance(values, ArgsKwargs):
            return ArgsKwargs(values.args, {**given, "world": WorldSettings(**{**defaults, **world})})
        return {**given, "world": {**defaults, **world}}

    @property
    def vision_trains(self) -> bool:
        """True if the vision tower or the projector of image tokens trains."""
        return not self.freeze_gemma_vision or self.freeze_gemma_projector is False

    @property
    def gemma_trains(self) -> bool:
        """True if a part of Gemma trains, or has adapters."""
        return self.vision_trains or not self.freeze_gemma_language or bool(self.lora.targets)

    @model_validator(mode="after")
    def _check(self) -> "ModelSettings":
        if self.transfer_tap and self.checkpoint is None:
            raise ValueError(
                "transfer_tap is for a checkpoint, whose world tokens come from another tap: set checkpoint"
            )
        self.lora.check_frozen(self.freeze_gemma_vision, self.freeze_gemma_language)
        if self.checkpoint is None:  # which may have adapters
            self.lora.check_quantized(self.quantize)
        if not self.enable_world:
            return self
        if (self.num_clip_frames - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"num_clip_frames={self.num_clip_frames}: expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        if not 1 <= self.num_gemma_frames <= (1 if self.world_fusion == "residual" else self.num_clip_frames):
            limit = "1, since residual fusion adds a clip to one picture"
            limit = limit if self.world_fusion == "residual" else f"1 to {self.num_clip_frames}, num_clip_frames"
            raise ValueError(f"num_gemma_frames={self.num_gemma_frames}: expected {limit}")
        steps, most = self.num_world_steps, self.max_world_steps
        if steps > most:
            raise ValueError(f"num_world_steps={steps} is more than max_world_steps={most}: raise max_world_steps")
        if self.checkpoint is None:  # which has its own tap
            self.world.num_slots(self.world.num_frames(1, steps), steps)  # raises for slots that the tap cannot give
        if not self.freeze_cosmos_vae and self.world.tap != "vae":
            tap = self.world.tap
            raise ValueError(f"freeze_cosmos_vae=False trains through world.tap='vae', not {tap!r}: freeze it")
        if self.world_projection_mode == "channel":
            self._check_channel_mode()
        width = self.world_projection_width
        if self.world_projection_architecture == "linear" and width is not None:
            raise ValueError(f"world_projection_width={width}: a linear projector has no hidden layer; choose an mlp")
        return self

    def _check_channel_mode(self) -> None:
        clashes = {
            f"world_grid={self.world_grid}, another grid than the tap's own": self.world_grid is not None,
            f"world.tap={self.world.tap!r}, which has no latent channels": self.world.reads != "vae",
            "world_fusion='residual', which adds to a grid": self.world_fusion == "residual",
        }
        present = [clash for clash, is_set in clashes.items() if is_set]
        if present:
            raise ValueError(
                "world_projection_mode='channel' makes a token of each latent channel and does not go with"
                f" {present[0]}; use 'spatial'"
            )


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DistillationSettings:
    """Distillation: Gemma learns to predict the states of the world model, and then answers without it."""

    weight: Annotated[float, Field(ge=0, le=MOST)] = 0.0
    """Weight of the loss of the predicted states beside that of the answers; 0: no distillation. It needs
    model.enable_world=False and a store_dir; the teacher is the tap of model.world, model.num_world_steps ahead."""

    layer: Count | None = None
    """Number of Gemma's layers before the states that predict; only later layers use what these learn. None: half of
    all layers."""

    @model_validator(mode="after")
    def _check(self) -> "DistillationSettings":
        if self.layer is not None and not self.weight:
            raise ValueError(f"layer={self.layer} is not used at weight=0: set weight, or drop layer")
        return self

    def check_run(self, model: ModelSettings, store_dir: Path | None) -> None:
        """Check that a run can distil the world of its model.

        Raises:
            ValueError: for a model that reads the world itself, a run without a store, or a future that the tap lacks.
        """
        if not self.weight:
            return
        if model.enable_world:
            raise ValueError(
                f"distillation.weight={self.weight:g} with model.enable_world=True, a model that reads the world"
                " itself: set model.enable_world to false; the teacher stays the tap of model.world"
            )
        if store_dir is None:
            raise ValueError(
                f"distillation.weight={self.weight:g} reads the teacher's states from a feature store: set store_dir to"
                " its folder"
            )
        if model.checkpoint is None:  # which has its own tap
            steps = model.num_world_steps
            model.world.num_slots(model.world.num_frames(1, steps), steps)  # raises for slots that the tap cannot give
