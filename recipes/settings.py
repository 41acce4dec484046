"""TinySettings: settings of the training of the embedded default model, stage by stage."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from theworld.config.base import MOST, STRICT, BatchSize, Count, CountOrZero, PathSetting, Seed
from theworld.config.problems import dataclass
from theworld.datasets.foresight.items import VARIED_VERSION


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VaePhase:
    """A phase of the autoencoder's training, on windows of one length."""

    num_frames: Annotated[int, Field(ge=1, le=17)]
    """Frames of a window, 1 + 4j, cut from a clip of 17."""

    batch_size: BatchSize
    """Windows per step."""

    num_steps: Count
    """Optimiser steps."""

    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate, AdamW, cosine to zero."""

    decoder_only: bool = False
    """Train the decoder alone, so that latents stay, and weigh large errors more."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VaeRecipe:
    """Training of the video autoencoder, which reconstructs simulated clips of 17 frames."""

    num_clips: Count = 12_000
    """Clips to draw and train on; 209 kB of disk each."""

    phases: Annotated[tuple[VaePhase, ...], tyro.conf.Suppress] = (
        VaePhase(num_frames=1, batch_size=64, num_steps=700, learning_rate=3e-3),
        VaePhase(num_frames=5, batch_size=12, num_steps=800, learning_rate=2e-3),
        VaePhase(num_frames=17, batch_size=4, num_steps=1_000, learning_rate=1e-3),
        VaePhase(num_frames=17, batch_size=4, num_steps=1_500, learning_rate=1.5e-3),
        VaePhase(num_frames=17, batch_size=8, num_steps=1_250, learning_rate=1e-3),
        VaePhase(num_frames=17, batch_size=8, num_steps=500, learning_rate=1e-3, decoder_only=True),
        VaePhase(num_frames=17, batch_size=8, num_steps=750, learning_rate=1e-3, decoder_only=True),
    )
    """First pictures, which teach colours and shapes cheaply, then motion, then clips of full length."""

    warmup_steps: CountOrZero = 100
    """Steps over which the learning rate rises from 0 to its peak, in each phase."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto: bf16 on a processor that computes it natively, else fp32. Weights are
    float32."""

    num_held_out: Count = 40
    """Held-out clips for measurements of the quality."""

    measure_steps: Count = 250
    """Steps between measurements of the quality."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WorldPhase:
    """A phase of the world model's training, on a pool of clips."""

    num_clips: Count
    """Clips to encode and train on; 10 kB of memory each."""

    num_steps: Count
    """Optimiser steps."""

    log_sigma: float
    """Mean logarithm of the noise in training; the sampler goes down from 4.4."""

    matrix_learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of matrices, Muon, cosine to zero."""

    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of everything else, AdamW, cosine to zero."""

    moving_weight: Annotated[float, Field(ge=1)] = 1.0
    """Weight in the loss of the places at which something moves after the given slots; others have 1. A ball that is
    hidden for a while moves in few places."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WorldRecipe:
    """Training of the world model, which imagines the slots after the given ones, on video alone."""

    phases: Annotated[tuple[WorldPhase, ...], tyro.conf.Suppress] = (
        WorldPhase(num_clips=30_000, num_steps=5_000, log_sigma=1.0, matrix_learning_rate=3e-3, learning_rate=1e-3),
        WorldPhase(num_clips=80_000, num_steps=4_500, log_sigma=1.6, matrix_learning_rate=2e-3, learning_rate=7e-4),
    )
    """The second phase trains at the noise level at which futures diverge, on more clips than it can memorise."""

    first_phase: Count = 1
    """Number of the first phase to train. With a later one than 1, the denoiser of `start_from` has had the phases
    before."""

    batch_size: BatchSize = 32
    """Clips per step."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of both optimisers."""

    warmup_steps: CountOrZero = 100
    """Steps over which the learning rate rises from 0 to its peak."""

    average_decay: Annotated[float, Field(gt=0, lt=1)] = 0.998
    """Decay per step of the running average of the weights, which becomes the model."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto: bf16 on a processor that computes it natively, else fp32. Weights are
    float32."""

    num_held_out: Count = 250
    """Held-out clips for measurements of the loss."""

    measure_steps: Count = 500
    """Steps between measurements."""

    clip_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each phase's clips to train on, in as many steps: the dose of clips of a world (`dose`)."""

    doses: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False)] = ()
    """Shares of the steps of all phases after which the average is saved, too, such as 0.125 0.25 0.5 (`dose`)."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VlmPhase:
    """A phase of the vision-language model's training, on rows of one form."""

    num_steps: Count
    """Optimiser steps."""

    batch_size: BatchSize
    """Rows per step."""

    matrix_learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of matrices, Muon, linear to zero."""

    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of everything else, AdamW, linear to zero."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VlmRecipe:
    """Training of the vision-language model, which answers questions about pictures."""

    num_scenes: Annotated[int, Field(ge=5, le=MOST)] = 2_000
    """Scenes of each of the five tasks, three pictures each; 37 kB of disk a scene."""

    statements: VlmPhase = VlmPhase(num_steps=2_500, batch_size=64, matrix_learning_rate=3e-3, learning_rate=2e-3)
    """First phase: single pictures, each with all its facts as bare questions and answers."""

    mixed: VlmPhase = VlmPhase(num_steps=3_000, batch_size=16, matrix_learning_rate=3e-3, learning_rate=2e-3)
    """Second phase: one to five pictures, a third of the questions in multiple choice, still without a chat."""

    conversations: VlmPhase = VlmPhase(num_steps=600, batch_size=24, matrix_learning_rate=2e-3, learning_rate=1e-3)
    """Third phase, as in evaluation: chats about one to five pictures, open and in multiple choice."""

    phases: Annotated[
        tuple[Literal["statements", "mixed", "conversations"], ...], Field(strict=False, min_length=1)
    ] = (
        "statements",
        "mixed",
        "conversations",
    )
    """Phases to train, in this order; leave out those that the Gemma of `start_from` has behind it."""

    warmup_steps: CountOrZero = 50
    """Steps over which learning rates rise from 0 to their peaks, in each phase."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto: bf16 on a processor that computes it natively, else fp32. Weights are
    float32."""

    num_held_out_scenes: Annotated[int, Field(ge=5, le=MOST)] = 100
    """Held-out scenes of each task for measurements of the accuracy."""

    num_held_out_rows: Count = 200
    """Rows about held-out scenes for measurements during training."""

    measure_steps: Count = 100
    """Steps between measurements of the accuracy."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FusionRecipe:
    """Alignment of the projector on readings of true clips, with Gemma and Cosmos frozen."""

    num_clips: Count = 2_000
    """Clips to align on, six questions each: of the split train, of varied scenes train-seen."""

    imitate_steps: Count = 600
    """Optimiser steps in which world tokens learn to resemble Gemma's image tokens."""

    align_steps: Count = 1_000
    """Optimiser steps in which world tokens learn from questions."""

    batch_size: BatchSize = 8
    """Clips per step."""

    imitate_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """Peak learning rate of `imitate_steps`, AdamW, cosine to zero."""

    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of `align_steps`, AdamW, cosine to zero."""

    warmup_steps: CountOrZero = 30
    """Steps over which the learning rate rises from 0 to its peak."""

    width: Count = 256
    """Hidden width of the projector."""

    tap: Literal["rollout", "dit"] | None = None
    """What the fused model reads: imagined futures, or states of the denoiser in one forward; None: futures of plain
    scenes, states of varied ones."""

    lora_rank: CountOrZero | None = None
    """Rank of adapters in all layers of the language model, merged into it at the end; 0: Gemma stays as it is; None:
    16 with varied scenes, else 0."""

    label_steps: CountOrZero | None = None
    """Optimiser steps on outcomes of scenes that the world model reads as in use, after the alignment; 0: none; None:
    3,300 with varied scenes, else none."""

    num_labelled: Count = 10_000
    """Scenes of these steps, of the clips' kind, which the alignment does not see."""

    num_labelled_plain: CountOrZero | None = None
    """Plain scenes beside them, a fifth of the samples; None: 4,000 beside varied scenes, else none."""

    label_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of `label_steps`, AdamW, cosine to zero."""

    num_held_out: Count = 500
    """Validation questions about the future."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SslRecipe:
    """Training of the self-supervised video encoder, an opponent of the world model of about the same size and cost."""

    num_clips: Count = 80_000
    """Clips to draw and train on, those of the world model; 209 kB of disk each."""

    num_steps: Count = 7_000
    """Optimiser steps; each costs about 1.3 of the world model's."""

    batch_size: BatchSize = 32
    """Clips per step."""

    matrix_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of matrices, Muon, cosine to zero."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of everything else, AdamW, cosine to zero."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of both optimisers."""

    warmup_steps: CountOrZero = 100
    """Steps over which the learning rate rises from 0 to its peak."""

    average_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step of the running average of the weights, which gives the targets and becomes the model."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass; auto: bf16 on a processor that computes it natively, else fp32. Weights are
    float32."""

    num_held_out: Annotated[int, Field(ge=2, le=MOST)] = 250
    """Held-out clips for measurements."""

    measure_steps: Count = 250
    """Steps between measurements."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DoseRecipe:
    """Measurement of worlds by the dose of their training."""

    also: Annotated[tuple[PathSetting, ...], Field(strict=False)] = ()
    """Build folders with the same autoencoder, whose worlds trained on a `clip_share`, to measure beside this one."""

    num_scenes: Count = 100
    """Validation scenes of each task, whose imagined last pictures are read."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TinySettings:
    """Training, measurement and packing of the embedded default model."""

    action: Literal["build", "verify", "pack", "dose"]
    """build: train the chosen stages, or resume; verify: measure them on held-out scenes; pack: copy a finished build
    into this package as its embedded default; dose: measure the worlds that `world.doses` saved beside the finished
    one."""

    stage: Literal["vae", "world", "vlm", "fusion", "all", "ssl"] = "all"
    """Stage to run; world needs a finished vae, fusion all others. ssl is an opponent of the world model that needs no
    other stage, and is none of `all`."""

    output_dir: PathSetting = Path("runs/tiny")
    """Build folder: pools of clips, checkpoints, curves, and finally gemma/, cosmos/ and fused/, or ssl/."""

    start_from: PathSetting | None = None
    """Finished build, such as the one in the package, whose autoencoder, denoiser and Gemma the stages continue from,
    or its V-JEPA 2, which the package lacks; None: new weights."""

    image_size_px: Annotated[int, Field(ge=16, le=2_048, multiple_of=16)] = 64
    """Side of the frames, pixels."""

    scenes: Literal["plain", "varied"] = "plain"
    """Scenes of all stages. plain: one look; varied: looks, sizes, laws and numbers of parts vary, with more clips and
    longer phases where the settings leave the defaults."""

    seed: Seed = 0
    """Seed of the weights, of the order of clips and of all noise."""

    num_threads: Count = 2
    """Threads of the training, and processes that draw clips."""

    vae: VaeRecipe = field(default_factory=VaeRecipe)
    """The first stage."""

    world: WorldRecipe = field(default_factory=WorldRecipe)
    """The second stage."""

    vlm: VlmRecipe = field(default_factory=VlmRecipe)
    """The third stage."""

    fusion: FusionRecipe = field(default_factory=FusionRecipe)
    """The last stage."""

    ssl: SslRecipe = field(default_factory=SslRecipe)
    """The opponent of the world model."""

    dose: DoseRecipe = field(default_factory=DoseRecipe)
    """Measurement of worlds of less training."""

    @property
    def identity(self) -> dict[str, object]:
        """Return what every stage depends on; plain scenes are not named, since earlier folders do not name them."""
        scenes = {} if self.scenes == "plain" else {"scenes": self.scenes, "scenes_version": VARIED_VERSION}
        return {"seed": self.seed, "image_size_px": self.image_size_px, **scenes}
