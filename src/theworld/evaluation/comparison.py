"""Comparison of runs, side by side and pair by pair on the items that they share."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, Scorer, score
from theworld.evaluation.statistics import (
    Interval,
    bootstrap_difference,
    holm,
    mcnemar,
    smallest_detectable_difference,
)
from theworld.evaluation.summary import Accuracy, Summary, field_text, summarise
from theworld.tables import markdown_lines, markdown_text, percent, percent_range, percent_with_range

_EXAMPLES = 5

_RUN_COLUMNS = (
    "run",
    "n",
    "accuracy, %",
    "bootstrap",
    "balanced, %",
    "bootstrap",
    "majority, %",
    "guessing, %",
    "unparsed",
    "missing",
    "clips read",
)
_PAIR_COLUMNS = (
    "second - first",
    "n",
    "points",
    "95 %",
    "only second right",
    "only first right",
    "p",
    "p (Holm)",
    "could have seen",
)


@dataclass(frozen=True)
class Pair:
    """Comparison of two runs on the items that both answered; differences are second minus first, as shares."""

    first: str
    second: str
    num_shared: int
    """Items in both files."""
    num_scored: int
    """Of these, items missing in neither run: n of the values below."""
    difference: float
    interval: Interval
    num_first_only: int
    num_second_only: int
    p_value: float
    """Exact McNemar test."""
    p_holm: float
    """`p_value` after Holm's correction over all pairs of the comparison."""
    smallest_difference: float | None
    """Difference that this n detects at a power of 0.8, a level of 5 % and this share of flips; None: no difference."""
    identical: bool
    """True if all replies to the shared items are the same to the last character."""
    note: str


