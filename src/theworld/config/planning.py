"""PlanSettings and DoctorSettings: a training run, and the devices that it is to run on."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.training import TrainingConfig
from theworld.config.world import STRICT


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
