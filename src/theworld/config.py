"""Every setting with its unit and meaning; the rules that hold between settings."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.constants import DEFAULT_COSMOS_MODEL, DEFAULT_GEMMA_MODEL, TEMPORAL_STRIDE

TapName = Literal["vae", "dit", "rollout", "true-future", "noise", "zero", "random"]
"""What is read from the world model; the last three are controls."""

CONTROL_TAPS = ("noise", "zero", "random")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WorldSettings:
    """What is read from which world model, and how: everything that a world feature depends on."""

    tap: TapName = "vae"
    """Where features are read: the VAE latent, a denoiser block, or the imagined future; or a control."""

    control_of: Literal["vae", "dit", "rollout"] = "vae"
    """The tap whose shape (noise, zero) or architecture (random) a control copies."""

    cosmos_model_name: str = DEFAULT_COSMOS_MODEL
    """Hub id or folder of the Cosmos-Predict2 checkpoint, or "tiny"."""

    cosmos_revision: str | None = None
    """Commit of the hub repository."""

    image_size_px: Annotated[int, Field(ge=16, multiple_of=16)] = 224
    """Side of the square frames that the world model sees, pixels."""

    frame_rate_hz: Annotated[float, Field(gt=0)] = 16.0
    """Frames per second of the clips; enters the rotary embedding of the denoiser."""

    num_inference_steps: Annotated[int, Field(ge=2)] = 10
    """Denoiser evaluations per rollout; the last of them updates nothing, so two are the least."""

    dit_block: Annotated[int, Field(ge=0)] = 14
    """Index of the transformer block whose output the `dit` tap reads; later blocks never run."""

    dit_noise_level: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Noise level t of the `dit` tap: its input is (1 - t) * latent + t * noise."""

    dit_future: Literal["none", "repeat", "denoised"] = "repeat"
    """What fills the future slots of the `dit` tap: nothing, the current latent, or the model's own denoising."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the noise; mixed with each clip's pixels, so that a feature depends on its clip alone."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the world model."""

    @property
    def shape_of(self) -> Literal["vae", "dit", "rollout", "true-future"]:
        """The tap whose feature shape this one has."""
        return self.control_of if self.tap in CONTROL_TAPS else self.tap  # type: ignore[return-value]

    @property
    def imagines(self) -> bool:
        """Whether the tap can serve slots after the current one."""
        return self.shape_of != "vae"

    @model_validator(mode="after")
    def _check(self) -> "WorldSettings":
        if self.tap not in CONTROL_TAPS and self.control_of != "vae":
            raise ValueError(f"control_of={self.control_of!r} is for the taps {CONTROL_TAPS}, not {self.tap!r}")
        return self

    def num_slots(self, num_frames: int, num_world_steps: int) -> int:
        """Latent time slots T of a clip.

        Args:
            num_frames: pixel frames of the clip, 1 + 4j; for `true-future` 1 + 4j + 4K, the future included.
            num_world_steps: K, future latent slots.

        Raises:
            ValueError: for a clip the VAE would shorten silently, or a future that this tap cannot give.
        """
        past, rest = divmod(num_frames - 1, TEMPORAL_STRIDE)
        if num_frames < 1 or rest:
            raise ValueError(
                f"a clip of {num_frames} frames: the VAE takes 1 + {TEMPORAL_STRIDE}j frames (1, 5, 9, ...) and would"
                " silently drop the others; shorten or lengthen the clip"
            )
        if num_world_steps < 0:
            raise ValueError(f"num_world_steps={num_world_steps}: expected 0 or more")
        if num_world_steps and not self.imagines:
            raise ValueError(
                f"num_world_steps={num_world_steps} needs a tap that looks ahead (dit, rollout); {self.tap!r} reads"
                " the given frames only"
            )
        if self.shape_of == "true-future":
            if past < num_world_steps:
                raise ValueError(
                    f"tap 'true-future' with num_world_steps={num_world_steps} needs at least"
                    f" {1 + TEMPORAL_STRIDE * num_world_steps} frames, got {num_frames}"
                )
            return past + 1
        if self.shape_of == "dit" and num_world_steps and self.dit_future == "none":
            raise ValueError("dit_future='none' leaves no future slots to read: set num_world_steps=0")
        return past + 1 + num_world_steps


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelSettings:
    """Which model is built or loaded, how the world enters it, and which parts stay frozen."""

    gemma_model_name: str = DEFAULT_GEMMA_MODEL
    """Hub id or folder of the Gemma 3 checkpoint, or "tiny"."""

    gemma_revision: str | None = None
    """Commit of the hub repository."""

    checkpoint: Path | None = None
    """Folder of a saved TheWorld to start from; None: Gemma with a new fusion."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of the weights."""

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

    world: WorldSettings = field(default_factory=WorldSettings)
    """The world model and where it is read."""

    @model_validator(mode="after")
    def _check(self) -> "ModelSettings":
        if not self.enable_world:
            return self
        if self.num_world_steps > self.max_world_steps:
            raise ValueError(
                f"num_world_steps={self.num_world_steps} is more than max_world_steps={self.max_world_steps}: raise"
                " max_world_steps"
            )
        sees_future = self.world.shape_of == "true-future"
        num_frames = 1 + TEMPORAL_STRIDE * self.num_world_steps if sees_future else 1
        self.world.num_slots(num_frames, self.num_world_steps)  # raises for a future that the tap cannot give
        if not self.freeze_cosmos_vae and self.world.tap != "vae":
            raise ValueError(
                f"freeze_cosmos_vae=False trains the VAE through world.tap='vae', not {self.world.tap!r}: freeze it, or"
                " change the tap"
            )
        if self.world_projection_mode == "channel":
            self._check_channel_mode()
        if self.world_projection_architecture == "linear" and self.world_projection_width is not None:
            raise ValueError(
                f"world_projection_width={self.world_projection_width}: a linear projector has no hidden layer; leave"
                " the width out, or choose an mlp"
            )
        return self

    def _check_channel_mode(self) -> None:
        remedy = "use world_projection_mode='spatial'"
        if self.world_grid is not None:
            raise ValueError(
                f"world_grid={self.world_grid}: projection mode 'channel' keeps the tap's own grid; {remedy}"
            )
        if self.world.shape_of == "dit":
            raise ValueError(
                f"projection mode 'channel' makes a token of each of the 16 latent channels, which world.tap="
                f"{self.world.tap!r} does not have; {remedy}"
            )
        if self.world_fusion == "residual":
            raise ValueError(
                f"world_fusion='residual' adds to a grid, which projection mode 'channel' has not; {remedy}"
            )


