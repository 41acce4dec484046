"""Scoring: what a reply is read as, and whether that is right; pure functions of prediction rows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from theworld.evaluation.predictions import Prediction

State: TypeAlias = Literal["right", "wrong", "unparsed", "missing"]
"""`unparsed`: a reply that names no choice, or several; `missing`: an error row, which is no reply at all."""

_LEADING_LABEL = re.compile(r"\A(?:answer:\s*)+")
_TRAILING_PUNCTUATION = " .,;:!?"
_NEGATION = re.compile(r"(?:\bnot|n['’]t|\bneither|\bnor)(?:\s+\w+){0,2}\s+$", re.IGNORECASE)
_NEGATION_REACH = 60
"""Characters before a mention in which a negation is looked for."""


@dataclass(frozen=True)
class Score:
    """How one item went."""

    sample_id: str
    state: State
    reading: str | None
    """What the reply was taken to say, normalised; None if it could not be read."""
    answer: str
    """The true answer, normalised."""

    @property
    def value(self) -> int | None:
        """1 for right, 0 for wrong and unparsed (a reply that answers nothing earns nothing), None for missing."""
        return None if self.state == "missing" else int(self.state == "right")


Scorer: TypeAlias = Callable[[Prediction], Score]
"""Anything that turns a row into a score: benchmarks with rules of their own bring theirs."""


@lru_cache(maxsize=4096)  # answers and choices come back on every row
def normalise(text: str) -> str:
    """Case, white space, leading `answer:` and trailing punctuation taken away; articles and all else are kept."""
    return _LEADING_LABEL.sub("", " ".join(text.casefold().split())).rstrip(_TRAILING_PUNCTUATION)


def named_choice(text: str, choices: tuple[str, ...]) -> str | None:
    """The one choice that a reply names; None if it names none, several, or says what it is not.

    A reply that equals a choice after normalisation names it. Otherwise choices are looked for as whole words, the
    longest first ("dark red" is not "red"), whatever their case; a choice of one letter in its own case only, since
    the article "a" names no "A".
    """
    whole = normalise(text)
    equal = [choice for choice in choices if normalise(choice) == whole]
    if equal:
        return equal[0] if len(equal) == 1 else None
    by_length = sorted(choices, key=len, reverse=True)
    found = set()
    for mention in _mentions(tuple(by_length)).finditer(text):
        if _NEGATION.search(text, max(0, mention.start() - _NEGATION_REACH), mention.start()):
            return None
        found.add(by_length[(mention.lastindex or 1) - 1])
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=1024)
def _mentions(choices: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any choice as a whole word, and no number inside a longer number; group i is choice i."""
    parts = (f"({re.escape(choice)})" if len(choice) == 1 else f"((?i:{re.escape(choice)}))" for choice in choices)
    return re.compile(rf"(?<!\w)(?<!\d[.,])(?:{'|'.join(parts)})(?!\w|[.,]\d)")


def score(row: Prediction) -> Score:
    """The score of a row by what it holds: log-likelihoods, else choices, else exact match.

    Log-likelihoods: the largest is the reading; equal largest ones are unparsed. Choices: `named_choice`. Otherwise
    the reply must equal the answer after `normalise`; an empty reply is unparsed.

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
    """The choice of the largest log-likelihood; None if two share it.

    Raises:
        ValueError: if the row holds no log-likelihoods.
    """
    if not row.log_likelihoods:
        raise ValueError(f"sample {row.sample_id!r}: no log-likelihoods were computed")
    largest = max(row.log_likelihoods.values())
    best = [choice for choice, value in row.log_likelihoods.items() if value == largest]
    return best[0] if len(best) == 1 else None


def _scored(row: Prediction, reading: str | None, right: bool) -> Score:
    state: State = "unparsed" if reading is None else "right" if right else "wrong"
    return Score(row.sample_id, state, None if reading is None else normalise(reading), normalise(row.answer or ""))
