"""Settings of the small commands: compare, foresight, cache, report, completion, preview, plan, doctor."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.config.data import ForesightSplitName
from theworld.config.training import TrainingConfig


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompareSettings:
    """Files of predictions to compare, and the tests."""

    files: tuple[Path, ...]
    """Files of predictions (JSONL) on the same samples."""

    baseline: Path | None = None
    """File to compare all others with; None: test every pair."""

    group_by: tuple[str, ...] = ()
    """Fields of the samples to group tables by, such as task."""

    cluster_by: str | None = None
    """Field of samples that depend on each other, such as scene: intervals resample its values."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForesightSettings:
    """Scenes of Foresight, the simulated physical world, to draw."""

    preview: Path = Path("foresight.png")
    """Output picture of scenes, questions and answers (PNG)."""

    split: ForesightSplitName = "validation"
    """Split of the scenes; the last three are of varied scenes."""

    scenes: Literal["plain", "varied"] = "plain"
    """plain: scenes of one look; varied: looks, sizes, laws and numbers of parts vary."""

    task: Literal["drop", "topple", "roll", "collide", "hide"] | None = None
    """Kind of scene; None: all in turn."""

    rows: int = 5
    """Number of scenes."""

    image_size_px: int = 128
    """Side of each frame, pixels."""

    write_scenes: Path | None = None
    """Folder for the validation and test items that the package ships, simulated anew, instead of a picture."""

    survey: int | None = None
    """Items of each task and split to describe in tables on the standard output, instead of a picture."""

    num_world_clips: int = 80_000
    """Training clips of the world model among which the tables of `survey` find the nearest scene."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CacheSettings:
    """Feature store to check."""

    store: Path
    """Folder of the store."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ReportSettings:
    """Folder to report on."""

    run: Path
    """Folder of a run, an evaluation or an audit; the report (report.html, report.md) goes into it."""

    title: str = "TheWorld: report"
    """Heading of the page."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompletionSettings:
    """Shell to complete for."""

    shell: Literal["bash", "zsh"]
    """The shell; save the script where it looks for completions."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PreviewSettings(TrainingConfig):
    """A training run, and the amount of its data to preview."""

    num_read: Annotated[int, Field(ge=1)] = 200
    """Records to read, drawn with the run's seed: the page counts their lengths and faults."""

    num_shown: Annotated[int, Field(ge=1)] = 24
    """Samples to show in full, the first of them."""

    page: Path = Path("preview.html")
    """Output page (HTML)."""

    @model_validator(mode="after")
    def _check_numbers(self) -> "PreviewSettings":
        if self.num_shown > self.num_read:
            raise ValueError(
                f"num_shown={self.num_shown} is more than num_read={self.num_read}: read more, or show less"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FillSettings(TrainingConfig):
    """A training run with a store_dir, and the share of its samples to compute."""

    num_shards: Annotated[int, Field(ge=1)] = 1
    """Number of shares; samples go to them in turn."""

    shard_index: Annotated[int, Field(ge=0)] = 0
    """Share to compute, counted from 0."""

    fill_batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips per forward pass of the world model."""

    @model_validator(mode="after")
    def _check_share(self) -> "FillSettings":
        if self.store_dir is None:
            raise ValueError("store_dir is missing: expected the folder of the feature store to fill")
        if not self.model.enable_world:
            raise ValueError("model.enable_world=False: there are no world features to compute")
        if self.shard_index >= self.num_shards:
            raise ValueError(
                f"shard_index={self.shard_index} of num_shards={self.num_shards}: expected 0 to {self.num_shards - 1}"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PlanSettings(TrainingConfig):
    """A training run, its devices, and the shape of its rows, unless its data tell."""

    num_devices: Annotated[int, Field(ge=1)] = 1
    """Devices of the run; each takes batch_size samples at a time."""

    sharding: Literal["ddp", "fsdp"] = "ddp"
    """With several devices: each holds the whole model (ddp), or a share of it (fsdp)."""

    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Peak rate of a device in the run's precision, 10^12 operations per second; None: time a large matrix product on
    this machine."""

    length: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a row, placeholders included; None: the longest in a batch of the run's samples."""

    num_supervised: Annotated[int, Field(ge=1)] = 32
    """With length: supervised tokens of a row."""

    num_pictures: Annotated[int, Field(ge=0)] = 1
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

    output_dir: Path = Path()
    """The run's folder; none named: check the installation alone."""
