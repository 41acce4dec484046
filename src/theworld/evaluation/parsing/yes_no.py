"""Yes or no in a reply: from its words of assent and denial, else from its claims about a relation."""

import re

from theworld.evaluation.parsing.region_choices import Relation, claims
from theworld.evaluation.parsing.text import after_answer, after_therefore, plain

_OPTION_LINE = re.compile(r"^[ \t]*[-•]?[ \t]*(yes|no|true|false)[ \t]*\.?[ \t]*$", re.MULTILINE)
_WORD = re.compile(
    r"\b(?:(?P<yes>yes|yeah|yep)|(?P<affirms>correct|true|accurate|indeed|certainly|definitely|affirmative|absolutely)"
    r"|(?P<denies>no|nope|incorrect|inaccurate|false|untrue|wrong|negative)|(?P<denied>right|the case|so))\b"
)
"""`yes` always affirms; other words only as the statement itself, and `right`, `so` only after `not`."""
_NOT = re.compile(r"(?:\bnot|n't)\s+\Z")
_LEADS = re.compile(
    r"(?:^|[.:,;!?\n(\"\[{]|^\(?[a-f][).]|\bis|\bit's|\bthat's|\bappears|\bseems|\bso|\btherefore|\bthus|\bhence|\bthink|\bsay|\bbe)\s*\Z"
)
_ENDS = re.compile(
    r"\s*(?:[.,;:!)\"\n}\]-]|\Z)|\s+(?:true|false|correct|incorrect|statement|it|region_\d|the|this|that|they|there|because|since)\b"
)
_ECHO = re.compile(r"\b(?:yes|no|true|false)\s*(?:/|\bor\b|\band\b)\s*(?:yes|no|true|false)\b")
"""Both answers in one breath: an echo of the question, or no decision."""
_AFFIRMED = re.compile(r"\b(?:that|this|you)(?:'s| is|'re| are)\s+(?:right|the case|so)\s*(?:[.!,\n]|\Z)")
_ELLIPTICAL = re.compile(
    r"(?:\A|[.,\n])\W*(?:it|they|this|that|he|she|region_0)\s*(?:'s|'re|is|are|does|do|was|were|has|have|did)"
    r"(?P<denied>\s+not|n't)?\s*(?:[.!,\n]|\Z)"
)
"""Replies such as `It is.` and `They are not.`"""
_NOT_AT_ALL = re.compile(
    r"\W*not\b(?!\s+(?:sure|clear|certain|possible|enough|applicable|visible|able|necessarily|only|just))"
)
_IT = re.compile(r"\bit(?=(?:'s)?\s)")
_PLACED = re.compile(r"\W*(?:to|on|at|in)\s+(?:the\s+)?\w+")
_FIRST = re.compile(r"\W*")
_REACH = 20
"""Length of the context before a word that decides its role, characters."""


def says_yes(text: str, relation: Relation | None = None) -> bool | None:
    """Return True if a reply affirms its question, False if it denies it, None if neither or both.

    In this order: the word of assent or denial after `answer:`, or at the start of the reply; such words after
    `answer:`, after `therefore`, anywhere; in each of these, without such words, a claim about the relation. If the
    question is whether region 0 is above region 1, "Actually, Region [0] is below Region [1]" denies it, and so does
    "Region [1] is above Region [0]".

    Args:
        text: the unchanged reply.
        relation: of region 0 in the question; None: only words of assent and denial count.
    """
    text = _ECHO.sub(" ", _without_option_lines(plain(text).casefold()))
    answer = after_answer(text)
    if answer is not None and _first_word(answer) is not None:
        return _first_word(answer) == "yes"
    if _first_word(text) is not None:
        openings = {_first_word(line) for line in text.split("\n")} - {None}
        return openings == {"yes"} if len(openings) == 1 else None
    for part in (answer, after_therefore(text), text):
        if part is None:
            continue
        words = {_says(part, match) for match in _WORD.finditer(part)} - {None}
        if words:
            return words == {"yes"} if len(words) == 1 else None
        if relation is not None:
            claim = next((item for item in claims(part, relation) if item.region in (0, 1)), None)
            if claim is not None:
                return claim.same == (claim.region == 0)
    return _says_in_short(text, relation)


def _says_in_short(text: str, relation: Relation | None) -> bool | None:
    """Read a reply that leaves words out: "It is.", "That's right.", "Not at all.", "It is below."."""
    if _AFFIRMED.search(text):
        return True
    if relation is not None and "region_" not in text:
        subject = text if _IT.search(text) else f"region_0 is {text}" if _PLACED.match(text) else ""
        claim = next(claims(_IT.sub("region_0 ", subject), relation), None)
        if claim is not None:
            return claim.same
    short = _ELLIPTICAL.search(text)
    if short is not None:
        return short["denied"] is None
    return False if _NOT_AT_ALL.match(text) else None


def _first_word(part: str) -> str | None:
    """Return `yes` or `no` if a text begins with such a word, else None."""
    start = _FIRST.match(part)
    word = None if start is None else _WORD.match(part, start.end())
    return None if word is None else _says(part, word)


def _says(part: str, word: re.Match[str]) -> str | None:
    """Return `yes` or `no`, the meaning of a word in its context, or None."""
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
    """Remove lines that only list the possible answers: "Yes", "No", and then the answer."""
    if len({match[1] for match in _OPTION_LINE.finditer(text)}) < 2:
        return text
    return _OPTION_LINE.sub("", text)
