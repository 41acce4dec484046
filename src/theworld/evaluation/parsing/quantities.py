"""Lengths in a reply, in metres, and clock directions: units, ranges, fractions, separators, feet and inches."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from theworld.evaluation.parsing.text import after_answer, after_therefore, plain, without_options

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048, "yd": 0.9144}
"""Metres per unit. Inch, foot and centimetre are as in the judge prompt of SpatialRGPT-Bench (arXiv 2406.01584)."""

_UNITS = {
    "mm": r"mm\b|millimet(?:er|re)s?\b",
    "cm": r"cms?\b|centimet(?:er|re)s?\b",
    "km": r"kms?\b|kilomet(?:er|re)s?\b",
    "m": r"m\b|met(?:er|re)s?\b",
    "ft": r"ft\b|feet\b|foot\b|'(?!')",
    # "in" is a unit only before words that could follow "inches"
    "in": r"inch(?:es)?\b|''|\"|in\b(?=\.?\s*(?:$|[),;:]|\.\s|(?:wide|tall|high|long|deep|apart|away|from|across)\b))",
    "yd": r"yds?\b|yards?\b",
}
_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
_WORDS = {
    **{word: float(value) for value, word in enumerate(_TO_TWENTY.split(" "))},
    **{"thirty": 30.0, "forty": 40.0, "fifty": 50.0, "hundred": 100.0, "half": 0.5, "quarter": 0.25},
}

_BEFORE_ARTICLE = ("about", "roughly", "around", "nearly", "approximately")
"""Words after which "a meter" is a length."""

_NUMBER = (
    r"(?<![\w.,/])(?:(?P<mixed>\d+)[\s-]+)?(?P<above>\d+)/(?P<below>\d+)"
    r"|(?<![\w.,/])(?P<thousands>\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![\d,])"
    r"|(?<![\w.,/])(?P<decimal>\d+\.\d+|\d+(?:,\d{1,2})?|\.\d+)(?![\d/])"
    rf"|\b(?:an?\s+)?(?P<word>{'|'.join(_WORDS)})\b(?P<and_a>\s+and\s+an?\s+(?:half|quarter)\b)?"
    + "".join(rf"|(?<=\b{word} )an?\b" for word in _BEFORE_ARTICLE)
)
_UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER})|(?<![a-z])(?:{_UNIT})(?!\s*(?:\^|²|³|/\s*s|per\b|squared\b))"
    r"|(?P<join>\bto\b|\bor\b|\band\b|[-–—~])|(?P<times>[x×])(?![a-z])|(?P<glue>\s+|\bof\b|\ban?\b|(?<=[a-z])[.,](?=\s*\d+(?:\.\d+)?\s*(?:in\b|inch|cm\b|\")))"
)
_DIGIT = re.compile(r"\.\d|\d")
_START = re.compile(rf"\.?\d|\b(?:{'|'.join(_WORDS)})\b|\b(?:{'|'.join(_BEFORE_ARTICLE)}) (?=an?\b)")
"""Start of a number; the search for tokens begins there."""
_AND_A_HALF = re.compile(r"\b(an?|one|\d+)\s+(m|met(?:er|re)s?|foot|feet|ft|inch(?:es)?|yards?)\s+and\s+a\s+half\b")
_LETTERS = re.compile(r"[a-z]+")


class _Token(NamedTuple):
    kind: str
    """number, unit, join (`to`, `and`, a hyphen) or times."""
    value: float | str


def lengths(text: str) -> Iterator[float]:
    """Yield every length in a plain lower-case text, in metres and in order; for a range, its middle.

    ```
    "5-6 feet (1.5 to 1.8 m)"  ->  1.6764, 1.65        "5'10\\""  ->  1.778        "2 x 3 m", "300 pixels"  ->  none
    ```
    """
    if "half" in text:
        text = _AND_A_HALF.sub(lambda match: f"{match[1] if match[1].isdigit() else 1}.5 {match[2]}", text)
    spelled = not _WORDS.keys().isdisjoint(_LETTERS.findall(text)) or any(
        f"{word} a" in text for word in _BEFORE_ARTICLE
    )
    beginning, place = _START if spelled else _DIGIT, 0  # a search for digits alone is several times faster
    while (start := beginning.search(text, place)) is not None:
        tokens, place = _run(text, start.end() if start[0].endswith(" ") else start.start())
        at = 0
        while at < len(tokens):
            length, at = _length(tokens, at)
            if length is not None:
                yield length
        place = max(place, start.end())


def _length(tokens: Sequence[_Token], at: int) -> tuple[float | None, int]:
    """Return the length that begins at a token, and the index after it."""
    first, after = _amount(tokens, at)
    if first is None:
        return None, at + 1
    number, unit = first
    if _kind(tokens, after) == "times":  # "2 x 3 m" is not a single length
        rest, after_rest = _amount(tokens, after + 1)
        return None, after + 1 if rest is None else after_rest
    if _kind(tokens, after) == "join":
        second, after_second = _amount(tokens, after + 1)
        if second is not None and second[1] is not None and (unit is None or tokens[after].value != "and"):
            low = number * METRES[unit or second[1]]
            high = second[0] * METRES[second[1]]
            return _checked((low + high) / 2), after_second
    if unit is None:
        return None, after
    return _checked(number * METRES[unit]), after


def _amount(tokens: Sequence[_Token], at: int) -> tuple[tuple[float, str | None] | None, int]:
    """Return the number and the unit (or None) at an index, and the index after; inches are added to feet."""
    if _kind(tokens, at) != "number":
        return None, at
    number = float(tokens[at].value)
    hyphen = _kind(tokens, at + 1) == "join" and tokens[at + 1].value == "-" and _kind(tokens, at + 2) == "unit"
    place = at + 2 if hyphen else at + 1
    if _kind(tokens, place) != "unit":
        return (number, None), at + 1
    unit, after = str(tokens[place].value), place + 1
    smaller = {"ft": "in", "m": "cm"}.get(unit)
    rest = after + 1 if _kind(tokens, after) == "join" and tokens[after].value == "and" else after
    if _kind(tokens, rest) == "number" and _kind(tokens, rest + 1) == "unit" and tokens[rest + 1].value == smaller:
        number += float(tokens[rest].value) * METRES[str(smaller)] / METRES[unit]
        after = rest + 2
    return (number, unit), after


def _checked(metres: float) -> float | None:
    return metres if math.isfinite(metres) and metres > 0 else None


def _kind(tokens: Sequence[_Token], at: int) -> str | None:
    return tokens[at].kind if at < len(tokens) else None


def _run(text: str, start: int) -> tuple[list[_Token], int]:
    """Return the run of numbers, units and joining words from a position on, and the position after it."""
    tokens: list[_Token] = []
    end = start
    while (match := _TOKEN.match(text, end)) is not None:
        end, kind = match.end(), match.lastgroup or ""
        if kind == "number":
            value = _number(match)
            if value is None:
                break
            tokens.append(_Token(kind, value))
        elif kind == "join":
            tokens.append(_Token(kind, match[0] if match[0] in ("and", "-") else "to"))
        elif kind == "times":
            tokens.append(_Token(kind, ""))
        elif kind in METRES:
            tokens.append(_Token("unit", kind))
    return tokens, end


def _number(match: re.Match[str]) -> float | None:
    if match["below"] is not None:
        below = float(match["below"])
        return None if below == 0 else float(match["mixed"] or 0) + float(match["above"]) / below
    if match["thousands"] is not None:
        return float(match["thousands"].replace(",", ""))
    if match["decimal"] is not None:
        return float(match["decimal"].replace(",", "."))
    if match["word"] is not None:
        rest = match["and_a"] or ""
        return _WORDS[match["word"]] + (0.5 if "half" in rest else 0.25 if "quarter" in rest else 0.0)
    return 1.0


def named_length(text: str, dimension: str | None = None) -> float | None:
    """Return the length that a reply names, in metres; None if it names none.

    In this order: the first after `answer:`; the first after `therefore`; the first in a line with the label of the
    dimension, `Width: 40 cm`; the first at all. Lists of options, `A) 10 cm`, are ignored. A reply that is cut off
    after its `therefore` names no length: the lengths before it are steps, not the answer.

    Args:
        text: the unchanged reply.
        dimension: lower-case pattern of the dimension's label, such as `width`.
    """
    text = without_options(plain(text).casefold())
    therefore = after_therefore(text)
    for part in (after_answer(text), therefore):
        length = None if part is None else next(lengths(part), None)
        if length is not None:
            return length
    if therefore is not None and not therefore.rstrip().endswith((".", "!", "?", ")", '"')):
        return None
    labelled = None
    if dimension is not None:
        labelled = re.search(rf"^[^\w\n]*(?:{dimension})[^:\n]*:(.*)$", text, re.MULTILINE)
    length = None if labelled is None else next(lengths(labelled[1]), None)
    return next(lengths(text), None) if length is None else length


DEGREES_PER_HOUR = 30.0

_HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_HOUR = rf"(?:\d{{1,2}}(?::[0-5]\d)?|{'|'.join(_HOURS)})"
_DIRECTION = re.compile(
    rf"(?<![\w.,:/])(?:(?P<low>{_HOUR})(?:\s*o'?\s?clock)?\s*(?:-|–|—|\bto\b|\bor\b|\band\b)\s*)?(?P<hour>{_HOUR})"
    r"\s*-?\s*(?:'?o'?\s?clock\b|(?<=:\d\d)\s*(?:direction|position)\b)",
    re.IGNORECASE,
)
_HOUR_ALONE = re.compile(r"\W*(\d{1,2})(?::00)?\W*\Z")


def clock_hour(text: str) -> float | None:
    """Return the clock hour that a reply names, in [1, 13); None if it names none.

    The first after `answer:`, else after `therefore`, else at all; for a range its middle ("2 to 3 o'clock" is 2.5). A
    reply that is only a number from 1 to 12 is that hour. Words such as "to the right" name no hour: they may refer to
    the picture or to the ground.
    """
    text = plain(text)
    alone = _HOUR_ALONE.match(after_answer(text) or text)
    if alone is not None:
        return _hour(alone[1])
    for part in (after_answer(text), after_therefore(text), text):
        for match in _DIRECTION.finditer(part or ""):
            high, low = _hour(match["hour"]), _hour(match["low"])
            if high is None:
                continue
            if low is None:
                return high
            return (low + ((high - low) % 12) / 2 - 1) % 12 + 1
    return None


def clock_error(first: float, second: float) -> float:
    """Compute the smaller difference of two directions in hours: 11 and 1 differ by two hours."""
    apart = abs(first - second) % 12
    return min(apart, 12 - apart)


def _hour(word: str | None) -> float | None:
    if word is None:
        return None
    if word.casefold() in _HOURS:
        return _HOURS.index(word.casefold()) + 1.0
    hours, _, minutes = word.partition(":")
    hour = float(hours) + float(minutes or 0) / 60
    return hour if 1 <= hour < 13 else None
