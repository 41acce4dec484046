"""Numbers as text: shares, points, intervals, probabilities and durations, the same on every page."""

from theworld.evaluation.statistics import Interval

ABSENT = "–"
"""What stands where there is nothing to say."""


def percent(share: float) -> str:
    """A share in percent, one decimal, without the sign."""
    return f"{100 * share:.1f}"


def percent_range(interval: Interval) -> str:
    """An interval of shares in percent."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return _signed(100 * difference)


def points_range(interval: Interval) -> str:
    """An interval of differences in percentage points."""
    return f"[{points(interval.low)}, {points(interval.high)}]"


def probability(p_value: float) -> str:
    """A p-value to two digits."""
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.2g}"


def equation(p_value: float) -> str:
    """A p-value inside a sentence: `p = 0.03`."""
    text = probability(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(names: list[str]) -> str:
    """Names as part of a sentence: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return text[1:] if text in ("+0.0", "-0.0") else text.replace("-", "−")
