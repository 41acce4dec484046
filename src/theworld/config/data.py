"""Settings of the data sets: DataSettings for all of them, those that a program registers, and mixtures."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from theworld.config.base import MOST, STRICT
from theworld.config.benchmark_data import (
    BlinkData,
    FutureBenchData,
    FutureData,
    IntPhys2Data,
    MvpData,
    OpenWorldQAData,
    PhysBenchData,
    SatData,
    SpatialRGPTData,
    VpctData,
    VRQABenchData,
    VsrData,
)
from theworld.config.data_base import (
    CONVERSATION_NAMES,
    TASK_NAMES,
    DataSettings,
    ForesightData,
    ForesightSplitName,
    SplitName,
    TaskName,
)
from theworld.config.problems import dataclass
from theworld.config.public_data import DataCompData, HFData, LlavaData, OpenSpatialData, OwnData, PublicData
from theworld.config.registered import REGISTERED_DATA, known_data
from theworld.config.video_data import VideoData

__all__ = [
    "CONVERSATION_NAMES",
    "TASK_NAMES",
    "BlinkData",
    "DataCompData",
    "DataSettings",
    "ForesightData",
    "ForesightSplitName",
    "FutureBenchData",
    "FutureData",
    "HFData",
    "IntPhys2Data",
    "LlavaData",
    "MixturePart",
    "MvpData",
    "OpenSpatialData",
    "OpenWorldQAData",
    "OwnData",
    "PhysBenchData",
    "PublicData",
    "RegisteredData",
    "SatData",
    "SpatialRGPTData",
    "SplitName",
    "TaskName",
    "VideoData",
    "VRQABenchData",
    "VpctData",
    "VsrData",
]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RegisteredData(DataSettings):
    """A data set of your own, which your program registers (`theworld.datasets.custom`)."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["registered"] = "registered"

    name: Annotated[str, AfterValidator(known_data)]
    """Name that it is registered under."""

    source: str | None = None
    """Place of its files, for the function that you registered."""

    fingerprint: str | None = None
    """Hash of its identity, which a run writes here; a data set of another identity is refused."""

    @model_validator(mode="after")
    def _settle_identity(self) -> "RegisteredData":
        now = REGISTERED_DATA[self.name](self)
        if self.fingerprint not in (None, now):
            raise ValueError(
                f"data set {self.name!r} is another one than before: its fingerprint is {now}, and here it is"
                f" {self.fingerprint}; put the data back, or start anew without this fingerprint"
            )
        object.__setattr__(self, "fingerprint", now)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MixturePart:
    """One of several data sets that a run is trained on."""

    data: DataSettings
    """Data set; its training split is read."""

    weight: Annotated[float, Field(gt=0, le=MOST)] = 1.0
    """Frequency of its samples, relative to the weights of the other parts."""
