"""Public benchmarks: each scores its own rows, sums them up, and reads its files of saved replies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from theworld.config.evaluation import BlinkScoreSettings, Scoring, SpatialRGPTScoreSettings, VsrScoreSettings
from theworld.config.reply_files import (
    ChoiceScoreSettings,
    FutureBenchScoreSettings,
    IntPhys2ScoreSettings,
    MvpScoreSettings,
    OpenWorldQAScoreSettings,
    PhysBenchScoreSettings,
    SatScoreSettings,
    VpctScoreSettings,
    VRQABenchScoreSettings,
)
from theworld.datasets.sample import Sample
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks import blink, choice_replies, choice_scores, spatial_rgpt, vsr
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, Scorer
from theworld.tables import Table

Files = TypeVar("Files", bound=Scoring | ChoiceScoreSettings)


@runtime_checkable
class BenchmarkScores(Protocol):
    """The numbers that a benchmark reports."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...

    def tables(self) -> list[Table]:
        """The same numbers for a reader."""
        ...


@dataclass(frozen=True)
class Benchmark(Generic[Files]):
    """A public benchmark; `datasets.factory` opens its questions under the same name."""

    name: str
    """Name, also the value of the field `benchmark` of its rows."""
    score: Scorer
    """Scores one row."""
    evaluate: Callable[[Sequence[Prediction]], BenchmarkScores]
    """Sums up rows."""
    files: type[Files]
    """Settings that name files of saved replies."""
    evaluate_files: Callable[[Files], BenchmarkScores]
    """Reads such files and sums them up."""
    submission: Callable[[Sequence[Prediction]], Any] | None = None
    """Makes the content of the file to submit, for a split whose answers are withheld; None: there is no such split."""

    def scores_of(self, settings: Scoring) -> BenchmarkScores | None:
        """Read and sum up the files that settings name; None for the settings of another benchmark."""
        return self.evaluate_files(settings) if isinstance(settings, self.files) else None


AnyBenchmark: TypeAlias = (
    Benchmark[BlinkScoreSettings]
    | Benchmark[SpatialRGPTScoreSettings]
    | Benchmark[VsrScoreSettings]
    | Benchmark[ChoiceScoreSettings]
)

_Submission: TypeAlias = Callable[[Sequence[Prediction]], Any]


def _choice_benchmark(
    name: str, files: type[ChoiceScoreSettings], submission: _Submission | None = None
) -> Benchmark[ChoiceScoreSettings]:
    """Make a benchmark about the future from its rules."""
    rules = choice_scores.RULES[name]
    return Benchmark(
        name,
        lambda row: choice_scores.score(row, rules),
        lambda rows: choice_scores.evaluate(rows, rules),
        files,
        lambda settings: choice_replies.evaluate_files(settings, name),
        submission,
    )


BENCHMARKS: Final[tuple[AnyBenchmark, ...]] = (
    Benchmark("blink", blink.score, blink.evaluate, BlinkScoreSettings, blink.evaluate_files, blink.submission),
    Benchmark(
        "spatial-rgpt",
        spatial_rgpt.score,
        spatial_rgpt.evaluate,
        SpatialRGPTScoreSettings,
        spatial_rgpt.evaluate_files,
    ),
    Benchmark("vsr", vsr.score, vsr.evaluate, VsrScoreSettings, vsr.evaluate_files),
    _choice_benchmark("vpct", VpctScoreSettings),
    _choice_benchmark("futurebench", FutureBenchScoreSettings),
    _choice_benchmark("openworldqa", OpenWorldQAScoreSettings),
    _choice_benchmark("vrqabench", VRQABenchScoreSettings),
    _choice_benchmark("sat", SatScoreSettings),
    _choice_benchmark("physbench", PhysBenchScoreSettings, choice_replies.physbench_submission),
    _choice_benchmark("mvp", MvpScoreSettings),
    _choice_benchmark("intphys2", IntPhys2ScoreSettings, choice_replies.intphys2_submission),
)
_BY_NAME: Final = {benchmark.name: benchmark for benchmark in BENCHMARKS}


def score(row: Prediction) -> Score:
    """Score a row by the rules of its benchmark, or without a benchmark with `scoring.score`.

    Raises:
        ValueError: for an unknown benchmark, or as the rules do.
    """
    name = row.fields.get("benchmark")
    if name is None or row.log_likelihoods is not None:
        return scoring.score(row)
    return _benchmark(name).score(row)


def benchmark_scores(rows: Sequence[Prediction]) -> tuple[str, BenchmarkScores] | None:
    """Sum up rows of one benchmark.

    Returns:
        The name of the benchmark and its numbers; None for rows of no benchmark, or of several.

    Raises:
        ValueError: as `score`.
    """
    names = {row.fields.get("benchmark") for row in rows}
    if len(names) != 1 or None in names:
        return None
    benchmark = _benchmark(names.pop())
    return benchmark.name, benchmark.evaluate(rows)


def evaluate_files(settings: Scoring) -> tuple[str, BenchmarkScores]:
    """Sum up the saved replies that the settings name.

    Returns:
        The name of the benchmark and its numbers.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the place in a file that is damaged.
    """
    for benchmark in BENCHMARKS:
        scores = benchmark.scores_of(settings)
        if scores is not None:
            return benchmark.name, scores
    raise TypeError(f"{type(settings).__name__}: expected the settings of a benchmark")


def submission(rows: Sequence[Prediction]) -> Any:
    """Return the content of the file to submit for rows whose answers are withheld.

    Raises:
        ValueError: for rows of no benchmark that takes submissions.
    """
    name = rows[0].fields.get("benchmark") if rows else None
    benchmark = None if name is None else _benchmark(name)
    if benchmark is None or benchmark.submission is None:
        raise ValueError(
            f"sample {rows[0].sample_id if rows else None!r}: its answer is withheld, and no server takes the replies:"
            " evaluate a split with answers"
        )
    return benchmark.submission(rows)


def true_answer(sample: Sample) -> str:
    """Return a sample's true answer, normalised, so that two wordings of one answer are equal.

    Raises:
        ValueError: for an answer that does not answer its question.
    """
    choices = sample.fields.get("choices")
    row = Prediction(
        sample_id=sample.id,
        question=sample.prompt[-1].text,
        answer=sample.answer,
        prediction=sample.answer,
        choices=None if choices is None else tuple(choices),
        fields={name: value for name, value in sample.fields.items() if isinstance(value, str | int | float | bool)},
        prompt_hash="",
    )
    return score(row).answer


def _benchmark(name: object) -> AnyBenchmark:
    if str(name) not in _BY_NAME:
        raise ValueError(f"benchmark {name!r}: expected one of {', '.join(_BY_NAME)}")
    return _BY_NAME[str(name)]
