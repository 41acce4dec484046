"""FillConfig: a training run whose world features are computed beforehand, by many machines if need be."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.training import TrainingConfig
from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FillConfig(TrainingConfig):
    """A training run with a store_dir, and which share of its samples is done here."""

    num_shards: Annotated[int, Field(ge=1)] = 1
    """Shares that the samples are dealt into, one after the other."""

    shard_index: Annotated[int, Field(ge=0)] = 0
    """The share that is done here, counted from 0."""

    fill_batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips per forward pass of the world model."""

    @model_validator(mode="after")
    def _check_share(self) -> "FillConfig":
        if self.store_dir is None:
            raise ValueError("store_dir is missing: expected the folder of the feature store that is to be filled")
        if not self.model.enable_world:
            raise ValueError("model.enable_world=False: there are no world features to compute")
        if self.shard_index >= self.num_shards:
            raise ValueError(
                f"shard_index={self.shard_index} of num_shards={self.num_shards}: expected 0 to {self.num_shards - 1}"
            )
        return self
