"""ValidationSettings: what a model is asked while it trains."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.data import DataSettings
from theworld.config.evaluation import refuse_conversations
from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ValidationSettings:
    """What a model is asked while it trains; the model that answered best is kept."""

    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps between measurements, of which one more comes at the end; None: nothing is asked."""

    data: tuple[DataSettings, ...] = ()
    """What is asked: the validation split of each, `num_validation` samples; none named: that of the run's data."""

    answers: Literal["written", "weighed"] = "written"
    """What counts as the answer: the text that the model writes, or the choice that it finds likeliest."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples answered at a time."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 16
    """Longest written answer, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "ValidationSettings":
        for data in self.data:
            refuse_conversations(data)
        return self
