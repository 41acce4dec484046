"""Baselines: what each arm must beat before its accuracy means anything."""

from dataclasses import dataclass

from theworld.report.folder import RunFolder
from theworld.report.numbers import percent


@dataclass(frozen=True)
class Baseline:
    """A way to answer without looking, and the accuracy that it has."""

    words: str
    share: float


def guessing(run: RunFolder, arm: str) -> float | None:
    """Accuracy of picking one of an item's choices at random, over the arm's items with a reply.

    Where the choices change from item to item, the most frequent answer is right far less often than this. None
    without the arm's predictions, or for an open question among them.
    """
    shares = [
        1 / len(row.choices) if row.choices else None for row in run.predictions.get(arm, []) if row.error is None
    ]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def strongest(run: RunFolder) -> dict[str, Baseline]:
    """For each arm with an accuracy the better of always giving the most frequent answer, and guessing."""
    found = {}
    for name, one in (run.results.arms if run.results is not None else {}).items():
        if one.accuracy is None:
            continue
        chance = guessing(run, name)
        if chance is not None and chance > one.accuracy.majority:
            found[name] = Baseline(f"guessing among the choices, {percent(chance)} %", chance)
        else:
            answer, share = one.accuracy.majority_answer, one.accuracy.majority
            found[name] = Baseline(f"always “{answer}”, {percent(share)} %", share)
    return found
