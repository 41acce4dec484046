"""Questions asked while a model trains: how many it answers rightly, and the model that answered best, kept."""

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
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.samplers import batches
from theworld.evaluation.benchmarks.dispatch import score
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
    """How a model answered one set of questions."""

    accuracy: float
    """Share of right answers; replies that cannot be read are not right, items that met an error count as nothing."""
    low: float
    """Lower end of Wilson's 95 % interval."""
    high: float
    """Its upper end."""
    num_items: int
    """Items that were answered."""
    num_missing: int
    """Items that met an error; a record that gives no sample is no item."""


def open_questions(config: TrainingConfig, with_future: bool) -> dict[str, Samples]:
    """The samples that a run asks, by the name of their set; none where nothing is asked.

    Args:
        with_future: whether the world sees what really happened.

    Raises:
        ValueError: as `open_samples`.
    """
    if config.validation.eval_steps is None:
        return {}
    found: dict[str, Samples] = {}
    for data in config.validation.data or (config.data,):
        name = _name(data)
        if name in found:
            name = f"{name}-{1 + sum(one.startswith(name) for one in found)}"
        found[name] = open_samples(data, data.validation_split, data.num_validation, with_future)
    return found


def _name(data: DataSettings) -> str:
    return f"{data.dataset}-{data.questions}" if isinstance(data, ForesightData) else data.dataset


class Validation(TrainerCallback):
    """Asks every so many steps and after the last; nothing of the training changes by it.

        output_dir/
          validation.jsonl   a row per measurement: step, accuracy (the mean over the sets), what each set came to
          best/              the model of the highest accuracy so far, the earliest of equals; measured.json, its row

    Under a launcher each process asks its share. The highest accuracy is in every checkpoint (`best_metric`), so that
    a continued run replaces `best/` by a better model only.

    Args:
        trainer: whose model is asked.
        config: of the run.
        questions: as `open_questions` gives them.
        read_features: where features come from; None: the model's own world, or none.

    Raises:
        ValueError: under FSDP, whose parts of a model cannot generate.
    """

    def __init__(
        self, trainer: Any, config: TrainingConfig, questions: dict[str, Samples], read_features: FeatureReader | None
    ) -> None:
        if trainer.is_fsdp_enabled:
            raise ValueError("validation.eval_steps under FSDP: parts of a model cannot answer; evaluate checkpoints")
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
                "%s holds no %s/ of accuracy %.3f: the best is sought anew", self.run, BEST_NAME, state.best_metric
            )
            state.best_metric = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = self.settings.eval_steps
        if every is not None and (state.global_step % every == 0 or state.global_step == state.max_steps):
            logs_as_well = control.should_log  # which a call of `log` takes for done
            with self.trainer.metrics.pausing():
                self._measure(state)
            control.should_log = logs_as_well

    def _measure(self, state: Any) -> None:
        started = time.perf_counter()
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        results = {name: self._ask(model, name) for name in self.questions}
        accuracy = sum(result.accuracy for result in results.values()) / len(results)
        is_best = state.best_metric is None or accuracy > state.best_metric
        row = {
            "step": state.global_step,
            "accuracy": accuracy,
            "sets": {name: vars(result) for name, result in results.items()},
            "seconds": time.perf_counter() - started,
        }
        logger.info("step %d: %.1f %% right%s", state.global_step, 100 * accuracy, ", the best so far" * is_best)
        if is_best:
            state.best_metric = accuracy
        if state.is_world_process_zero:
            append_row(self.run / VALIDATION_NAME, row)
            if is_best:
                keep_best(model, self.run / BEST_NAME, row)
        self.trainer.log({"eval_accuracy": accuracy, **{f"eval_{n}_accuracy": r.accuracy for n, r in results.items()}})
        PartialState().wait_for_everyone()

    def _ask(self, model: TheWorld, name: str) -> Result:
        """Let every process answer its share of a set; the result of all.

        Raises:
            ValueError: if none of the items could be answered.
        """
        settings, process, samples = self.settings, PartialState(), self.questions[name]
        answerer = Answerer(
            model,
            max_new_tokens=settings.max_new_tokens,
            score_choices=settings.answers == "weighed",
            read_features=self.read_features,
        )
        model.eval()
        share = range(process.process_index, len(samples), process.num_processes)
        found = (read(samples, index) for index in share)
        good = (sample for sample in found if isinstance(sample, Sample))
        own = [row for some in batches(good, settings.batch_size) for row in answerer(some)]
        rows: list[Prediction] = gather_object(own)
        return result_of(rows, name)


def result_of(rows: Sequence[Prediction], name: str) -> Result:
    """What rows of predictions come to.

    Raises:
        ValueError: if all of them are errors.
    """
    values = [one.value for one in map(score, rows) if one.value is not None]
    if not values:
        first = next((row.error for row in rows), "there are no items")
        raise ValueError(f"validation on {name}: none of {len(rows)} items could be answered; the first error: {first}")
    interval = wilson_interval(int(sum(values)), len(values))
    return Result(sum(values) / len(values), interval.low, interval.high, len(values), len(rows) - len(values))


def keep_best(model: TheWorld, folder: Path, row: dict[str, Any]) -> None:
    """Put a model in the place of the best so far, whole, with the row of what it reached."""
    with whole_folder(folder) as aside:
        model.save_pretrained(aside)
        write_whole(aside / MEASURED_NAME, json.dumps(row, indent=2))
