"""Settings of the public benchmarks: those about a picture, and those about its future."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from theworld.config.base import STRICT, Count, PathSetting
from theworld.config.data_base import DataSettings
from theworld.config.problems import dataclass

OptionOrder = Literal["stored", "shuffled", "circular"]


def _check_orders(order: OptionOrder, number: int) -> None:
    if number > 1 and order != "shuffled":
        raise ValueError(f"num_option_orders={number} with option_order={order!r}: several orders need 'shuffled'")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlinkData(DataSettings):
    """BLINK: 14 visual perception tasks with choices."""

    dataset: Literal["blink"] = "blink"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tasks out of 14; none named: all."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTData(DataSettings):
    """SpatialRGPT-Bench: questions about marked regions."""

    dataset: Literal["spatial-rgpt"] = "spatial-rgpt"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    image_dir: PathSetting | None = None
    """Folder of the pictures, if the rows hold none."""

    marks: Literal["boxes", "masks"] = "boxes"
    """Marks of regions in the pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VsrData(DataSettings):
    """Visual Spatial Reasoning: true and false statements about pictures of COCO."""

    dataset: Literal["vsr"] = "vsr"

    source: str | None = None
    """Hub id, folder in the layout of that repository, or file; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subsets: Annotated[tuple[str, ...], Field(strict=False, max_length=1)] = ()
    """`random` or `zeroshot`, tests of their own; none named: `zeroshot`."""

    image_dir: PathSetting
    """Folder of COCO 2017's pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VpctData(DataSettings):
    """VPCT: the bucket that a ball falls into, from a picture of it above ramps."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["vpct"] = "vpct"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FutureBenchData(DataSettings):
    """FutureBench: events that follow the first part of a video."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["futurebench"] = "futurebench"

    source: str
    """Folder of the unpacked data set."""

    num_video_frames: Count | None = None
    """Frames of a video for Gemma, evenly spaced from the first to the last; None: those of the model's own clips."""

    option_order: Literal["stored", "shuffled", "circular"] = "stored"
    """Order of the options: as stored; shuffled, by a seed of each item; circular, each item asked once for every
    rotation."""

    num_option_orders: Count = 1
    """Shuffled orders that each item is asked in."""

    @model_validator(mode="after")
    def _check(self) -> "FutureBenchData":
        _check_orders(self.option_order, self.num_option_orders)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OpenWorldQAData(DataSettings):
    """OpenWorldQA: physical futures of one frame of a video."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["openworldqa"] = "openworldqa"

    source: str
    """Folder of the unpacked data set."""

    option_order: Literal["stored", "shuffled", "circular"] = "stored"
    """Order of the options: as stored; shuffled, by a seed of each item; circular, each item asked once for every
    rotation."""

    num_option_orders: Count = 1
    """Shuffled orders that each item is asked in."""

    @model_validator(mode="after")
    def _check(self) -> "OpenWorldQAData":
        _check_orders(self.option_order, self.num_option_orders)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VRQABenchData(DataSettings):
    """VRQABench: moves through mazes and Sokoban puzzles, from their first picture."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["vrqabench"] = "vrqabench"

    source: str
    """Folder of the unpacked data set."""

    option_order: Literal["stored", "shuffled", "circular"] = "stored"
    """Order of the options: as stored; shuffled, by a seed of each item; circular, each item asked once for every
    rotation."""

    num_option_orders: Count = 1
    """Shuffled orders that each item is asked in."""

    @model_validator(mode="after")
    def _check(self) -> "VRQABenchData":
        _check_orders(self.option_order, self.num_option_orders)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SatData(DataSettings):
    """SAT: the real test, movements and actions between two pictures."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["sat"] = "sat"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    option_order: Literal["stored", "shuffled", "circular"] = "shuffled"
    """Order of the options: as stored; shuffled, by a seed of each item; circular, each item asked once for every
    rotation."""

    num_option_orders: Count = 1
    """Shuffled orders that each item is asked in."""

    @model_validator(mode="after")
    def _check(self) -> "SatData":
        _check_orders(self.option_order, self.num_option_orders)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PhysBenchData(DataSettings):
    """PhysBench: physics of pictures and videos."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["physbench"] = "physbench"

    source: str
    """Folder of the unpacked data set."""

    num_video_frames: Count | None = None
    """Frames of a video for Gemma, evenly spaced from the first to the last; None: those of the model's own clips."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MvpData(DataSettings):
    """Minimal Video Pairs: one question about two videos with different answers."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["mvp"] = "mvp"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Configurations out of 4; none named: all."""

    video_dir: PathSetting
    """Folder that the paths of the videos start from."""

    num_video_frames: Count | None = None
    """Frames of a video for Gemma, evenly spaced from the first to the last; None: those of the model's own clips."""

    option_order: Literal["stored", "shuffled", "circular"] = "stored"
    """Order of the options: as stored; shuffled, by a seed of each item; circular, each item asked once for every
    rotation."""

    num_option_orders: Count = 1
    """Shuffled orders that each item is asked in."""

    @model_validator(mode="after")
    def _check(self) -> "MvpData":
        _check_orders(self.option_order, self.num_option_orders)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class IntPhys2Data(DataSettings):
    """IntPhys 2: videos that are physically possible or not."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["intphys2"] = "intphys2"

    source: str
    """Folder of the unpacked data set."""

    subsets: Annotated[tuple[str, ...], Field(strict=False, max_length=1)] = ()
    """`Main` or `Debug`, labelled sets of their own; none named: `Main`."""

    num_video_frames: Count | None = None
    """Frames of a video for Gemma, evenly spaced from the first to the last; None: those of the model's own clips."""


FutureData: TypeAlias = (
    VpctData | FutureBenchData | OpenWorldQAData | VRQABenchData | SatData | PhysBenchData | MvpData | IntPhys2Data
)
"""Benchmarks that ask what will happen."""

BenchmarkData: TypeAlias = BlinkData | SpatialRGPTData | VsrData | FutureData
"""Public benchmarks."""
