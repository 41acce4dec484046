"""Where the curves of a run go besides its own metrics: TensorBoard, or Weights & Biases."""

import importlib.util
import os
from typing import Any

from pydantic import TypeAdapter
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

from theworld.config import TrainingConfig


def check_curves(config: TrainingConfig) -> None:
    """Refuse curves that cannot be drawn here.

    Raises:
        ValueError: for wandb where it is not installed.
    """
    if config.log_to == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            "log_to='wandb': wandb is not installed; pip install 'theworld[wandb]', or use log_to='tensorboard'"
        )


def open_curves(config: TrainingConfig) -> list[TrainerCallback]:
    """What draws the curves of a run, in the main process; its files lie in the run's folder."""
    if config.log_to == "tensorboard":
        return [TensorBoardCallback(SummaryWriter(config.output_dir / "tensorboard"))]
    return [_Wandb(config)] if config.log_to == "wandb" else []


class _Wandb(WandbCallback):
    """transformers' callback, with the run's settings as its configuration, and an end.

    A continuation is a run of its own there, in one group with what it continues.
    """

    def __init__(self, config: TrainingConfig) -> None:
        import wandb

        super().__init__()
        name = config.output_dir.name
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", "theworld"),
            dir=config.output_dir,
            name=name,
            group=name,
            config={"settings": TypeAdapter(TrainingConfig).dump_python(config, mode="json")},
        )

    def on_train_end(self, *given: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().on_train_end(*given, **kwargs)
        self._wandb.finish()
