"""Settings of the optimiser: OptimSettings, with values for single parts of the model."""

from dataclasses import field, fields
from typing import Annotated, Literal

from pydantic import Field, model_validator

from theworld.config.base import STRICT, CountOrZero
from theworld.config.problems import dataclass

_OfPart = Annotated[float, Field(ge=0)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PerPart:
    """A value for single parts of the model; a part without one has that of the whole."""

    projector: _OfPart | None = None
    """The world's projector, with its embeddings of time and place; None: as the whole."""

    markers: _OfPart | None = None
    """The two embeddings around a clip; None: as the whole."""

    vision: _OfPart | None = None
    """Gemma's vision tower and what projects its patches; None: as the whole."""

    language: _OfPart | None = None
    """Gemma's language model; None: as the whole."""

    adapters: _OfPart | None = None
    """LoRA adapters; None: as the whole."""

    cosmos_vae: _OfPart | None = None
    """Encoder of the world's VAE; None: as the whole."""

    def named(self) -> dict[str, float]:
        """Return the parts that have a value of their own."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OptimSettings:
    """The optimiser (AdamW) and its learning-rate schedule; single parts may have values of their own."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""

    warmup_steps: CountOrZero = 0
    """Optimiser steps over which the learning rate rises from 0 to its peak."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""

    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the running mean of the gradient."""

    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the running mean of the squared gradient."""

    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradients; larger ones are clipped."""

    learning_rates: PerPart = field(default_factory=PerPart)
    """Peak learning rates of single parts, instead of learning_rate."""

    weight_decays: PerPart = field(default_factory=PerPart)
    """Weight decays of single parts, instead of weight_decay; biases and norms have none in any part."""

    @model_validator(mode="after")
    def _check(self) -> "OptimSettings":
        if zero := [part for part, rate in self.learning_rates.named().items() if rate == 0]:
            raise ValueError(f"learning_rates: {zero[0]} is 0: freeze a part that must not move (model.freeze_...)")
        return self

    def by_part(self) -> dict[str, dict[str, float]]:
        """Return the values of parts by torch's names: `{part: {"lr": ..., "weight_decay": ...}}`."""
        values_of: dict[str, dict[str, float]] = {}
        for key, values in (("lr", self.learning_rates), ("weight_decay", self.weight_decays)):
            for part, value in values.named().items():
                values_of.setdefault(part, {})[key] = value
        return values_of