SplitName = Literal["train", "validation", "test"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DataSettings:
    """Which samples a model is trained on and measured on."""

    dataset: Literal["foresight"] = "foresight"
    """Where samples come from: `foresight`, physical scenes simulated and drawn when they are read."""

    questions: Literal["dynamic", "static", "both"] = "both"
    """What is asked: what will happen, what is there (the control), or both."""

    image_size_px: Annotated[int, Field(ge=16)] = 896
    """Side of the pictures as drawn, pixels: 896 is what Gemma 3 sees, 64 what the tiny model sees."""

    train_split: SplitName = "train"
    """Split that the weights learn from."""

    num_train: Annotated[int, Field(ge=1)] = 20_000
    """Training samples."""

    validation_split: SplitName = "validation"
    """Split that answers are measured on."""

    num_validation: Annotated[int, Field(ge=1)] = 1_000
    """Validation samples."""

    @model_validator(mode="after")
    def _check(self) -> "DataSettings":
        if self.train_split == self.validation_split:
            raise ValueError(
                f"train_split and validation_split are both {self.train_split!r}: a model must not be measured on the"
                " samples it learnt"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OptimSettings:
    """The optimiser (AdamW) and its learning-rate schedule."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps over which the learning rate rises from 0 to its peak."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""

    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the running mean of the gradient."""

    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the running mean of the squared gradient."""

    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Norm that gradients are clipped to."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TrainingConfig:
    """A training run, complete: what is trained, on what, how, and where it is written."""

    output_dir: Path
    """The run's folder: settings, metrics, checkpoints."""

    num_steps: Annotated[int, Field(ge=1)] = 1_000
    """Optimiser steps."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples per device and forward pass."""

    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Forward passes per optimiser step."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Number format of the forward pass. On a CPU fp16 is many times slower than either other."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the new weights and of the order of samples."""

    save_steps: Annotated[int, Field(ge=1)] = 500
    """Optimiser steps between checkpoints."""

    save_total_limit: Annotated[int, Field(ge=1)] | None = 2
    """Checkpoints that are kept, the newest; None: all."""

    resume: bool | Path = False
    """Continue from the newest checkpoint in output_dir (true), or from this checkpoint."""

    logging_steps: Annotated[int, Field(ge=1)] = 10
    """Optimiser steps between lines of the log."""

    log_to: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where curves go besides the run's own metrics."""

    num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare samples; 0: the training process does it."""

    store_dir: Path | None = None
    """Folder of the feature store: world features are computed once and read from there."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """What is trained."""

    data: DataSettings = field(default_factory=DataSettings)
    """What it is trained on."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    """How it is trained."""

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        model = self.model
        if self.optim.warmup_steps > self.num_steps:
            raise ValueError(
                f"optim.warmup_steps={self.optim.warmup_steps} is more than num_steps={self.num_steps}: the learning"
                " rate would never reach its peak; shorten the warm-up"
            )
        if not model.enable_world and model.freeze_gemma_vision and model.freeze_gemma_language:
            raise ValueError(
                "nothing to train: model.enable_world=False and all of Gemma is frozen; enable the world, or set"
                " model.freeze_gemma_vision or model.freeze_gemma_language to false"
            )
        if model.enable_world and not model.freeze_cosmos_vae and self.store_dir is not None:
            raise ValueError(
                f"store_dir={str(self.store_dir)!r} keeps features of a frozen world, but"
                " model.freeze_cosmos_vae=False changes them at every step: leave store_dir out, or freeze the VAE"
            )
        return self


ArmName = Literal["world", "gemma", "blind"]
"""The model as it is; Gemma 3 alone, without the world; the question alone, without the picture."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EvaluationConfig:
    """An evaluation, complete: which model answers which questions, in which arms."""

    checkpoint: Path
    """Folder of a saved TheWorld."""

    output_dir: Path
    """Where predictions and scores are written; an interrupted evaluation continues there."""

    arms: Annotated[tuple[ArmName, ...], Field(min_length=1)] = ("world",)
    """What is measured, side by side."""

    num_world_steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """The values of K at which the arm `world` answers."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples answered at a time."""

    answers: Literal["written", "weighed"] = "written"
    """What counts as the answer: the text that the model writes, or the choice that it finds likeliest."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 16
    """Longest written answer, tokens."""

    store_dir: Path | None = None
    """Folder of the feature store: world features are computed once and read from there."""

    data: DataSettings = field(default_factory=DataSettings)
    """The questions: its validation split."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        for name in ("arms", "num_world_steps"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}={values} names a value twice: each is measured once")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DemoSettings:
    """The whole of it at tiny size: physical scenes, a fused model trained per arm, answers, a report."""

    output_dir: Path = Path("demo")
    """Folder of the run; the report is report.html in it."""

    num_train: Annotated[int, Field(ge=8)] = 400
    """Scenes that the projector learns from, one question each."""

    num_test: Annotated[int, Field(ge=8)] = 300
    """Scenes of the test split that are asked about, one question each."""

    num_steps: Annotated[int, Field(ge=1)] = 150
    """Optimiser steps of each arm."""

    num_world_steps: Annotated[int, Field(ge=1)] = 4
    """K of the arm `rollout`: future latent slots, 4 frames each."""

    num_scenes: Annotated[int, Field(ge=1)] = 6
    """Scenes shown in the report."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the new weights and of the order of samples."""
