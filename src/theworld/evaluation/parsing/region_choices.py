"""Claims of a reply about two regions, and the choice between them: the higher, the wider, the nearer one."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from theworld.evaluation.parsing.text import after_answer, after_therefore, plain

_FAR = r"more distant|(?:further|farther|deeper)(?!\s+(?:to the (?:left|right)|up|down|left|right|forward|ahead))"
_LARGE = r"big|bigger|biggest|large|larger|largest|greater|more (?:space|room|area)"
_SMALL = r"small|smaller|smallest|tinier|less (?:space|room|area)|lesser"

_AXES = {
    ("above", "below"): (
        r"above|over|on top|atop|higher|upper|highest|top",
        r"below|under|underneath|beneath|lower|lowest|bottom",
    ),
    ("left", "right"): (r"left|leftmost|leftward", r"right|rightmost|rightward"),
    ("big", "small"): (_LARGE, _SMALL),
    ("tall", "short"): (r"taller|tallest|higher", r"shorter|shortest|lower|not as tall|less tall"),
    ("wide", "thin"): (
        r"wider|widest|broader|thicker",
        r"thinner|thinnest|narrower|narrowest|slimmer|not as wide|less wide",
    ),
    ("behind", "front"): (
        rf"behind|at the back|{_FAR}",
        r"in front|ahead|before|closer|nearer|closest|nearest|less distant|not as (?:far|distant)",
    ),
}
"""Words for both ends of an axis, from SpatialRGPT-Bench and from the replies of models to it."""

_MEASURES = {("tall", "short"): "height", ("wide", "thin"): "width", ("big", "small"): "size"}
_OF_A_MEASURE = (
    r"greater|larger|bigger|more|higher|longer|exceed\w*|surpass\w*",
    r"lesser|less|smaller|lower|shorter|falls? short",
)
"""Words with the same meaning if their clause names the measure: a *greater* height."""


class Relation(NamedTuple):
    """One end of an axis, which a question asks about; patterns of words."""

    same: str
    """Words of this end."""
    opposite: str
    """Words of the other end."""
    measure: str | None = None
    """The quantity that both ends compare, such as height."""
    same_measure: str = ""
    """Words for more or less of the measure, as for this end."""
    opposite_measure: str = ""


RELATIONS = {
    name: Relation(words[end], words[1 - end], _MEASURES.get(names), _OF_A_MEASURE[end], _OF_A_MEASURE[1 - end])
    for names, words in _AXES.items()
    for end, name in enumerate(names)
}
"""above, below, left, right, big, small, tall, short, wide, thin, behind, front."""


class Claim(NamedTuple):
    """Claim of one clause: the relation holds for this region, or with `same` false for the other region."""

    region: int
    same: bool


_CLAUSE = re.compile(r"(?<!\d)[.!](?=\s|$)|\n|;|\b(?:while|whereas|but|because|since)\b|,\s*(?=region_\d+ )")
_SENTENCE_END = re.compile(r"(?<=[.!?\n])")
_REGION = re.compile(r"\bregion_(\d+)\b")
_COMPARED = re.compile(
    r"\b(?:as\s+)?(?:compared|relative|in comparison|in relation|than|in contrast)\s*(?:to|with)?\s+"
    r"(?:(?!region_)\S+\s+){0,6}?\(?region_\d+ ?\)?"
)
_INVERTED = re.compile(r"\b(?:is|are|would be|appears to be|:)\s*(?:the\s+)?(?:\S+\s+){0,4}?\(?region_(\d+)\b")
_DENIED = re.compile(r"(?:\bnot\b|n't\b|\bnever\b|\bneither\b|\bnor\b|\bcannot\b)")


def claims(text: str, relation: Relation) -> Iterator[Claim]:
    """Yield the claims of a plain text about a relation, in order; questions make no claims.

    ```
    asked: below   "region_0 is above region_1"      ->  Claim(0, same=False)
                   "positioned lower is region_1"    ->  Claim(1, same=True)
                   "region_0 is not lower"           ->  Claim(0, same=False)
    ```
    """
    text = text.casefold()
    if "?" in text:
        text = "".join(part for part in _SENTENCE_END.split(text) if not part.endswith("?"))
    for clause in _CLAUSE.split(text):
        clause = _COMPARED.sub(" ", clause)
        measured = relation.measure is not None and relation.measure in clause
        word = _words(relation, measured).search(clause)
        if word is None:
            continue
        region = _subject(clause, word)
        if region is not None:
            denied = _DENIED.search(clause, 0, word.start()) is not None
            yield Claim(region, (word["same"] is not None) != denied)


@lru_cache(maxsize=64)
def _words(relation: Relation, measured: bool) -> re.Pattern[str]:
    same, opposite = relation.same, relation.opposite
    if measured:
        same, opposite = f"{same}|{relation.same_measure}", f"{opposite}|{relation.opposite_measure}"
    return re.compile(rf"\b(?:(?P<same>{same})|(?P<opposite>{opposite}))\b")


def _subject(clause: str, word: re.Match[str]) -> int | None:
    """Return the subject of a relation: the last region before its word, else the one after `is`."""
    before = list(_REGION.finditer(clause, 0, word.start()))
    if before:
        return _number(before[-1][1])
    inverted = _INVERTED.search(clause, word.end())
    return None if inverted is None else _number(inverted[1])


_NAMED = re.compile(r"\bregion_(\d+)\b")
_ALONE = re.compile(r"\W*region_(\d+)\b[^\w\n]*(?:\n|$)")
"""A region alone on its line."""
_DIGIT = re.compile(r"\W*([01])\W*\Z")
_LISTED = re.compile(r"^[ \t]*[-•]?[ \t]*region_\d+ *(?:\([^()\n]*\))?[.,]?[ \t]*$", re.MULTILINE)
_DESCRIBED = re.compile(r"^[ \t]*[-•]?[ \t]*region_\d+ *:.*$", re.MULTILINE)


def chosen_region(text: str, relation: Relation) -> int | None:
    """Return the region that a reply chooses; None if it chooses none, or both.

    The text after `answer:` counts first, then the text after `therefore`, then the whole reply. In each, the first
    claim about the relation decides (if the question is about the shorter one, "Region [1] is taller than Region [0]"
    chooses 0); without a claim, the only region with a mention. Lists and descriptions of both regions do not count.

    Args:
        text: the unchanged reply.
        relation: of the region in question to the other.
    """
    text = plain(text).casefold()
    answer = after_answer(text)
    digit = _DIGIT.match(text if answer is None else answer)
    if digit is not None:
        return int(digit[1])
    alone = None if answer is None else _ALONE.match(answer)
    if alone is not None:
        return _known(_number(alone[1]))
    for part in (answer, after_therefore(text), _without_lists(text)):
        if part is None:
            continue
        claim = next((item for item in claims(part, relation) if item.region in (0, 1)), None)
        if claim is not None:
            return claim.region if claim.same else 1 - claim.region
        named = {_number(match[1]) for match in _NAMED.finditer(part)}
        if len(named) == 1:
            return _known(named.pop())
    return None


def _number(digits: str) -> int:
    """Return the number of a region; all beyond nine digits are one, which no region has."""
    return int(digits) if len(digits) < 10 else 10**9


def _known(region: int) -> int | None:
    return region if region in (0, 1) else None


def _without_lists(text: str) -> str:
    for listing in (_LISTED, _DESCRIBED):
        if len({named[1] for match in listing.finditer(text) for named in _NAMED.finditer(match[0])}) == 2:
            text = listing.sub("", text)
    return text
