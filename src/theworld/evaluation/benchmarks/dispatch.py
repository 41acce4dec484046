"""Rules: by which a reply is scored, and a whole benchmark told, as the rows themselves say (field `benchmark`)."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from theworld.datasets.sample import Sample
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks import blink, spatial_rgpt, vsr
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score

_MODULES: Final[Mapping[str, ModuleType]] = {"blink": blink, "spatial-rgpt": spatial_rgpt, "vsr": vsr}
"""Each has `score(row)` and `evaluate(rows)`."""

_KINDS: Final = ("kind", "task", "category", "meta_category")


def score(row: Prediction) -> Score:
    """The score of a row: by the rules of its benchmark, or without one by what it holds (`scoring.score`).

    Raises:
        ValueError: for an unknown benchmark, or as the rules do.
    """
    name = row.fields.get("benchmark")
    if name is None or row.log_likelihoods is not None:
        return scoring.score(row)
    return _module(str(name)).score(row)


def benchmark_scores(rows: Sequence[Prediction]) -> tuple[str, Any] | None:
    """The name of the rows' benchmark and the numbers that it is told by; None for rows of none, or of several.

    Raises:
        ValueError: as `score`.
    """
    names = {row.fields.get("benchmark") for row in rows}
    if len(names) != 1 or None in names:
        return None
    name = str(names.pop())
    return name, _module(name).evaluate(rows)


def true_answer(sample: Sample) -> str:
    """What a sample's true answer says, normalised: what two wordings of one answer share.

    Raises:
        ValueError: for an answer that says nothing that is asked for.
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


def kind_field(rows: Sequence[Prediction]) -> str | None:
    """The field that says what kind of question a row is, if all have one."""
    common = set.intersection(*({*row.fields} for row in rows)) if rows else set()
    return next((name for name in _KINDS if name in common), None)


def _module(name: str) -> Any:
    if name not in _MODULES:
        raise ValueError(f"benchmark {name!r}: expected one of {', '.join(_MODULES)}")
    return _MODULES[name]
