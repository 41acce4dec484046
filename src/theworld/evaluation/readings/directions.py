"""Clock directions in a reply, and how far apart two of them are."""

import re

from theworld.evaluation.readings.plain import after_answer, after_therefore, plain

DEGREES_PER_HOUR = 30.0

_HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_HOUR = rf"(?:\d{{1,2}}(?::[0-5]\d)?|{'|'.join(_HOURS)})"
_DIRECTION = re.compile(
    rf"(?<![\w.,:/])(?:(?P<low>{_HOUR})(?:\s*o'?\s?clock)?\s*(?:-|–|—|\bto\b|\bor\b|\band\b)\s*)?(?P<hour>{_HOUR})"
    r"\s*-?\s*(?:o'?\s?clock\b|(?<=:\d\d)\s*(?:direction|position)\b)",
    re.IGNORECASE,
)
_HOUR_ALONE = re.compile(r"\W*(\d{1,2})\W*\Z")


def clock_hour(text: str) -> float | None:
    """The hour of the clock that a reply points to, in [1, 13); None if it names none.

    The first behind `answer:`, else behind `therefore`, else at all; between two hours the middle ("2 to 3 o'clock" is
    2.5). A reply that is nothing but a number from 1 to 12 is that hour. Words such as "to the right" name no hour:
    they may be meant in the picture or on the ground.
    """
    text = plain(text)
    alone = _HOUR_ALONE.match(text)
    if alone is not None:
        return _hour(alone[1])
    for part in (after_answer(text), after_therefore(text), text):
        for found in _DIRECTION.finditer(part or ""):
            high, low = _hour(found["hour"]), _hour(found["low"])
            if high is None:
                continue
            if low is None:
                return high
            return (low + ((high - low) % 12) / 2 - 1) % 12 + 1
    return None


def clock_error(first: float, second: float) -> float:
    """Hours between two directions, the shorter way round: 11 and 1 are two hours apart."""
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
