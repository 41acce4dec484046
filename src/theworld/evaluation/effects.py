"""Effects of replaced parts, in plain words: the parts of a model's input that its answers depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

from theworld.evaluation.statistics import Interval

Size: TypeAlias = Literal["matters", "matters little", "does not matter", "misleads", "undecided"]

RELEVANT_DROP: Final = 0.05
"""Smallest drop that counts, as a share: published gains are of this size or smaller (VEGA-3D, arXiv 2603.19235: 1.6
points on VSI-Bench, 4.5 on ScanRefer)."""

THRESHOLDS: Final[Mapping[Size, str]] = {
    "matters": "the whole 95 % interval of the drop is above 0, and its upper end is at least 5 points",
    "matters little": "the whole interval is between 0 and 5 points",
    "does not matter": "the interval includes 0, and its upper end is below 5 points",
    "misleads": "the whole interval is below 0: answers are better without this part",
    "undecided": "everything else: ask more items",
}
"""Rule of each size. The intervals are those of single conditions, without a correction: only `shuffle` and `mean`
decide, after Holm's."""


@runtime_checkable
class Cost(Protocol):
    """The members of a drop that its size depends on."""

    @property
    def condition(self) -> str: ...

    @property
    def drop(self) -> float: ...

    @property
    def interval(self) -> Interval: ...


@dataclass(frozen=True)
class Effect:
    """Effect of one part of the input on the answers."""

    condition: str
    """The condition that replaces the part."""
    part: str
    """The part, in words."""
    size: Size
    """See `THRESHOLDS`."""


_PARTS: Final[Mapping[str, str]] = {
    "shuffle": "the world",
    "partner-future": "the imagined future",
    "first-repeat": "a future other than the present",
    "partner-present": "the present among the world's slots",
    "blank-picture": "Gemma's picture",
}


def size_of(interval: Interval) -> Size:
    """Return the size of a drop with this interval; see `THRESHOLDS`."""
    if interval.high < 0:
        return "misleads"
    is_small = interval.high < RELEVANT_DROP
    if interval.low > 0:
        return "matters little" if is_small else "matters"
    return "does not matter" if is_small else "undecided"


def effects_of(drops: Sequence[Cost], unreplaced: Sequence[str] = ()) -> list[Effect]:
    """Return the effect of each part that a condition replaced, in the order of the sentence.

    Args:
        drops: of all conditions.
        unreplaced: conditions that changed the input of no item, and so show nothing.
    """
    by_name = {drop.condition: drop for drop in drops if drop.condition not in unreplaced}
    return [Effect(name, part, size_of(by_name[name].interval)) for name, part in _PARTS.items() if name in by_name]


def in_words(effects: Sequence[Effect], drops: Sequence[Cost]) -> str:
    """Write one sentence: the part that answers follow, parts that count beside it, and the worth of a true future."""
    sizes: dict[str, Size] = {effect.condition: effect.size for effect in effects}
    costs = {drop.condition: drop for drop in drops}
    clauses = [_followed(sizes, costs)]
    for effect in effects:
        if effect.condition in ("partner-present", "blank-picture"):
            clauses.append(_clause(effect, costs[effect.condition]))
    if "oracle" in costs:
        clauses.append(_worth(costs["oracle"]))
    text = "; ".join(clause for clause in clauses if clause)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _followed(sizes: Mapping[str, Size], costs: Mapping[str, Cost]) -> str:
    """Name the part that the answers follow: the imagined future, or the world as a whole."""
    future = sizes.get("partner-future")
    if future is None:
        whole = sizes.get("shuffle")
        if whole is None:
            return ""
        cost = f"a partner's costs {_points(costs['shuffle'])}"
        verb = {"matters": "follow", "matters little": "depend little on", "does not matter": "do not depend on"}
        return f"answers {verb[whole]} the world ({cost})" if whole in verb else _open("the world", whole, cost)
    cost = f"a partner's costs {_points(costs['partner-future'])}"
    if future in ("undecided", "misleads"):
        return _open("the imagined future", future, cost)
    if future == "does not matter":
        return f"answers do not depend on the imagined future ({cost})"
    repeat = sizes.get("first-repeat")
    if repeat is None:
        return f"answers follow the imagined future ({cost})"
    beside = f"the present in its place costs {_points(costs['first-repeat'])}"
    if repeat in ("matters", "matters little"):
        return f"answers follow the imagined future ({cost}, {beside})"
    return f"a wrong future misleads the answers ({cost}), but an imagined one is not shown to help ({beside})"


def _open(part: str, size: Size, cost: str) -> str:
    end = "misleads the answers" if size == "misleads" else "is read at all is undecided"
    return f"{part} {end} ({cost})" if size == "misleads" else f"whether {part} {end} ({cost})"


def _clause(effect: Effect, cost: Cost) -> str:
    ends: dict[Size, str] = {
        "matters": "matters",
        "matters little": "matters little",
        "does not matter": "does not matter",
        "misleads": "misleads",
    }
    end = ends.get(effect.size)
    if end is None:
        return f"whether {effect.part} matters is undecided ({_points(cost)})"
    return f"{effect.part} {end} ({_points(cost)})"


def _worth(cost: Cost) -> str:
    low, high = -cost.interval.high, -cost.interval.low
    text = f"{100 * -cost.drop:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    if low > 0:
        return f"a true future would add {text}"
    return f"a true future is not shown to help ({text})" if high >= 0 else f"a true future harms ({text})"


def _points(cost: Cost) -> str:
    return f"{100 * cost.drop:.1f} points [{100 * cost.interval.low:.1f}, {100 * cost.interval.high:.1f}]"
