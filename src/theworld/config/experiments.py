"""Settings of the experiments: arms at equal budget, probes, and the demo."""

from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from theworld.config.base import (
    MOST,
    STRICT,
    STRICT_VARIANTS,
    BatchSize,
    Count,
    CountOrZero,
    NumWorkers,
    PathSetting,
    Seed,
    SidePx,
    Variants,
)
from theworld.config.data import TASK_NAMES, TaskName
from theworld.config.model import ModelSettings
from theworld.config.optim import OptimSettings
from theworld.config.problems import dataclass
from theworld.config.world import ReadTap, TapName, WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.precision import Precision

LearningRates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
"""Learning rates to choose from."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Reading:
    """World settings in which arms differ; they share names and sizes."""

    tap: TapName
    """Tap that features come from."""

    control_of: ReadTap = "vae"
    """As in the world settings."""

    repeat_current: bool = False
    """Fill future slots with the current one."""

    dit_future: Literal["none", "repeat", "denoised"] = "repeat"
    """Filling of the future slots of the tap dit."""

    dit_block: CountOrZero | None = None
    """Block of the denoiser that the tap dit reads; None: as in the world settings."""

    dit_noise_level: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Noise level of the input of the tap dit; None: as in the world settings."""

    num_rollouts: Count = 1
    """Imagined futures to average."""

    def within(self, world: WorldSettings) -> WorldSettings:
        """Return the world settings with these values."""
        return replace(world, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Arm:
    """An arm: one line of the table."""

    name: str
    """Name in tables and folders."""

    reads: Reading
    """Features that it reads when it answers."""

    aligned_on: Reading
    """Features of true clips that it reads during alignment."""

    images: Literal["current", "clip"] = "current"
    """Gemma's input: the current picture, or every given frame."""

    distillation: Annotated[float, Field(ge=0, le=MOST)] | None = None
    """Weight of the loss by which Gemma learns to predict the features instead of reading them: the arm has no world
    tokens, and answers without a world. 0: the same training without this loss, its control. None: world tokens."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ArmsSettings:
    """A comparison at equal budget: the same data, steps, trainable parameters and tokens for every arm."""

    output_dir: PathSetting
    """Folder of the comparison; it reuses the results that are there."""

    primary: tuple[str, str]
    """The comparison named beforehand: a world arm and its partner without a world."""

    primary_labels: CountOrZero = 0
    """Outcome labels of that comparison."""

    arms: tuple[Arm, ...] = ()
    """Arms to compare, from a settings file."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of new weights and of the order of samples."""

    num_labels: Annotated[tuple[CountOrZero, ...], Field(min_length=1)] = (0, 100, 1_000, 10_000)
    """Numbers of outcome labels: questions about the future to train on after alignment."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """Model of all arms, except for the world settings that an arm reads."""

    image_size_px: SidePx = 64
    """Side of the pictures, pixels."""

    num_aligned: Count = 2_000
    """True clips to align every arm on, six questions each."""

    num_test: Count = 2_000
    """Scenes of the test split, one question about the future each."""

    num_shuffled: Count = 500
    """Scenes of the test split to ask again with the world of a partner scene."""

    num_static: Count = 100
    """Scenes of the test split, with every control question each."""

    imitate_steps: CountOrZero = 400
    """Optimiser steps in which world tokens learn to resemble image tokens of the same true clips; 0: none, for world
    tokens that do not stand for places."""

    imitate_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """Peak learning rate of these steps."""

    align_steps: Count = 600
    """Optimiser steps of the alignment: questions about true clips."""

    align_learning_rates: LearningRates = (3e-3,)
    """Peak learning rates of the alignment; with several, validation scenes choose one for each arm."""

    label_steps: Count = 200
    """Optimiser steps on outcome labels; more if one pass over them needs more."""

    label_learning_rates: LearningRates = (3e-3,)
    """Peak learning rates on outcome labels; with several, validation scenes choose one for each arm."""

    num_choosing: Count = 100
    """Outcome labels for this choice of a rate."""

    num_validation: Count = 500
    """Scenes of the validation split for the choice of rates."""

    batch_size: BatchSize = 8
    """Samples per step."""

    num_parameters: Count = 60_000
    """Trainable parameters of every arm beside its adapters, within 1 %: they set the hidden width of its projector. A
    distilled arm has no projector."""

    num_workers: NumWorkers = 1
    """Processes that prepare samples."""

    precision: Precision = "auto"
    """Number format of the forward passes of training; auto: bf16 on a device that computes it natively, else fp32."""

    compile: bool = False
    """Compile Gemma's layers for training (torch.compile)."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser, without its learning rates, which stand above."""

    also: tuple[Path, ...] = ()
    """Results to add to the table: files arms.json that `theworld arms` wrote for the same comparison in another folder
    or on another machine. Their runs are not repeated here, and their learning rates hold here, too."""

    report: bool = False
    """Write the table and the curves of finished runs, without training."""

    @model_validator(mode="after")
    def _check(self) -> "ArmsSettings":
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError("no arms: expected them in a settings file, such as configs/foresight/arms.yaml")
        if len(set(names)) < len(names):
            raise ValueError(f"arms {names}: expected all names different")
        if missing := [name for name in self.primary if name not in names]:
            raise ValueError(f"primary={self.primary} names {missing}, which is no arm: expected two of {names}")
        if not self.model.gemma_trains and (without := [arm.name for arm in self.arms if arm.distillation is not None]):
            raise ValueError(
                f"arms {without} have no world tokens, and all of Gemma is frozen: name model.lora.targets, as"
                " configs/foresight/arms-lora.yaml does"
            )
        return self


LabelsName = Literal["foresight", "vsr", "blink", "video"]


@dataclass(config=STRICT_VARIANTS, frozen=True, kw_only=True)
class ProbeSettings(Variants):
    """Linear probes of every tap, block, noise level and slot; a subclass for each set of labels adds its fields."""

    TAG: ClassVar[str] = "labels"

    output_dir: PathSetting = Path("probe")
    """Folder of the table (probe.json, probe.md) and the heat map (probe.png)."""

    labels: LabelsName = "foresight"
    """Labels to predict: position, velocity, contact and outcome in the scenes of `foresight`; the relation in true
    statements about the pictures of `vsr`; the closer of two points in those of `blink` (Relative_Depth). `video`
    needs no labels: instead of probes, it measures how far imagined latents are from the true ones, by slot."""

    num_train: Annotated[int, Field(ge=20, le=MOST)] = 1_000
    """Samples to fit a probe to: scenes of the train split, of each task, for `foresight`; at most as many pictures of
    the train split for `vsr`, of one half for `blink`."""

    num_test: Annotated[int, Field(ge=20, le=MOST)] = 500
    """Samples to measure it on: scenes of the validation split, of each task, for `foresight`; at most as many pictures
    of the dev split for `vsr`, of the other half for `blink`; at most as many clips for `video`."""

    blocks: Annotated[tuple[CountOrZero, ...], Field(min_length=1, strict=False)] = (0, 1, 2, 3, 4, 5)
    """Transformer blocks to probe."""

    noise_levels: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1, strict=False)] = (
        0.105,
        0.32,
        0.601,
        0.803,
        0.907,
        0.955,
    )
    """Noise levels t of the denoiser's input: each just above one that ten denoising steps pass through."""

    batch_size: BatchSize = 50
    """Clips per forward pass."""

    world: WorldSettings = field(default_factory=WorldSettings)
    """World model: names, size and frame rate; the probe itself chooses the taps."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForesightProbe(ProbeSettings):
    """Probes of simulated scenes."""

    labels: Literal["foresight"] = "foresight"

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, strict=False)] = TASK_NAMES
    """Kinds of scene; each has probes of its own."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VsrProbe(ProbeSettings):
    """Probes of the pictures of Visual Spatial Reasoning."""

    labels: Literal["vsr"] = "vsr"

    source: str | None = None
    """Hub id, or folder in the layout of that repository, with both train and dev; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subset: Literal["random", "zeroshot"] | None = None
    """Way to split; None: `zeroshot`."""

    image_dir: Annotated[Path, Field(strict=False)]
    """Folder of COCO 2017's pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlinkProbe(ProbeSettings):
    """Probes of the pictures of BLINK's Relative_Depth."""

    labels: Literal["blink"] = "blink"

    source: str | None = None
    """Hub id, folder in the layout of that repository, or file; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VideoProbe(ProbeSettings):
    """Diagnostics of imagined futures on any videos; of the fields above it uses num_test, batch_size and world."""

    labels: Literal["video"] = "video"

    source: str
    """Folder of videos, a list of their paths, or a file of rows with them, as the data set `video` takes it."""

    video_dir: PathSetting | None = None
    """Folder that the videos' paths start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the videos; None: beside the source."""

    num_clip_frames: Annotated[int, Field(ge=1, le=4_097)] = 5
    """Given frames of a clip, 1 + 4j."""

    num_future_steps: Annotated[int, Field(ge=1, le=1_024)] = 4
    """Latent slots to imagine, 4 frames each."""

    @model_validator(mode="after")
    def _check_frames(self) -> "VideoProbe":
        if (self.num_clip_frames - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"num_clip_frames={self.num_clip_frames}: expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DemoSettings:
    """The whole pipeline at tiny size: physical scenes, one fused model per arm, answers, a report."""

    output_dir: PathSetting = Path("demo")
    """Folder of the run; the report is report.html in it."""

    num_train: Annotated[int, Field(ge=8, le=MOST)] = 320
    """True clips to train projectors on, six questions each."""

    num_test: Annotated[int, Field(ge=8, le=MOST)] = 200
    """Scenes of the test split, one question each."""

    num_audited: Annotated[int, Field(ge=8, le=MOST)] = 100
    """Scenes of the test split for the audit."""

    num_steps: Count = 100
    """Optimiser steps of imitation, and again of alignment, in each of the two runs."""

    num_scenes: Count = 12
    """Scenes shown in the report."""

    seed: Seed = 0
    """Seed of the new weights and of the order of samples."""