@dataclass(frozen=True)
class Comparison:
    """Summaries of several runs, and their pairwise comparisons."""

    summaries: dict[str, Summary]
    pairs: list[Pair]
    num_shared_by_all: int
    absent: dict[str, list[str]]
    """By run, the ids that it lacks and another run has."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compare(
    runs: Mapping[str, Sequence[Prediction]],
    *,
    baseline: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    group_by: Sequence[str] = (),
    cluster_by: str | None = None,
    scorer: Scorer = score,
) -> Comparison:
    """Summarise runs, and test their differences on the items that they share.

    Args:
        runs: name to rows.
        baseline: the run that all others are compared with; None: every pair.
        pairs: the pairs to compare, first and second; None: as `baseline` says.
        group_by: as in `summarise`.
        cluster_by: as in `summarise`, for the bootstrap (McNemar's test assumes independent items).
        scorer: scores a row.

    Raises:
        ValueError: for fewer than two runs, an unknown baseline, an id with two different items, or two runs without
            a shared item.
    """
    if len(runs) < 2 or (baseline is not None and baseline not in runs):
        raise ValueError(
            f"runs {list(runs)}, baseline {baseline!r}: expected two runs at least, the baseline among them"
        )
    items = _items(runs)
    outcomes = {name: _outcomes(rows, items, scorer) for name, rows in runs.items()}
    clusters = None if cluster_by is None else np.array([field_text(item, cluster_by) for item in items.values()])
    if pairs is None:
        pairs = [*itertools.combinations(runs, 2)] if baseline is None else [(baseline, run) for run in runs]
    tests = [_pair(a, outcomes[a], b, outcomes[b], clusters) for a, b in pairs if a != b]
    corrected = holm([test.p_value for test in tests])
    return Comparison(
        summaries={
            name: summarise(rows, group_by=group_by, cluster_by=cluster_by, scorer=outcomes[name].score)
            for name, rows in runs.items()
        },
        pairs=[replace(test, p_holm=p_holm) for test, p_holm in zip(tests, corrected, strict=True)],
        num_shared_by_all=int(np.logical_and.reduce([outcome.present for outcome in outcomes.values()]).sum()),
        absent={
            name: [sample_id for sample_id, present in zip(items, outcome.present, strict=True) if not present]
            for name, outcome in outcomes.items()
        },
    )


def to_markdown(comparison: Comparison) -> str:
    """Write warnings, then tables of the runs, their pairs, the answers given, and the groups."""
    summaries = comparison.summaries
    lines = [f"> **{pair.note}**\n" for pair in comparison.pairs if pair.note]
    lines += markdown_lines(
        _RUN_COLUMNS,
        [[name, f"{summary.num_scored:,}", *_accuracy_cells(summary)] for name, summary in summaries.items()],
    )
    lines += ["", *markdown_lines(_PAIR_COLUMNS, map(_pair_cells, comparison.pairs)), ""]
    lines.append(f"Shared by all runs: {comparison.num_shared_by_all:,} items.")
    for name, ids in comparison.absent.items():
        if ids:
            shown = ", ".join(ids[:_EXAMPLES]) + (", ..." if len(ids) > _EXAMPLES else "")
            lines.append(markdown_text(f"{name} lacks {len(ids):,} items that another run has: {shown}."))
    lines.append("")
    scored = {name: summary.accuracy for name, summary in summaries.items() if summary.accuracy is not None}
    if scored:
        answers = next(iter(scored.values())).answers
        rows = [
            [answer, percent(share.true), *(_given(accuracy, answer) for accuracy in scored.values())]
            for answer, share in answers.items()
        ]
        lines += [*markdown_lines(["answer", "true, %", *(f"{name} says, %" for name in scored)], rows), ""]
    for name in next(iter(summaries.values())).groups:
        lines += _group_table(name, {run: summary.groups[name] for run, summary in summaries.items()})
    return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class _Outcomes:
    """Scores of one run; U is the number of items in the union of all runs."""

    scores: dict[str, Score]  # by sample id
    present: np.ndarray  # (U,) bool
    values: np.ndarray  # (U,) 1, 0, or NaN where missing or absent
    replies: list[Any]  # (U,) raw replies, which differ somewhere if the runs do

    def score(self, row: Prediction) -> Score:
        return self.scores[row.sample_id]


def _items(runs: Mapping[str, Sequence[Prediction]]) -> dict[str, Prediction]:
    """Return the union of the runs' items, one row for each id."""
    items: dict[str, Prediction] = {}
    run_of: dict[str, str] = {}
    for name, rows in runs.items():
        if len({row.sample_id for row in rows}) < len(rows):
            raise ValueError(f"run {name!r} holds a sample twice")
        for row in rows:
            known = items.setdefault(row.sample_id, row)
            first = run_of.setdefault(row.sample_id, name)
            ours, theirs = (row.question, row.answer, row.choices), (known.question, known.answer, known.choices)
            if ours != theirs:
                raise ValueError(
                    f"sample {row.sample_id!r} is {theirs} in run {first!r}, but {ours} in run {name!r}"
                    " (question, answer, choices): the runs were made on different data and cannot be compared"
                )
    return items


def _outcomes(rows: Sequence[Prediction], items: Mapping[str, Prediction], scorer: Scorer) -> _Outcomes:
    scores = {row.sample_id: scorer(row) for row in rows}
    place = {sample_id: index for index, sample_id in enumerate(items)}
    present, values = np.zeros(len(items), dtype=bool), np.full(len(items), np.nan)
    replies: list[Any] = [None] * len(items)
    for row in rows:
        index, value = place[row.sample_id], scores[row.sample_id].value
        present[index] = True
        values[index] = np.nan if value is None else value
        replies[index] = (row.prediction, row.log_likelihoods)
    return _Outcomes(scores, present, values, replies)


def _pair(first: str, a: _Outcomes, second: str, b: _Outcomes, clusters: np.ndarray | None) -> Pair:
    scored = np.flatnonzero(~np.isnan(a.values) & ~np.isnan(b.values))
    num_shared = int((a.present & b.present).sum())
    if not len(scored):
        raise ValueError(
            f"runs {first!r} and {second!r} share {num_shared} items and have a reply to none of them in both:"
            " there is nothing to compare; leave one out"
        )
    before, after = a.values[scored], b.values[scored]
    test = mcnemar(before, after)
    identical = all(a.replies[index] == b.replies[index] for index in scored)
    note = (
        f"IDENTICAL PREDICTIONS: {first} and {second} gave the same reply, to the last character, to all"
        f" {len(scored):,} items. Either both names are of one file, or the change between the runs never reached the"
        " model. This does not show that the change has no effect."
    )
    return Pair(
        first=first,
        second=second,
        num_shared=num_shared,
        num_scored=len(scored),
        difference=float(after.mean() - before.mean()),
        interval=bootstrap_difference(before, after, None if clusters is None else clusters[scored]),
        num_first_only=test.num_first_only,
        num_second_only=test.num_second_only,
        p_value=test.p_value,
        p_holm=test.p_value,
        smallest_difference=smallest_detectable_difference(
            len(scored), (test.num_first_only + test.num_second_only) / len(scored)
        ),
        identical=identical,
        note=note if identical else "",
    )


def _accuracy_cells(summary: Summary) -> list[str]:
    counts = [f"{summary.num_unparsed:,}", f"{summary.num_missing:,}", f"{summary.world_read:,}"]
    if summary.accuracy is None:
        return ["-"] * 6 + counts
    accuracy = summary.accuracy
    return [
        percent_with_range(accuracy.value, accuracy.wilson),
        percent_range(accuracy.bootstrap),
        percent(accuracy.balanced),
        percent_range(accuracy.balanced_bootstrap),
        f"{percent(accuracy.majority)} ({accuracy.majority_answer})",
        "-" if accuracy.guessing is None else percent(accuracy.guessing),
        *counts,
    ]


def _pair_cells(pair: Pair) -> list[str]:
    return [
        f"{pair.second} - {pair.first}",
        f"{pair.num_scored:,}",
        f"{100 * pair.difference:+.1f}" + (" (IDENTICAL)" if pair.identical else ""),
        percent_range(pair.interval),
        f"{pair.num_second_only:,}",
        f"{pair.num_first_only:,}",
        f"{pair.p_value:.2g}",
        f"{pair.p_holm:.2g}",
        "nothing" if pair.smallest_difference is None else percent(pair.smallest_difference),
    ]


def _given(accuracy: Accuracy, answer: str) -> str:
    return percent(accuracy.answers[answer].given) if answer in accuracy.answers else "-"


def _group_table(name: str, groups: Mapping[str, Mapping[str, Summary]]) -> list[str]:
    """Make a row per value of a field and a column per run; the majority is from the first run that has the items."""
    rows = []
    for label in sorted({label for members in groups.values() for label in members}):
        cells = [members.get(label) for members in groups.values()]
        known = [summary.accuracy for summary in cells if summary is not None and summary.accuracy is not None]
        rows.append([label, percent(known[0].majority) if known else "-", *map(_group_cell, cells)])
    return [*markdown_lines([name, "majority, %", *(f"{run}, %" for run in groups)], rows), ""]


def _group_cell(summary: Summary | None) -> str:
    if summary is None or summary.accuracy is None:
        return "-"
    return f"{percent_with_range(summary.accuracy.value, summary.accuracy.wilson)} of {summary.num_scored:,}"
