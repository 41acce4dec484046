"""Settings of the experiments: probes, and the demo."""

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from theworld.config.arm_settings import ArmsSettings as ArmsSettings  # its path of earlier versions
from theworld.config.base import (
    MOST,
    STRICT,
    STRICT_VARIANTS,
    BatchSize,
    Count,
    CountOrZero,
    PathSetting,
    Seed,
    Variants,
)
from theworld.config.data import TASK_NAMES, TaskName
from theworld.config.problems import dataclass
from theworld.config.world import WorldSettings
from theworld.constants import TEMPORAL_STRIDE

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
