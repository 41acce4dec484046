"""Settings of the small commands, such as compare, foresight, cache, report, preview, plan, doctor and surprise."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from theworld.config.base import MOST, STRICT, BatchSize, Count, CountOrZero, PathSetting, Seconds, SidePx, either
from theworld.config.data import ForesightSplitName
from theworld.config.problems import dataclass
from theworld.config.training import TrainingConfig
from theworld.config.world import WorldSettings
from theworld.constants import TEMPORAL_STRIDE, TINY_FUSED_MODEL
from theworld.precision import Dtype

FUTURE_SUFFIXES = (".mp4", ".gif", ".png")
"""Endings of files of an imagined future."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompareSettings:
    """Files of predictions to compare, and the tests."""

    files: tuple[Path, ...]
    """Files of predictions (JSONL) on the same samples."""

    baseline: PathSetting | None = None
    """File to compare all others with; None: test every pair."""

    group_by: tuple[str, ...] = ()
    """Fields of the samples to group tables by, such as task."""

    cluster_by: str | None = None
    """Field of samples that depend on each other, such as scene: intervals resample its values."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForesightSettings:
    """Scenes of Foresight, the simulated physical world, to draw."""

    preview: PathSetting = Path("foresight.png")
    """Output picture of scenes, questions and answers (PNG)."""

    split: ForesightSplitName = "validation"
    """Split of the scenes; the last four are of varied scenes."""

    scenes: Literal["plain", "varied"] = "plain"
    """plain: scenes of one look; varied: looks, sizes, laws and numbers of parts vary."""

    task: Literal["drop", "topple", "roll", "collide", "hide"] | None = None
    """Kind of scene; None: all in turn."""

    rows: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Number of scenes."""

    image_size_px: SidePx = 128
    """Side of each frame, pixels."""

    write_scenes: PathSetting | None = None
    """Folder for the validation and test items that the package ships, simulated anew, instead of a picture."""

    export: Literal["clevrer"] | None = None
    """Format of files to write instead of a picture; clevrer: videos, annotations and questions of CLEVRER."""

    export_dir: PathSetting = Path("clevrer")
    """Folder for the files of `export`."""

    survey: Count | None = None
    """Items of each task and split to describe in tables on the standard output, instead of a picture."""

    num_world_clips: Count = 80_000
    """Training clips of the world model among which the tables of `survey` find the nearest scene."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ExampleSettings:
    """Example of a data file to print."""

    own: bool = True
    """Your own pictures and questions (`data.dataset: own`), the one format with an example."""

    image_dir: Path = Path("pictures")
    """Folder for the example's pictures, scenes of Foresight."""

    num_pictures: Annotated[int, Field(ge=1, le=1000)] = 6
    """Number of pictures, with two questions each."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CacheSettings:
    """Feature store to check."""

    store: PathSetting
    """Folder of the store."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ReportSettings:
    """Folder to report on."""

    run: PathSetting
    """Folder of a run, an evaluation or an audit; the report (report.html, report.md) goes into it."""

    title: str | None = None
    """Heading of the page; None: the model and the data."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ConvertSettings:
    """Settings file of the original prototype, and the file to write."""

    old: PathSetting
    """JSON file of the prototype: a training or an evaluation, with flat names."""

    new: PathSetting
    """YAML file to write; one that exists is kept."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompletionSettings:
    """Shell to complete for."""

    shell: Literal["bash", "zsh"]
    """The shell; save the script where it looks for completions."""


