"""Settings of `theworld score` for the benchmarks about the future: files of saved replies."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from theworld.config.base import STRICT, PathSetting
from theworld.config.problems import dataclass


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ChoiceScoreSettings:
    """Saved replies to a benchmark of multiple choice."""

    predictions: Annotated[tuple[PathSetting, ...], Field(min_length=1)]
    """Files of replies, several of them k samples of one model. Rows of `theworld evaluate`; or rows (JSONL, a JSON
    array or CSV) of an id and a prediction, with `source`; or the benchmark's own form."""

    source: str | None = None
    """Folder or hub id of the data set, for replies that do not hold the questions and answers."""

    split: Literal["validation", "test"] = "validation"
    """Split of `source` that the replies are to."""

    official: bool = False
    """Read the replies as the published script does, with its faults, and count missing ones as wrong."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VpctScoreSettings(ChoiceScoreSettings):
    """Saved replies to VPCT; its own form is benchmark_results_MODEL_run1.json."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FutureBenchScoreSettings(ChoiceScoreSettings):
    """Saved replies to FutureBench."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OpenWorldQAScoreSettings(ChoiceScoreSettings):
    """Saved replies to OpenWorldQA."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VRQABenchScoreSettings(ChoiceScoreSettings):
    """Saved replies to VRQABench."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SatScoreSettings(ChoiceScoreSettings):
    """Saved replies to SAT's real test."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PhysBenchScoreSettings(ChoiceScoreSettings):
    """Saved replies to PhysBench; its own form is the submission [{"idx": 0, "answer": "A"}]."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MvpScoreSettings(ChoiceScoreSettings):
    """Saved replies to MVP."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class IntPhys2ScoreSettings(ChoiceScoreSettings):
    """Saved replies to IntPhys 2; its own form is a table (.csv) of filename and response."""


FutureScoring: TypeAlias = (
    VpctScoreSettings
    | FutureBenchScoreSettings
    | OpenWorldQAScoreSettings
    | VRQABenchScoreSettings
    | SatScoreSettings
    | PhysBenchScoreSettings
    | MvpScoreSettings
    | IntPhys2ScoreSettings
)
"""Settings of any benchmark about the future to score."""
