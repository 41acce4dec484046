"""ModelSettings: which model is built or loaded, and how the world enters it."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.config.world import WorldSettings
from theworld.constants import DEFAULT_GEMMA_MODEL
from theworld.precision import Dtype

LoraTarget = Literal["language", "vision"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraSettings:
    """Adapters (LoRA): a product of two small matrices is learnt beside each linear layer, which stays as it is."""

    targets: Annotated[tuple[LoraTarget, ...], Field(strict=False)] = ()
    """Whose attention and MLP layers get adapters: `language`, `vision`, or both; none named: no adapters."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Inner width of the product."""

    alpha: Annotated[int, Field(ge=1)] = 32
    """The product counts alpha / rank times."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapter's inputs that is left out in training."""

    @model_validator(mode="after")
    def _check(self) -> "LoraSettings":
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets={self.targets} names one twice")
        if not self.targets and (self.rank, self.alpha, self.dropout) != (16, 32, 0.0):
            raise ValueError("rank, alpha and dropout are of no use without targets: name language, vision, or both")
        return self

    def check_frozen(self, freeze_gemma_vision: bool, freeze_gemma_language: bool) -> None:
        """Adapters stand beside layers that stay as they are.

        Raises:
            ValueError: if a target trains itself.
        """
        trained = {"vision": not freeze_gemma_vision, "language": not freeze_gemma_language}
        if both := [target for target in self.targets if trained[target]]:
            raise ValueError(
                f"lora.targets={self.targets} with freeze_gemma_{both[0]}=False: adapters stand beside layers that stay"
                " as they are; freeze them, or merge the adapters (merge_lora) and train the layers themselves"
            )


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelSettings:
    """Which model is built or loaded, how the world enters it, and which parts stay frozen."""

    gemma_model_name: str = DEFAULT_GEMMA_MODEL
    """Hub id or folder of the Gemma 3 checkpoint, or "tiny"."""

    gemma_revision: str | None = None
    """Commit of the hub repository."""

    checkpoint: Path | None = None
    """Folder of a saved TheWorld to start from; None: Gemma with a new fusion."""

    transfer_tap: bool = False
    """Let world.tap be another than the checkpoint's, of the same states: aligned on true futures, given imagined."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as precision has it, or bfloat16 on a device that computes it natively, else
    float32."""

    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """How Gemma computes attention; None: transformers' choice. On a CPU with instructions for
    bfloat16 `eager` trains short sequences fastest."""

    enable_world: bool = True
    """Off: plain Gemma 3; nothing of the world is loaded and the settings below play no part."""

    num_world_steps: Annotated[int, Field(ge=0)] = 0
    """K, future latent slots the model sees; each stands for 4 pixel frames."""

    max_world_steps: Annotated[int, Field(ge=0)] = 16
    """The largest K that the temporal embeddings have rows for."""

    world_fusion: Literal["tokens", "residual"] = "tokens"
    """World tokens before the first turn, or a gated residual on Gemma's image tokens."""

    world_projection_mode: Literal["spatial", "channel"] = "spatial"
    """What becomes a token: a position of the feature grid, or a latent channel."""

    world_projection_architecture: Literal["linear", "mlp", "mlp_final_gelu"] = "mlp"
    """Layers of the projector."""

    world_projection_width: Annotated[int, Field(ge=1)] | None = None
    """Hidden width of the mlp; None: the width of a Gemma token."""

    world_grid: Annotated[int, Field(ge=1)] | None = None
    """Side of the grid that every feature is brought to, cells; None: the tap's own."""

    freeze_gemma_vision: bool = True
    """Keep the vision tower and its projector as they are."""

    freeze_gemma_language: bool = True
    """Keep the language model as it is."""

    freeze_cosmos_vae: bool = True
    """Keep the VAE as it is; off only with tap `vae`."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters beside layers that stay frozen."""

    world: WorldSettings = field(default_factory=WorldSettings)
    """The world model and where it is read."""

    @model_validator(mode="after")
    def _check(self) -> "ModelSettings":
        if self.transfer_tap and self.checkpoint is None:
            raise ValueError(
                "transfer_tap is for a checkpoint, whose world tokens another tap is to feed: set checkpoint"
            )
        self.lora.check_frozen(self.freeze_gemma_vision, self.freeze_gemma_language)
        if not self.enable_world:
            return self
        steps, most = self.num_world_steps, self.max_world_steps
        if steps > most:
            raise ValueError(f"num_world_steps={steps} is more than max_world_steps={most}: raise max_world_steps")
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
        found = [clash for clash, present in clashes.items() if present]
        if found:
            raise ValueError(
                "world_projection_mode='channel' makes a token of each latent channel and does not go with"
                f" {found[0]}; use 'spatial'"
            )