DEFAULT_SHOWN = 24
"""Samples that a preview shows in full, if the settings give no number."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PreviewSettings(TrainingConfig):
    """A training run, and the amount of its data to preview."""

    num_read: Count = 200
    """Records to read, drawn with the run's seed: the page counts their lengths and faults."""

    num_shown: Count | None = None
    """Samples to show in full, the first of them; None: 24, or all if fewer are read."""

    page: PathSetting = Path("preview.html")
    """Output page (HTML)."""

    @model_validator(mode="after")
    def _check_numbers(self) -> "PreviewSettings":
        if self.num_shown is not None and self.num_shown > self.num_read:
            raise ValueError(
                f"num_shown={self.num_shown} is more than num_read={self.num_read}: read more, or show less"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FillSettings(TrainingConfig):
    """A training run with a store_dir, and the share of its samples to compute."""

    num_shards: Count = 1
    """Number of shares; samples go to them in turn."""

    shard_index: CountOrZero = 0
    """Share to compute, counted from 0."""

    fill_batch_size: BatchSize = 16
    """Clips per forward pass of the world model."""

    @model_validator(mode="after")
    def _check_share(self) -> "FillSettings":
        if self.store_dir is None:
            raise ValueError("store_dir is missing: expected the folder of the feature store to fill")
        if not self.model.enable_world and not self.distillation.weight:
            raise ValueError("model.enable_world=False: there are no world features to compute")
        if self.shard_index >= self.num_shards:
            raise ValueError(
                f"shard_index={self.shard_index} of num_shards={self.num_shards}: expected 0 to {self.num_shards - 1}"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PlanSettings(TrainingConfig):
    """A training run, its devices, and the shape of its rows, unless its data tell."""

    num_devices: Count = 1
    """Devices of the run; each takes batch_size samples at a time."""

    sharding: Literal["ddp", "fsdp"] = "ddp"
    """With several devices: each holds the whole model (ddp), or a share of it (fsdp)."""

    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Peak rate of a device in the run's precision, 10^12 operations per second; None: time a large matrix product on
    this machine."""

    length: Count | None = None
    """Tokens of a row, placeholders included; None: the longest in a batch of the run's samples."""

    num_supervised: Count = 32
    """With length: supervised tokens of a row."""

    num_pictures: CountOrZero = 1
    """With length: pictures of a row, each also a clip of one frame to the world."""

    @model_validator(mode="after")
    def _check_rows(self) -> "PlanSettings":
        if self.length is None and (self.num_supervised, self.num_pictures) != (32, 1):
            raise ValueError("num_supervised and num_pictures describe rows of a stated length: give length, too")
        if self.length is not None and self.num_supervised >= self.length:
            raise ValueError(f"num_supervised={self.num_supervised} of length={self.length} tokens: expected fewer")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DoctorSettings(PlanSettings):
    """A run to check before it starts; without one, the installation alone."""

    output_dir: PathSetting = Path()
    """The run's folder; none named: check the installation alone."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OpenImagesSettings:
    """Pictures of OpenImages to download, their address and their folder."""

    ids: PathSetting
    """File of ids, one a line: 16 hexadecimal digits, optionally after a split, as in `train/`; `#` begins a comment.
    Or a JSON array of rows with a `filename`, such as OpenSpatialDataset's result_10_depth_convs.json."""

    out: PathSetting
    """Folder of the pictures, ID.jpg; pictures that are there are not downloaded again."""

    split: Literal["train", "validation", "test"] = "train"
    """Split of ids without one."""

    concurrency: Annotated[int, Field(ge=1, le=512)] = 32
    """Simultaneous downloads."""

    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://s3.amazonaws.com/open-images-dataset"
    """Address before SPLIT/ID.jpg."""

    timeout_s: Seconds = 60.0
    """Longest time of one attempt at a picture, seconds."""

    num_attempts: Count = 5
    """Attempts at a picture before it fails, with growing pauses."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SmokeSettings(TrainingConfig):
    """A training run to try with two samples and one step."""

    push: bool = False
    """Push the model to hub.repo_id, and load it back from there."""

    @model_validator(mode="after")
    def _check_push(self) -> "SmokeSettings":
        if self.push and self.hub.repo_id is None:
            raise ValueError("push=True without a repository: give hub.repo_id, OWNER/NAME")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ImagineSettings:
    """A clip, and the future to imagine of it."""

    clip: PathSetting
    """The clip: MP4, MOV, WebM, MKV, AVI, GIF or animated WebP."""

    steps: Count | None = None
    """K, future latent slots to imagine, 4 frames each; None: as in training."""

    out: PathSetting = Path("future.mp4")
    """Output: a video (.mp4), an animation (.gif) or a contact sheet (.png)."""

    at: Annotated[float, Field(ge=0, le=MOST)] | None = None
    """Time of the last given frame, seconds; None: the last one with K slots of the clip after it, or its end if the
    clip is too short for that."""

    model: str = TINY_FUSED_MODEL
    """Folder or hub id of a saved TheWorld whose tap is `rollout` or `dit`; "tiny-foresight": the embedded one."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    @model_validator(mode="after")
    def _check(self) -> "ImagineSettings":
        if self.out.suffix.lower() not in FUTURE_SUFFIXES:
            raise ValueError(f"out={str(self.out)!r}: expected a file that ends in {either(FUTURE_SUFFIXES)}")
        return self


SIMULATED = "foresight"
"""Source of simulated clips with true and wrong futures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SurpriseSettings:
    """Clips, and the world model whose surprise about them is measured; no language model loads."""

    source: str
    """A video; a folder of videos; a list of their paths (.txt, one a line); the folder of IntPhys 2, whose possible
    and impossible videos are compared; or `foresight`: simulated scenes with their true future and with wrong ones."""

    output_dir: PathSetting = Path("surprise")
    """Folder of the results (results.json) and of a row for each clip (surprise.jsonl), on the command line
    surprise/NAME after the source unless you name one."""

    noise_levels: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1, strict=False)] = (0.9,)
    """Noise levels t of the true future at which the denoiser's error is measured; the surprise is their mean. Of no
    effect on V-JEPA 2."""

    num_draws: Annotated[int, Field(ge=1, le=1_024)] = 1
    """Draws of the noise of a clip, over which its errors are averaged."""

    num_given_frames: Annotated[int, Field(ge=1, le=4_097)] | None = None
    """Frames that the world model is given, 1 + 4j; None: 5, and in a simulated scene those that its question shows."""

    num_future_steps: Annotated[int, Field(ge=1, le=1_024)] | None = None
    """Latent slots that follow and are measured, 4 frames each; None: 4, and all of a simulated scene."""

    stride_s: Annotated[float, Field(gt=0, le=MOST)] | None = None
    """Seconds between the beginnings of two windows of a video; None: the length of the future, so that each frame
    after the first given ones is measured once."""

    pair_by: Literal["mean", "max"] = "mean"
    """Surprise of a video that pairs are compared by: the mean over its windows, or the largest."""

    subset: Literal["Main", "Debug"] = "Main"
    """Labelled set of IntPhys 2."""

    num_clips: Count | None = None
    """Videos, or simulated scenes, from the first; None: all, and 250 scenes."""

    batch_size: BatchSize = 8
    """Windows of a video in a forward pass."""

    world: WorldSettings = field(default_factory=WorldSettings)
    """World model: names, side, frame rate, format and seed of the noise. `tap` is `v-jepa2` for V-JEPA 2, or `random`
    for the same network with drawn weights, a baseline; without a name it is the embedded one."""

    @model_validator(mode="after")
    def _check(self) -> "SurpriseSettings":
        if not self.source:
            raise ValueError("source is empty: expected a video, a folder of videos, a list of them, or foresight")
        given = self.num_given_frames
        if given is not None and (given - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"num_given_frames={given}: expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        if len({f"{level:g}" for level in self.noise_levels}) < len(self.noise_levels):  # as rows name them
            raise ValueError(f"noise_levels={self.noise_levels}: expected all different in their first six digits")
        return self
