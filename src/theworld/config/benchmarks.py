"""Settings of `theworld score`: which saved replies to which public benchmark are scored."""

from pathlib import Path
from typing import TypeAlias

from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTScoring:
    """Saved replies to SpatialRGPT-Bench, and by which stored verdict they are checked."""

    file: Path
    """JSONL rows of id, question, ground_truth, prediction, qa_type and qa_category."""

    judged: str | None = None
    """Key of a verdict that a judge left in each row, such as correct: the agreement with it is shown."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlinkScoring:
    """Saved replies to BLINK, and its answers."""

    answers: Path
    """The benchmark's val_answers.json: {"val_Counting_1": "(D)", ...}."""

    predictions: Path
    """Folder of one JSON file per task, {"val": [{"idx", "full_prediction"}, ...]}, or one file {idx: reply}."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VsrScoring:
    """Saved replies to Visual Spatial Reasoning, and its annotations."""

    annotations: Path
    """A split as the benchmark has it: JSONL rows of image, caption, label (0 or 1), relation."""

    predictions: Path
    """JSONL rows of image, caption and prediction, the reply; one for each annotation, in any order."""


Scoring: TypeAlias = SpatialRGPTScoring | BlinkScoring | VsrScoring
"""Whichever benchmark is scored."""
