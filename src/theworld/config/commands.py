"""Settings of the small commands: compare, foresight, cache, report, completion, preview, plan, doctor."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.config.training import TrainingConfig


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompareSettings:
    """Which files of predictions are held against each other, and by what."""

    files: tuple[Path, ...]
    """Files of predictions (JSONL) on the same samples."""

    baseline: Path | None = None
    """The file that all others are held against; None: every pair is tested."""

    group_by: tuple[str, ...] = ()
    """Fields of the samples to make tables by, such as task."""

    cluster_by: str | None = None
    """Field of samples that stand or fall together, such as scene: intervals are drawn over its values."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForesightSettings:
    """What is shown of Foresight, the simulated physical world."""

    preview: Path = Path("foresight.png")
    """Where a picture of scenes, questions and answers is written (PNG)."""

    split: Literal["train", "validation", "test"] = "validation"
    """Which scenes."""

    task: Literal["drop", "topple", "roll", "collide", "hide"] | None = None
    """Which kind of scene; None: all in turn."""

    rows: int = 5
    """Number of scenes."""

    image_size_px: int = 128
    """Side of each frame, pixels."""

    write_scenes: Path | None = None
    """Folder that the shipped validation and test items are written to, simulated anew; nothing is drawn then."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CacheSettings:
    """Which feature store is looked at."""

    store: Path
    """Folder of the store."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ReportSettings:
    """Which folder is reported on."""

    run: Path
    """Folder of a run, an evaluation or an audit; report.html and report.md are written into it."""

    title: str = "TheWorld: report"
    """Heading of the page."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CompletionSettings:
    """Which shell completes."""

    shell: Literal["bash", "zsh"]
    """The shell; the script goes where it looks for such scripts."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PreviewSettings(TrainingConfig):
    """A training run, and how much of its data is looked at."""

    num_read: Annotated[int, Field(ge=1)] = 200
    """Records that are read, drawn with the run's seed: their lengths are counted, and what is wrong with some."""

    num_shown: Annotated[int, Field(ge=1)] = 24
    """Samples that are shown whole, the first of those."""

    page: Path = Path("preview.html")
    """Where the page is written (HTML)."""

    @model_validator(mode="after")
    def _check_numbers(self) -> "PreviewSettings":
        if self.num_shown > self.num_read:
            raise ValueError(
                f"num_shown={self.num_shown} is more than num_read={self.num_read}: read more, or show less"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FillSettings(TrainingConfig):
    """A training run with a store_dir, and which share of its samples is done here."""

    num_shards: Annotated[int, Field(ge=1)] = 1
    """Shares that the samples are dealt into, one after the other."""

    shard_index: Annotated[int, Field(ge=0)] = 0
    """The share that is done here, counted from 0."""

    fill_batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips per forward pass of the world model."""

    @model_validator(mode="after")
    def _check_share(self) -> "FillSettings":
        if self.store_dir is None:
            raise ValueError("store_dir is missing: expected the folder of the feature store that is to be filled")
        if not self.model.enable_world:
            raise ValueError("model.enable_world=False: there are no world features to compute")
        if self.shard_index >= self.num_shards:
            raise ValueError(
                f"shard_index={self.shard_index} of num_shards={self.num_shards}: expected 0 to {self.num_shards - 1}"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PlanSettings(TrainingConfig):
    """A training run, what its rows look like if that is not to be read from its data, and its devices."""

    num_devices: Annotated[int, Field(ge=1)] = 1
    """Devices that the run is spread over; each takes batch_size samples at a time."""

    sharding: Literal["ddp", "fsdp"] = "ddp"
    """Of several devices: each holds the whole model (ddp), or its share of it (fsdp)."""

    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Most operations a device does in the run's precision, in units of 10^12 a second; None: a large matrix product
    is timed on this machine."""

    length: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a row, placeholders included; None: the longest of a batch of the run's own samples."""

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
    """A run that is to be looked at before it starts; without one, the installation alone is."""

    output_dir: Path = Path()
    """The run's folder; none named: there is no run, and the installation alone is looked at."""
