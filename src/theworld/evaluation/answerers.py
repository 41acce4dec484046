"""Answerers that ask the world only where it is needed, or about several imagined futures."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from theworld.config.thresholds import Threshold, asks_world
from theworld.datasets.sample import Sample
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.gating import margin_of
from theworld.evaluation.generation import Answerer, BatchAnswerer, FeatureReader
from theworld.evaluation.predictions import Prediction
from theworld.modeling import TheWorld
from theworld.modeling.futures import check_futures


class GatedAnswerer(BatchAnswerer):
    """Answers without the world, and again with it where the margin of the first answer is below a threshold.

    Rows keep the `margin` of the answer without the world among their fields, and `imagined`: True if the world was
    asked.

    Args:
        model: a TheWorld with a world.
        threshold: margin, nats, below which the world is asked; "always": it always is.
        options: of `Answerer`, for both answers.
    """

    def __init__(self, model: TheWorld, threshold: Threshold, **options: Any) -> None:
        self.model = model
        self.threshold: Threshold = threshold
        self._world = Answerer(model, **options)
        plain = {name: value for name, value in options.items() if name not in ("read_features", "num_world_steps")}
        with model.without_world():
            self._plain = Answerer(model, first_token=True, **plain)

    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        with self.model.without_world():
            rows = self._plain._answer(samples)
        margins = [margin_of(Prediction(**row)) for row in rows]
        unsure = [place for place, margin in enumerate(margins) if asks_world(margin, self.threshold)]
        if unsure:
            again = self._world._answer([samples[place] for place in unsure])
            for place, row in zip(unsure, again, strict=True):
                rows[place] = row
        for place, (row, margin) in enumerate(zip(rows, margins, strict=True)):
            known = {} if margin is None or math.isinf(margin) else {"margin": margin}
            row["fields"] = {**row["fields"], **known, "imagined": place in unsure}
        return rows


class FuturesAnswerer(BatchAnswerer):
    """Answers with several imagined futures; the most frequent reading counts, and its share is the confidence.

    Of equally frequent readings the earliest future's counts. Rows keep the `confidence` among their fields, or none
    where no reply could be read.

    Args:
        model: a TheWorld whose futures differ by their noise.
        num_futures: number of futures; the first is the one of a single answer.
        options: of `Answerer`; `read_features` serves the first future.

    Raises:
        ValueError: for a model that imagines nothing.
    """

    def __init__(self, model: TheWorld, num_futures: int, **options: Any) -> None:
        check_futures(model.config, num_futures, options.get("num_world_steps"))
        self.model = model

        def reader(future: int) -> FeatureReader:
            def read(frames: Tensor, num_world_steps: int) -> Tensor:
                return model.read_world(frames, num_world_steps, future=future)

            return read

        self._answerers = [
            Answerer(model, **(options if future == 0 else {**options, "read_features": reader(future)}))
            for future in range(num_futures)
        ]

    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        runs = [answerer._answer(samples) for answerer in self._answerers]
        return [_agreed(rows) for rows in zip(*runs, strict=True)]


def _agreed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the first future with the most frequent reading, and the share of futures that agree."""
    readings = [reading_of(Prediction(**row)) for row in rows]
    counts = Counter(reading for reading in readings if reading is not None)
    num_read = sum(row["world_read"] for row in rows)
    if not counts:
        return {**rows[0], "world_read": num_read}
    most = max(counts.values())
    place = next(index for index, reading in enumerate(readings) if counts.get(reading or "") == most)
    row = rows[place]
    return {**row, "world_read": num_read, "fields": {**row["fields"], "confidence": most / len(rows)}}


def reading_of(row: Prediction) -> str | None:
    """Return the answer that is read from a reply; without a true answer the reply itself."""
    return score(row).reading if row.answer is not None else row.prediction
