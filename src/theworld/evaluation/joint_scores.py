"""Scores of rows that belong together: pairs, groups of one weight, and several replies to one item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from theworld.evaluation.statistics import Interval, bootstrap_mean

Value = TypeVar("Value")


@dataclass(frozen=True)
class PairAccuracy:
    """Share of pairs of which both rows are right: a reply that ignores the difference within a pair gets 0."""

    num_pairs: int
    """Pairs of two rows with a reply each."""
    num_right: int
    num_incomplete: int
    """Groups of one row or of more than two, and pairs with a missing reply: they are not counted."""
    value: float | None
    """None without a pair."""
    bootstrap: Interval | None
    """95 %, over pairs or their clusters."""


@dataclass(frozen=True)
class Consistency:
    """Right replies to items that were asked several times, with other seeds or orders of options."""

    num_items: int
    """Items with a reply to each sample."""
    num_incomplete: int
    """Items with a missing reply, or with another number of samples than most: they are not counted."""
    num_samples: int
    """k, the replies to each item."""
    always: float
    """Share of items that are right in all k replies; with all rotations of the options, the circular accuracy."""
    ever: float
    """Share of items that are right in at least one of k replies."""
    expected: float
    """Expected accuracy of one reply, the mean over items and replies."""
    always_bootstrap: Interval
    """95 %, over items or their clusters."""


def pair_accuracy(
    pairs: Sequence[str], values: Sequence[int | None], clusters: Sequence[str] | None = None
) -> PairAccuracy:
    """Score pairs.

    Args:
        pairs: name of each row's pair.
        values: 1 for right, 0 for not, None for missing.
        clusters: of each row, such as its scene; pairs of a cluster are resampled together.

    Raises:
        ValueError: for other lengths.
    """
    whole = [group for group in _grouped(pairs, values, clusters) if len(group) == 2 and _is_whole(group)]
    num_groups = len(set(pairs))
    both = [int(all(value for value, _ in group)) for group in whole]
    return PairAccuracy(
        num_pairs=len(whole),
        num_right=sum(both),
        num_incomplete=num_groups - len(whole),
        value=sum(both) / len(both) if both else None,
        bootstrap=bootstrap_mean(both, [group[0][1] for group in whole]) if both else None,
    )


def relative_accuracy(
    pairs: Sequence[str],
    values: Sequence[float | None],
    is_possible: Sequence[bool],
    clusters: Sequence[str] | None = None,
) -> PairAccuracy:
    """Score pairs of a possible and an impossible video by a number of each, such as the log-odds of possible.

    A pair is right if the possible video has the larger number; a tie is wrong. For surprise, give its negative.

    Args:
        pairs: name of each row's pair.
        values: larger for more possible; None for missing.
        is_possible: of each row.
        clusters: as in `pair_accuracy`.

    Raises:
        ValueError: for other lengths.
    """
    rows = [None if value is None else (value, possible) for value, possible in zip(values, is_possible, strict=True)]
    right: list[int] = []
    labels: list[str] = []
    groups = _grouped(pairs, rows, clusters)
    for group in groups:
        members = [member for member, _ in group if member is not None]
        if len(group) != 2 or len(members) != 2 or members[0][1] == members[1][1]:
            continue
        possible, impossible = sorted(members, key=lambda member: not member[1])
        right.append(int(possible[0] > impossible[0]))
        labels.append(group[0][1])
    return PairAccuracy(
        num_pairs=len(right),
        num_right=sum(right),
        num_incomplete=len(groups) - len(right),
        value=sum(right) / len(right) if right else None,
        bootstrap=bootstrap_mean(right, labels) if right else None,
    )


def consistency(
    items: Sequence[str], values: Sequence[int | None], clusters: Sequence[str] | None = None
) -> Consistency | None:
    """Score items that have several replies each; None if no item has several.

    Args:
        items: name of each row's item.
        values: 1 for right, 0 for not, None for missing.
        clusters: of each row, such as its video; items of a cluster are resampled together.

    Raises:
        ValueError: for other lengths.
    """
    groups = _grouped(items, values, clusters)
    sizes = [len(group) for group in groups]
    num_samples = max(sizes, key=lambda size: (sizes.count(size), size), default=0)
    whole = [group for group in groups if len(group) == num_samples and _is_whole(group)]
    if num_samples < 2 or not whole:
        return None
    right = [[value or 0 for value, _ in group] for group in whole]
    always = [int(all(replies)) for replies in right]
    return Consistency(
        num_items=len(whole),
        num_incomplete=len(groups) - len(whole),
        num_samples=num_samples,
        always=sum(always) / len(whole),
        ever=sum(map(any, right)) / len(whole),
        expected=sum(map(sum, right)) / (len(whole) * num_samples),
        always_bootstrap=bootstrap_mean(always, [group[0][1] for group in whole]),
    )


def group_mean(shares: Mapping[str, float | None]) -> float | None:
    """Return the plain mean of the shares of groups, each of the same weight; None if a group has no share."""
    values = [share for share in shares.values() if share is not None]
    return sum(values) / len(values) if values and len(values) == len(shares) else None


def _grouped(
    names: Sequence[str], values: Sequence[Value], clusters: Sequence[str] | None
) -> list[list[tuple[Value, str]]]:
    """Return the rows of each name with their clusters; without clusters, each name is one."""
    labels = names if clusters is None else clusters
    groups: dict[str, list[tuple[Value, str]]] = {}
    for name, value, label in zip(names, values, labels, strict=True):
        groups.setdefault(name, []).append((value, label))
    return list(groups.values())


def _is_whole(group: Sequence[tuple[Any, str]]) -> bool:
    return all(value is not None for value, _ in group)
