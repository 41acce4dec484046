"""Scoring: reads replies and compares them with true answers; pure functions of prediction rows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from theworld.evaluation.predictions import Prediction

State: TypeAlias = Literal["right", "wrong", "unparsed", "missing"]
"""`unparsed`: a reply that names no choice, or several. `missing`: an error row, which has no reply."""

_LEADING_LABEL = re.compile(r"\A(?:answer:\s*)+")
_TRAILING_PUNCTUATION = " .,;:!?"
_NEGATION = re.compile(r"(?:\bnot|n['’]t|\bneither|\bnor)(?:\s+\w+){0,2}\s+$", re.IGNORECASE)
_NEGATION_REACH = 60
"""Length of the text before a mention that is searched for a negation, characters."""


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


@lru_cache(maxsize=4096)  # answers and choices repeat on every row
def normalise(text: str) -> str:
    """Remove case, repeated white space, a leading `answer:` and trailing punctuation; keep articles and all else."""
    return _LEADING_LABEL.sub("", " ".join(text.casefold().split())).rstrip(_TRAILING_PUNCTUATION)


def named_choice(text: str, choices: tuple[str, ...]) -> str | None:
    """Return the only choice that a reply names; None if it names none or several, or negates one.

    A reply that equals a choice after normalisation names it. Otherwise choices are searched as whole words, the
    longest first ("dark red" is not "red"), in any case; a choice of one letter only in its own case, since the
    article "a" does not name "A".
    """
    whole = normalise(text)
    equal = [choice for choice in choices if normalise(choice) == whole]
    if equal:
        return equal[0] if len(equal) == 1 else None
    by_length = sorted(choices, key=len, reverse=True)
    named = set()
    for mention in _mentions(tuple(by_length)).finditer(text):
        if _NEGATION.search(text, max(0, mention.start() - _NEGATION_REACH), mention.start()):
            return None
        named.add(by_length[(mention.lastindex or 1) - 1])
    return named.pop() if len(named) == 1 else None


@lru_cache(maxsize=1024)
def _mentions(choices: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of any choice as a whole word, but not of a number inside a longer number; group i is choice i."""
    parts = (f"({re.escape(choice)})" if len(choice) == 1 else f"((?i:{re.escape(choice)}))" for choice in choices)
    return re.compile(rf"(?<!\w)(?<!\d[.,])(?:{'|'.join(parts)})(?!\w|[.,]\d)")


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
        reading = named_choice(row.prediction or "", row.choices)
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
