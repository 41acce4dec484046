"""Scoring: reads replies and compares them with true answers; pure functions of prediction rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from theworld.evaluation.parsing.choices import named_choice
from theworld.evaluation.parsing.options import options_in
from theworld.evaluation.parsing.text import normalise
from theworld.evaluation.predictions import Prediction

State: TypeAlias = Literal["right", "wrong", "unparsed", "missing"]
"""`unparsed`: a reply that names no choice, or several. `missing`: an error row, which has no reply."""


@dataclass(frozen=True)
class Score:
    """Score of one item."""

    sample_id: str
    state: State
    reading: str | None
    """The answer that was read from the reply, normalised; None if it could not be read."""
    answer: str
    """The true answer, normalised."""

    @property
    def value(self) -> int | None:
        """1 for right, 0 for wrong and unparsed, None for missing."""
        return None if self.state == "missing" else int(self.state == "right")


Scorer: TypeAlias = Callable[[Prediction], Score]
"""Function that scores a row; a benchmark may have its own."""


def score(row: Prediction) -> Score:
    """Score a row by its log-likelihoods, else by its choices, else by exact match.

    Log-likelihoods: the reading is the largest; if two are largest, the row is unparsed. Choices: `named_choice`.
    Otherwise the reply must equal the answer after `normalise`; an empty reply is unparsed.

    Raises:
        ValueError: if the row's answer is withheld.
    """
    if row.answer is None:
        raise ValueError(f"sample {row.sample_id!r}: the answer is withheld, so there is nothing to score against")
    if row.error is not None:
        return Score(row.sample_id, "missing", None, normalise(row.answer))
    if row.log_likelihoods is not None:
        reading = likeliest_choice(row)
    elif row.choices is not None:
        reading = named_choice(row.prediction or "", row.choices, options_in(row.question))
    else:
        reading = normalise(row.prediction or "") or None
        return _scored(row, reading, reading == normalise(row.answer))
    return _scored(row, reading, reading == row.answer)


def likeliest_choice(row: Prediction) -> str | None:
    """Return the choice with the largest log-likelihood; None if two share it.

    Raises:
        ValueError: if the row has no log-likelihoods.
    """
    if not row.log_likelihoods:
        raise ValueError(f"sample {row.sample_id!r}: no log-likelihoods were computed")
    largest = max(row.log_likelihoods.values())
    best = [choice for choice, value in row.log_likelihoods.items() if value == largest]
    return best[0] if len(best) == 1 else None


def _scored(row: Prediction, reading: str | None, right: bool) -> Score:
    state: State = "unparsed" if reading is None else "right" if right else "wrong"
    return Score(row.sample_id, state, None if reading is None else normalise(reading), normalise(row.answer or ""))
