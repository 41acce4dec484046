"""Yes or no in a reply: from its words of assent and denial, else from what it claims about what was asked."""

import re

from theworld.evaluation.parsing.region_choices import Relation, claims
from theworld.evaluation.parsing.text import after_answer, after_therefore, plain

_OPTION_LINE = re.compile(r"^[ \t]*[-•]?[ \t]*(yes|no|true|false)[ \t]*\.?[ \t]*$", re.MULTILINE)
_WORD = re.compile(
    r"\b(?:(?P<yes>yes|yeah|yep)|(?P<affirms>correct|true|indeed|certainly|definitely|affirmative|absolutely)"
    r"|(?P<denies>no|nope|incorrect|false|untrue|wrong|negative)|(?P<denied>right|the case|so))\b"
)
"""`yes` affirms wherever it stands; others only where they are what is said, and `not so` only as denied."""
_NOT = re.compile(r"(?:\bnot|n't)\s+\Z")
_LEADS = re.compile(r"(?:^|[.:,;!?\n(\"]|\bis|\bit's|\bthat's|\bappears|\bseems)\s*\Z")
_ENDS = re.compile(r"\s*(?:[.,;:!)\"\n-]|\Z)|\s+(?:it|region_\d|the|this|that|they|there|because|since)\b")
_FIRST = re.compile(r"\W*")
_REACH = 20
"""Characters before a word in which it is told what the word does."""


def says_yes(text: str, relation: Relation | None = None) -> bool | None:
    """Whether a reply affirms what it was asked; None if it says neither, or both.

    In this order: the word of assent or denial that follows `answer:`, or begins the reply; words of either kind behind
    `answer:`, behind `therefore`, anywhere; in each of these, without such words, what is claimed about the relation.
    Asked whether region 0 is above region 1, "Actually, Region [0] is below Region [1]" denies it, and so does "Region
    [1] is above Region [0]".

    Args:
        text: the reply as the model wrote it.
        relation: what was asked of region 0; None: words alone count.
    """
    text = _without_option_lines(plain(text).casefold())
    answer = after_answer(text)
    if answer is not None and _first_word(answer) is not None:
        return _first_word(answer) == "yes"
    if _first_word(text) is not None:
        openings = {_first_word(line) for line in text.splitlines()} - {None}
        return openings == {"yes"} if len(openings) == 1 else None
    for part in (answer, after_therefore(text), text):
        if part is None:
            continue
        said = {_says(part, found) for found in _WORD.finditer(part)} - {None}
        if said:
            return said == {"yes"} if len(said) == 1 else None
        if relation is not None:
            claim = next((one for one in claims(part, relation) if one.region in (0, 1)), None)
            if claim is not None:
                return claim.same == (claim.region == 0)
    return None


def _first_word(part: str) -> str | None:
    """`yes` or `no` if such a word is the first of a text."""
    found = _FIRST.match(part)
    word = None if found is None else _WORD.match(part, found.end())
    return None if word is None else _says(part, word)


def _says(part: str, word: re.Match[str]) -> str | None:
    """Whether a word stands there for `yes`, for `no`, or for neither."""
    if word.lastgroup == "yes":
        return "yes"
    before = part[max(0, word.start() - _REACH) : word.start()]
    if word.lastgroup in ("affirms", "denied") and _NOT.search(before):
        return "no"
    if word.lastgroup == "denied" or not _LEADS.search(before):
        return None
    if word[0] != "indeed" and not _ENDS.match(part, word.end()):
        return None
    return "yes" if word.lastgroup == "affirms" else "no"


def _without_option_lines(text: str) -> str:
    """Less the lines that only repeat what can be answered: "Yes", "No", and then the answer."""
    if len({found[1] for found in _OPTION_LINE.finditer(text)}) < 2:
        return text
    return _OPTION_LINE.sub("", text)
