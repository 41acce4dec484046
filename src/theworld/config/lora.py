"""LoraSettings: small trained matrices beside frozen layers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT

LoraTarget = Literal["language", "vision"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraSettings:
    """Adapters (LoRA): a product of two small matrices is learnt beside each linear layer, which stays as it is."""

    targets: Annotated[tuple[LoraTarget, ...], Field(strict=False)] = ()
    """Whose attention and MLP layers get adapters: `language`, `vision`, or both; none named: no adapters."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Inner width of the product."""

    alpha: Annotated[int, Field(ge=1)] = 32
    """The product counts alpha / rank times."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapter's inputs that is left out in training."""

    @model_validator(mode="after")
    def _check(self) -> "LoraSettings":
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets={self.targets} names one twice")
        if not self.targets and (self.rank, self.alpha, self.dropout) != (16, 32, 0.0):
            raise ValueError("rank, alpha and dropout are of no use without targets: name language, vision, or both")
        return self

    def check_frozen(self, freeze_gemma_vision: bool, freeze_gemma_language: bool) -> None:
        """Adapters stand beside layers that stay as they are.

        Raises:
            ValueError: if a target trains itself.
        """
        trained = {"vision": not freeze_gemma_vision, "language": not freeze_gemma_language}
        if both := [target for target in self.targets if trained[target]]:
            raise ValueError(
                f"lora.targets={self.targets} with freeze_gemma_{both[0]}=False: adapters stand beside layers that stay"
                " as they are; freeze them, or merge the adapters (merge_lora) and train the layers themselves"
            )
