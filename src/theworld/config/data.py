"""DataSettings: which samples a model is trained on and measured on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT

SplitName = Literal["train", "validation", "test"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DataSettings:
    """Which samples a model is trained on and measured on."""

    dataset: Literal["foresight"] = "foresight"
    """Where samples come from: `foresight`, physical scenes simulated and drawn when they are read."""

    questions: Literal["dynamic", "static", "both"] = "both"
    """What is asked: what will happen, what is there (the control), or both."""

    image_size_px: Annotated[int, Field(ge=16)] = 896
    """Side of the pictures as drawn, pixels: 896 is what Gemma 3 sees, 64 what the tiny model sees."""

    train_split: SplitName = "train"
    """Split that the weights learn from."""

    num_train: Annotated[int, Field(ge=1)] = 20_000
    """Training samples."""

    validation_split: SplitName = "validation"
    """Split that answers are measured on."""

    num_validation: Annotated[int, Field(ge=1)] = 1_000
    """Validation samples."""

    @model_validator(mode="after")
    def _check(self) -> "DataSettings":
        if self.train_split == "test":
            raise ValueError("train_split='test': nothing may train on the test split; use 'train' or 'validation'")
        if self.train_split == self.validation_split:
            raise ValueError(f"train_split and validation_split are both {self.train_split!r}: measure on another")
        return self
