"""What is looked at in every step: the first sample, and losses that are not finite or explode."""

import json
import logging
import math
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from theworld.datasets.showing import supervised_text
from theworld.files import write_whole

logger = logging.getLogger(__name__)

NUM_REMEMBERED = 100
"""Steps whose losses the median is taken of."""
NUM_NEEDED = 10
"""Steps after the warm-up before a loss can be told from noise."""
LEAST_LOSS = 1.0
"""What the median counts as at least: a loss near zero may rise by a large factor and still be small."""


class LossError(ValueError):
    """A loss with which training cannot go on; the ids of its batches are in the run's folder."""


class NonFiniteLossError(LossError):
    """A loss that is NaN or infinite."""


class ExplodingLossError(LossError):
    """A loss far above those before it."""


class LossWatch:
    """Stops a run before the weights follow a loss that is not finite, or far above the losses before.

    Args:
        run: the run's folder.
        max_ratio: a step's loss may be this many times the median of the last 100, or of 1 if that is more; None:
            anything finite.
        warmup_steps: steps whose losses are not looked at.
    """

    def __init__(self, run: Path, max_ratio: float | None = None, warmup_steps: int = 0) -> None:
        self.run, self.max_ratio, self.warmup_steps = run, max_ratio, warmup_steps
        self.before: deque[float] = deque(maxlen=NUM_REMEMBERED)
        """Losses of the last steps after the warm-up."""
        self._losses: list[float] = []
        self._sample_ids: list[str] = []

    def see(self, step: int, loss: float, sample_ids: list[str], *, ends_step: bool) -> None:
        """Look at a batch's share of a step's loss, after its backward pass.

        Args:
            step: the step that is being made, from 1 on.
            loss: of one batch, the mean over the processes; the sum over a step's batches is the step's loss.
            sample_ids: of the batch.
            ends_step: whether the weights follow now.

        Raises:
            NonFiniteLossError, ExplodingLossError: see there.
        """
        self._losses.append(loss)
        self._sample_ids += sample_ids
        if not math.isfinite(loss):
            path = self._write("nonfinite_loss.json", step, loss=str(loss), sample_ids=sample_ids)
            raise NonFiniteLossError(
                f"loss {loss} at step {step}: the ids of its batch are in {path}; lower the learning rate, or look at"
                " those samples"
            )
        if ends_step:
            whole, ids = sum(self._losses), self._sample_ids
            self._losses, self._sample_ids = [], []
            if step > self.warmup_steps:
                self._compare(step, whole, ids)

    def _compare(self, step: int, loss: float, sample_ids: list[str]) -> None:
        if self.max_ratio is not None and len(self.before) >= NUM_NEEDED:
            usual = median(self.before)
            if loss > self.max_ratio * max(usual, LEAST_LOSS):
                path = self._write("exploding_loss.json", step, loss=loss, median=usual, sample_ids=sample_ids)
                raise ExplodingLossError(
                    f"loss {loss:.4g} at step {step} is more than {self.max_ratio:g} times the median {usual:.4g} of"
                    f" the {len(self.before)} steps before: the ids of its batches are in {path}; lower the learning"
                    " rate, look at those samples, or raise max_loss_ratio"
                )
        self.before.append(loss)

    def _write(self, name: str, step: int, *, sample_ids: list[str], **found: Any) -> Path:
        """Every process comes here at once: they agree on the loss, and each has ids of its own."""
        every: list[str] = gather_object(sample_ids)
        if PartialState().is_main_process:
            write_whole(self.run / name, json.dumps({"step": step, **found, "sample_ids": every}, indent=2))
        return self.run / name


def log_sample(batch: dict[str, Any], sample_id: str, tokenizer: Any) -> None:
    """Write the first sample of a batch to the log as it is trained on."""
    text = supervised_text(batch["input_ids"][0], batch["labels"][0], tokenizer)
    logger.info("the first sample, %s; what is supervised stands between ⟦ and ⟧:\n%s", sample_id, text)
