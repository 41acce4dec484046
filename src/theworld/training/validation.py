"""Validation during training: accuracy on questions at regular steps, and the best model so far."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from theworld.config import DataSettings, ForesightData, TrainingConfig
from theworld.datasets.factory import name_of, open_samples
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.samplers import batches
from theworld.datasets.video import ClipRule
from theworld.evaluation.generation import Answerer, FeatureReader
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.statistics import wilson_interval
from theworld.io import whole_folder, write_whole
from theworld.modeling import TheWorld
from theworld.training.dataloading import read
from theworld.training.metrics import append_row, keep_rows

logger = logging.getLogger(__name__)

VALIDATION_NAME: Final = "validation.jsonl"
BEST_NAME: Final = "best"
MEASURED_NAME: Final = "measured.json"
"""In `best/`: the row of the measurement that it won."""


@dataclass(frozen=True)
class Result:
    """The accuracy of a model on one set of questions."""

    accuracy: float
    """Share of right answers. A reply that the parser cannot read is wrong; an item with an error does not count."""
    low: float
    """Lower end of Wilson's 95 % interval."""
    high: float
    """Its upper end."""
    num_items: int
    """Answered items."""
    num_missing: int
    """Items with an error; bad records are no items."""


def open_questions(config: TrainingConfig, with_future: bool, rule: ClipRule | None = None) -> dict[str, Samples]:
    """Open the validation sets of a run, by name; without `validation.eval_steps` there are none.

    Args:
        with_future: True if the world model sees the true future.
        rule: the frames of a video that the model sees.

    Raises:
        ValueError: as `open_samples`.
    """
    if config.validation.eval_steps is None:
        return {}
    sets: dict[str, Samples] = {}
    for data in config.validation.data or (config.data,):
        name = _name(data)
        if name in sets:
            name = f"{name}-{1 + sum(earlier.startswith(name) for earlier in sets)}"
        sets[name] = open_samples(data, data.validation_split, data.num_validation, with_future, rule)
    return sets


def _name(data: DataSettings) -> str:
    return f"{data.dataset}-{data.questions}" if isinstance(data, ForesightData) else name_of(data)


class Validation(TrainerCallback):
    """Measures accuracy every `validation.eval_steps` steps and after the last, without effect on the training.

        output_dir/
          validation.jsonl   a row per measurement: step, accuracy (the mean over the sets), the result of each set
          best/              the model of the highest accuracy so far, the earliest of equals; measured.json, its row

    Under a launcher each process answers its share. Every checkpoint holds the highest accuracy (`best_metric`), so a
    continued run replaces `best/` only by a better model.

    Args:
        trainer: holds the model.
        config: of the run.
        questions: the result of `open_questions`.
        read_features: source of world features; None: the model's own world, or none.

    Raises:
        ValueError: under FSDP, where the parts of a model cannot generate.
    """

    def __init__(
        self, trainer: Any, config: TrainingConfig, questions: dict[str, Samples], read_features: FeatureReader | None
    ) -> None:
        if trainer.is_fsdp_enabled:
            raise ValueError("validation.eval_steps does not work under FSDP; evaluate checkpoints instead")
        self.trainer = trainer
        self.settings = config.validation
        self.run = config.output_dir
        self.questions = questions
        self.read_features = read_features
        self._measured_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            keep_rows(self.run / VALIDATION_NAME, state.global_step)
        if state.best_metric is not None and not (self.run / BEST_NAME).is_dir():
            logger.warning(
                "%s has no %s/ of accuracy %.3f, so the search for the best model starts again",
                self.run,
                BEST_NAME,
                state.best_metric,
            )
            state.best_metric = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = self.settings.eval_steps
        if every is not None and (state.global_step % every == 0 or state.global_step == state.max_steps):
            should_log = control.should_log  # `Trainer.log` resets it
            with self.trainer.metrics.pausing():
                self._measure(state)
            control.should_log = should_log

    def _measure(self, state: Any) -> None:
        started = time.perf_counter()
        model = self.trainer.own_model()
        results = {name: self._ask(model, name) for name in self.questions}
        accuracy = sum(result.accuracy for result in results.values()) / len(results)
        is_best = state.best_metric is None or accuracy > state.best_metric
        row = {
            "step": state.global_step,
            "accuracy": accuracy,
            "sets": {name: vars(result) for name, result in results.items()},
            "seconds": time.perf_counter() - started,
        }
        logger.info(
            "step %d: %.1f %% right%s", state.global_step, 100 * accuracy, ", the best so far" if is_best else ""
        )
        if is_best:
            state.best_metric = accuracy
        if state.is_world_process_zero:
            append_row(self.run / VALIDATION_NAME, row)
            if is_best:
                keep_best(model, self.run / BEST_NAME, row)
        self.trainer.log({"eval_accuracy": accuracy, **{f"eval_{n}_accuracy": r.accuracy for n, r in results.items()}})
        PartialState().wait_for_everyone()

    def _ask(self, model: TheWorld, name: str) -> Result:
        """Answer this process's share of a set, and return the result of all processes.

        Raises:
            ValueError: if the model can answer none of the items.
        """
        settings, process, samples = self.settings, PartialState(), self.questions[name]
        answerer = Answerer(
            model,
            max_new_tokens=settings.max_new_tokens,
            score_choices=settings.answers == "loglikelihood",
            read_features=self.read_features,
        )
        model.eval()
        share = range(process.process_index, len(samples), process.num_processes)
        outcomes = (read(samples, index) for index in share)
        good = (outcome for outcome in outcomes if isinstance(outcome, Sample))
        mine = [row for batch in batches(good, settings.batch_size) for row in answerer(batch)]
        rows: list[Prediction] = gather_object(mine)
        return result_of(rows, name)


def result_of(rows: Sequence[Prediction], name: str) -> Result:
    """Return the result of a set of predictions.

    Raises:
        ValueError: if all of them are errors.
    """
    from theworld.evaluation.benchmarks.dispatch import score  # imports every benchmark, which few runs need

    values = [result.value for result in map(score, rows) if result.value is not None]
    if not values:
        first = next((row.error for row in rows), "there are no items")
        raise ValueError(f"validation on {name}: none of {len(rows)} items could be answered; the first error: {first}")
    interval = wilson_interval(int(sum(values)), len(values))
    return Result(sum(values) / len(values), interval.low, interval.high, len(values), len(rows) - len(values))


def keep_best(model: TheWorld, folder: Path, row: dict[str, Any]) -> None:
    """Replace `best/` by this model, whole or not at all, with the row of its measurement."""
    with whole_folder(folder) as aside:
        model.save_pretrained(aside)
        write_whole(aside / MEASURED_NAME, json.dumps(row, indent=2))
