"""Claims about two regions in a reply: which of them is the higher, the wider, the nearer one."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_MORE, _LESS = r"greater|larger|bigger|more|higher|wider|taller|longer", r"lesser|less|smaller|lower|shorter|narrower"
_EXCEEDS, _FALLS_SHORT = r"exceed\w*|surpass\w*|greater|larger|bigger|more", r"less\w*|smaller|falls? short"
_FAR = r"more distant|(?:further|farther|deeper)(?!\s+(?:to the (?:left|right)|up|down|left|right|forward|ahead))"

_AXES = {
    ("above", "below"): (
        r"above|over|on top|atop|higher|upper|highest|top",
        r"below|under|underneath|beneath|lower|lowest|bottom",
    ),
    ("left", "right"): (r"left|leftmost|leftward", r"right|rightmost|rightward"),
    ("big", "small"): (
        rf"big|bigger|biggest|large|larger|largest|greater|(?:{_MORE}) (?:size|space|area)|more (?:space|room)",
        rf"small|smaller|smallest|tinier|less (?:space|room)|(?:{_LESS}) (?:size|space|area)",
    ),
    ("tall", "short"): (
        rf"taller|tallest|higher|(?:{_MORE})(?: in)? height|height(?: \S+){{1,6}}? (?:{_EXCEEDS})",
        rf"shorter|shortest|lower|not as tall|less tall|(?:{_LESS})(?: in)? height|height(?: \S+){{1,6}}? (?:{_FALLS_SHORT})",
    ),
    ("wide", "thin"): (
        rf"wider|widest|broader|thicker|(?:{_MORE})(?: in)? width|width(?: \S+){{1,6}}? (?:{_EXCEEDS})",
        rf"thinner|thinnest|narrower|narrowest|slimmer|slenderer|not as wide|less wide|(?:{_LESS})(?: in)? width"
        rf"|width(?: \S+){{1,6}}? (?:{_FALLS_SHORT})",
    ),
    ("behind", "front"): (
        rf"behind|at the back|{_FAR}",
        r"in front|ahead|before|closer|nearer|closest|nearest|less distant|not as (?:far|distant)",
    ),
}
"""Words for either end of an axis, in the vocabulary of SpatialRGPT-Bench and of models that answer it."""


class Relation(NamedTuple):
    """One end of an axis: what is asked about."""

    same: str
    """Pattern of its own words."""
    opposite: str
    """Pattern of the words of the other end."""


RELATIONS = {
    name: Relation(words[end], words[1 - end]) for names, words in _AXES.items() for end, name in enumerate(names)
}
"""above, below, left, right, big, small, tall, short, wide, thin, behind, front."""


class Claim(NamedTuple):
    """What one clause says: this region is (or, with `same` false, its counterpart is) what is asked about."""

    region: int
    same: bool


_CLAUSE = re.compile(r"(?<!\d)[.!](?=\s|$)|\n|;|[,(]?\s*\b(?:while|whereas|but|because|since)\b|,\s*(?=region_\d+ )")
_QUESTION = re.compile(r"[^.!?\n]*\?")
_REGION = re.compile(r"\bregion_(\d+)\b")
_COMPARED = re.compile(
    r"\b(?:as\s+)?(?:compared|relative|in comparison|in relation|than|in contrast)\s*(?:to|with)?\s+(?:(?!region_)\S+\s+){0,6}?\(?region_\d+ ?\)?"
)
_INVERTED = re.compile(r"\b(?:is|are|would be|appears to be|:)\s*(?:the\s+)?(?:\S+\s+){0,4}?\(?region_(\d+)\b")
_DENIED = re.compile(r"(?:\bnot\b|n't\b|\bnever\b|\bneither\b|\bnor\b|\bcannot\b)")


def claims(text: str, relation: Relation) -> Iterator[Claim]:
    """What the clauses of a plain text say about a relation, in order; questions say nothing.

    ```
    asked: below   "region_0 is above region_1"      ->  Claim(0, same=False)
                   "positioned lower is region_1"    ->  Claim(1, same=True)
                   "region_0 is not lower"           ->  Claim(0, same=False)
    ```
    """
    pattern = _words(relation)
    for clause in _CLAUSE.split(_QUESTION.sub("\n", text.casefold())):
        clause = _COMPARED.sub(" ", clause)
        word = pattern.search(clause)
        if word is None:
            continue
        region = _subject(clause, word)
        if region is not None:
            denied = _DENIED.search(clause, 0, word.start()) is not None
            yield Claim(region, (word["same"] is not None) != denied)


@lru_cache(maxsize=64)
def _words(relation: Relation) -> re.Pattern[str]:
    return re.compile(rf"\b(?:(?P<same>{relation.same})|(?P<opposite>{relation.opposite}))\b")


def _subject(clause: str, word: re.Match[str]) -> int | None:
    """The region that a relation is said of: the last one before its word, else the one that `is` it."""
    before = list(_REGION.finditer(clause, 0, word.start()))
    if before:
        return int(before[-1][1])
    inverted = _INVERTED.search(clause, word.end())
    return None if inverted is None else int(inverted[1])
