"""Baselines: what each arm must beat before its accuracy means anything."""

from dataclasses import dataclass

from theworld.report.folder import RunFolder
from theworld.report.numbers import percent


@dataclass(frozen=True)
class Baseline:
    """A way to answer without looking, and the accuracy that it has."""

    words: str
    share: float


def strongest(run: RunFolder) -> dict[str, Baseline]:
    """For each arm with an accuracy the better of always giving the most frequent answer, and guessing."""
    found = {}
    for name, one in (run.results.arms if run.results is not None else {}).items():
        if one.accuracy is None:
            continue
        chance, majority = one.accuracy.guessing, one.accuracy.majority
        if chance is not None and chance > majority:
            found[name] = Baseline(f"guessing among the choices, {percent(chance)} %", chance)
        else:
            found[name] = Baseline(f"always “{one.accuracy.majority_answer}”, {percent(majority)} %", majority)
    return found
