"""Agreement of several imagined futures as the confidence of an answer, and the calibration of this confidence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from theworld.datasets.sample import Sample
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import Answerer, BatchAnswerer, FeatureReader
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.statistics import Interval, wilson_interval
from theworld.modeling import TheWorld
from theworld.modeling.futures import check_futures


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


@dataclass(frozen=True)
class ConfidenceBin:
    """Items of one confidence."""

    confidence: float
    num_items: int
    accuracy: float
    wilson: Interval


@dataclass(frozen=True)
class Calibration:
    """Accuracy by confidence."""

    num_items: int
    """Items with a confidence."""
    bins: list[ConfidenceBin]
    """From the lowest confidence to the highest."""
    error: float
    """Expected calibration error: the mean over items of the distance between accuracy and confidence of their bin."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def calibration_of(rows: Sequence[Prediction]) -> Calibration | None:
    """Compute the accuracy of rows by their confidence; None if none has one."""
    groups: dict[float, list[int]] = {}
    for row in rows:
        confidence = row.fields.get("confidence")
        if row.error is None and row.answer is not None and isinstance(confidence, int | float):
            groups.setdefault(round(float(confidence), 6), []).append(score(row).value or 0)
    if not groups:
        return None
    bins = [
        ConfidenceBin(confidence, len(values), sum(values) / len(values), wilson_interval(sum(values), len(values)))
        for confidence, values in sorted(groups.items())
    ]
    total = sum(bin.num_items for bin in bins)
    error = sum(bin.num_items * abs(bin.accuracy - bin.confidence) for bin in bins) / total
    return Calibration(total, bins, error)
