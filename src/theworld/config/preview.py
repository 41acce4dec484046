"""PreviewConfig: which samples of a training run are looked at before it starts."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.training import TrainingConfig
from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PreviewConfig(TrainingConfig):
    """A training run, and how much of its data is looked at."""

    num_read: Annotated[int, Field(ge=1)] = 200
    """Records that are read, drawn with the run's seed: their lengths are counted, and what is wrong with some."""

    num_shown: Annotated[int, Field(ge=1)] = 24
    """Samples that are shown whole, the first of those."""

    page: Path = Path("preview.html")
    """Where the page is written (HTML)."""

    @model_validator(mode="after")
    def _check_numbers(self) -> "PreviewConfig":
        if self.num_shown > self.num_read:
            raise ValueError(
                f"num_shown={self.num_shown} is more than num_read={self.num_read}: read more, or show less"
            )
        return self
