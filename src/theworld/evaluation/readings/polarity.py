"""Yes or no in a reply: from its words of assent and denial, else from what it claims about what was asked."""

import re

from theworld.evaluation.readings.plain import after_answer, after_therefore, plain
from theworld.evaluation.readings.relations import Relation, claims

_OPTION_LINE = re.compile(r"^[ \t]*[-•]?[ \t]*(yes|no|true|false)[ \t]*\.?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_LEADS = r"(?:^|[.:,;!?\n(\"]|\banswer\s+is|\bis|\bit's|\bstatement\s+is|\bthat's)\s*"
_ENDS = r"(?=\s*(?:[.,;:!)\"\n-]|$)|\s+(?:it|region_\d|the|this|that|they|there|because|since)\b)"
_WORD = re.compile(
    r"(?P<no>"
    r"(?:\bnot|n't)\s+(?:true|correct|right|the case|so)\b"
    rf"|{_LEADS}(?:no|nope|incorrect|false|untrue|wrong|negative){_ENDS})"
    r"|(?P<yes>\byes\b|\byeah\b|\byep\b"
    rf"|{_LEADS}(?:correct|true|indeed|certainly|definitely|affirmative|absolutely){_ENDS}"
    r"|\b(?:is|are|appears?|seems?)\s+(?:to be\s+)?indeed\b)",
    re.IGNORECASE,
)


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
    text = _without_option_lines(plain(text))
    answer = after_answer(text)
    if answer is not None and _first_word(answer) is not None:
        return _first_word(answer) == "yes"
    openings = {_first_word(line) for line in text.splitlines()} - {None}
    if _first_word(text) is not None:
        return openings == {"yes"} if len(openings) == 1 else None
    for part in (answer, after_therefore(text), text):
        if part is None:
            continue
        said = {found.lastgroup for found in _WORD.finditer(part)}
        if said:
            return said == {"yes"} if len(said) == 1 else None
        if relation is not None:
            claim = next((one for one in claims(part, relation) if one.region in (0, 1)), None)
            if claim is not None:
                return claim.same == (claim.region == 0)
    return None


def _first_word(part: str) -> str | None:
    """`yes` or `no` if such a word is the first of a text."""
    found = _WORD.search(part)
    return None if found is None or re.search(r"\w", part[: found.start()]) else found.lastgroup


def _without_option_lines(text: str) -> str:
    """Less the lines that only repeat what can be answered: "Yes", "No", and then the answer."""
    if len({found[1].casefold() for found in _OPTION_LINE.finditer(text)}) < 2:
        return text
    return _OPTION_LINE.sub("", text)
