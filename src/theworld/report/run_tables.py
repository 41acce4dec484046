"""Tables of a run's numbers, for its page and its Markdown."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from theworld.evaluation.audit import Drop, Proof
from theworld.evaluation.benchmarks.dispatch import benchmark_scores
from theworld.evaluation.comparison import Pair
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import State
from theworld.evaluation.summary import BY_QUESTION, Summary
from theworld.report.confidence_tables import calibration_tables, gating_table
from theworld.report.folder import MetricsRow, RunFolder, in_order
from theworld.tables import (
    ABSENT,
    Table,
    percent,
    percent_with_range,
    points_with_range,
    probability,
    table_of,
)

MARKS: dict[State, str] = {"right": "✓", "wrong": "✗", "unparsed": "?", "missing": ABSENT}
STATES: dict[State, str] = {"right": "right", "wrong": "wrong", "unparsed": "not readable", "missing": "no reply"}
"""Scores of a reply, for a reader."""


_NARROW_COLUMNS = 3
"""Tables with at most this many columns do not stretch over the page."""

ARMS, DIFFERENCES, ITEMS, TRAINING = "Arms", "Paired differences", "Items", "Training"
"""Headings of the tables with pictures."""


def all_tables(run: RunFolder) -> list[Table]:
    """Make every table that the run has numbers for, in the order of the page."""
    tables = (
        arms_table(run),
        differences_table(run),
        *benchmark_tables(run),
        *group_tables(run),
        answers_table(run),
        gating_table(run),
        *calibration_tables(run),
        audit_table(run),
        items_table(run),
        training_table(run),
        timings_table(run),
        environment_table(run),
    )
    return [table for table in tables if table is not None]


def to_html(table: Table) -> str:
    """Write the grid as an HTML table; the first cell of each row is its header."""
    kinds = ["" if index < table.num_text_columns else ' class="number"' for index in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{kind}>{_escaped(column)}</th>' for kind, column in zip(kinds, table.columns, strict=True)
    )
    body = "".join(f"<tr>{_html_row(row, kinds)}</tr>\n" for row in table.rows)
    width = "narrow" if len(table.columns) <= _NARROW_COLUMNS else "full"
    return (
        f'<div class="wide" tabindex="0"><table class="{width}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def benchmark_tables(run: RunFolder) -> list[Table]:
    """Make tables of a public benchmark's own numbers, arm by arm; none for other questions."""
    tables = []
    for arm in in_order(run.predictions, run.results):
        result = benchmark_scores(run.predictions[arm])
        if result is not None:
            tables += [replace(table, heading=f"{table.heading}: {arm}") for table in result[1].tables()]
    return tables


def arms_table(run: RunFolder) -> Table | None:
    """Make a row per arm: n, accuracy, balanced accuracy, majority baseline, counts."""
    if run.results is None:
        return None
    return table_of(
        ARMS,
        ("arm", "n", "accuracy, %", "balanced, %", "majority, %", "guessing, %", "unparsed", "missing", "clips read"),
        [{"arm": name, **_arm_cells(summary)} for name, summary in run.results.arms.items()],
        "n: items with a reply. In brackets 95 % intervals: Wilson's for accuracy, bootstrap for balanced accuracy (the"
        " mean over the true answers). Majority: always giving the most frequent answer. Guessing: one of the item's"
        " choices at random. Baseline: the better of the two. Unparsed replies count as wrong, missing ones as"
        " nothing.",
    )


def differences_table(run: RunFolder) -> Table | None:
    """Make a row per pair of arms, on the items that both answered."""
    if run.results is None or run.results.comparison is None:
        return None
    return Table(
        DIFFERENCES,
        (
            "second − first",
            "n",
            "points",
            "only second right",
            "only first right",
            "p",
            "p (Holm)",
            "smallest visible, points",
        ),
        tuple(_pair_cells(pair) for pair in run.results.comparison.pairs),
        "On the items that both answered, with a 95 % paired bootstrap interval. p: exact McNemar test; p (Holm): the"
        " same, corrected for all comparisons here. Smallest visible: the difference that this many items would show"
        " four times in five.",
    )


def group_tables(run: RunFolder) -> list[Table]:
    """Make a table per field of the breakdown: a row per value, a column per arm."""
    arms = {} if run.results is None else run.results.arms
    fields = dict.fromkeys(name for summary in arms.values() for name in summary.groups)
    return [_group_table(name, arms) for name in fields]


def answers_table(run: RunFolder) -> Table | None:
    """Make a row per answer: its share of the true answers, and of each arm's replies."""
    arms = {} if run.results is None else run.results.arms
    accuracies = {name: summary.accuracy for name, summary in arms.items() if summary.accuracy is not None}
    true: dict[str, float] = {}
    for accuracy in accuracies.values():
        for answer, share in accuracy.answers.items():
            true.setdefault(answer, share.true)
    if not true:
        return None
    rows = []
    for answer, true_share in sorted(true.items(), key=lambda pair: (-pair[1], pair[0])):
        shares = [accuracy.answers.get(answer) for accuracy in accuracies.values()]
        cells = (ABSENT if share is None else percent(share.given) for share in shares)
        rows.append((answer, percent(true_share), *cells))
    return Table(
        "Answers given",
        ("answer", "true, %", *(f"{name}, %" for name in accuracies)),
        tuple(rows),
        "How often an answer is the true one, and how often each arm gives it.",
    )


def audit_table(run: RunFolder) -> Table | None:
    """Make a row per replacement of the world features, or of Gemma's picture, with its drop."""
    if run.audit is None:
        return None
    audit = run.audit
    columns = ("features", "role", "n", "real, %", "replaced, %", "drop, points", "answers changed", "p", "p (Holm)")
    drops = [(drop, "decides") for drop in audit.deciding] + [(drop, "is reported") for drop in audit.reported]
    rows = [_drop_cells(drop, role) for drop, role in drops]
    if audit.proofs:
        columns = (*columns, "inputs replaced", "scores changed", "partner's answer, %")
        rows = [
            (*row, *_proof_cells(audit.proofs.get(drop.condition))) for row, (drop, _) in zip(rows, drops, strict=True)
        ]
    note = (
        "The trained model with its world features replaced; shuffle (those of another item) and mean (the mean of all)"
        " decide. Other conditions do not: zeros and noise are outside of the training distribution."
    )
    if audit.proofs:
        note += (
            " The intervals are those of single conditions. Inputs replaced: items whose features, or picture, differ"
            " from the real ones. Partner's answer: of the items to whose question it is a choice."
        )
    missing = [f"{condition} was not asked: {reason}." for condition, reason in audit.missing.items()]
    return Table("World-use audit", columns, tuple(rows), " ".join([note, *missing]), num_text_columns=2)


def items_table(run: RunFolder) -> Table | None:
    """Make a row per shown item, with every arm's reply."""
    if not run.items:
        return None
    arms = in_order({arm for shown in run.items for arm in shown.rows}, run.results)
    columns = ("item", "question", "true answer", *arms)
    rows = []
    for shown in run.items:
        replies = [
            f"{reply(shown.rows[arm])} {MARKS[shown.scores[arm].state]}" if arm in shown.rows else ABSENT
            for arm in arms
        ]
        rows.append((shown.id, shown.item.question, shown.item.answer or ABSENT, *replies))
    legend = ", ".join(f"{MARKS[state]} {text}" for state, text in STATES.items())
    note = f"{legend}. Drawn at random, whatever the replies were."
    return Table(ITEMS, columns, tuple(rows), note, num_text_columns=len(columns))


def reply(row: Prediction) -> str:
    """Write a reply for a reader, also if it is missing or empty; with log-likelihoods the most likely choice."""
    if row.log_likelihoods is not None:
        return max(row.log_likelihoods, key=row.log_likelihoods.__getitem__)
    return ABSENT if row.prediction is None else row.prediction.strip() or "(empty)"


def training_table(run: RunFolder) -> Table | None:
    """Make a row per trained arm: loss, speed and memory."""
    if not run.metrics:
        return None
    return Table(
        TRAINING,
        ("arm", "steps", "first loss", "last loss", "samples/s", "tokens/s", "peak memory, GB"),
        tuple((name, *_training_cells(run.metrics[name])) for name in in_order(run.metrics, run.results)),
        "Losses are means over the steps of one log entry; speeds are medians over the entries.",
    )


def timings_table(run: RunFolder) -> Table | None:
    """Make a row per stage, with its time."""
    seconds = {} if run.results is None else run.results.seconds
    total = sum(seconds.values())
    if total <= 0:
        return None
    rows = [(stage, f"{value:,.1f}", percent(value / total)) for stage, value in seconds.items()]
    return Table("Time", ("stage", "seconds", "share, %"), (*rows, ("all", f"{total:,.1f}", percent(1.0))))


def environment_table(run: RunFolder) -> Table | None:
    """Make a row per version, commit and machine; one row per library."""
    if not run.environment:
        return None
    rows: list[tuple[str, str]] = []
    for name, value in run.environment.items():
        rows += _flat(str(name), value)
    return Table("Environment", ("part", "version"), tuple(rows), num_text_columns=2)


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    """Write a value as a row, and a mapping as the rows of its parts."""
    if isinstance(value, dict):
        named = {key if name == "libraries" else f"{name}, {key}": part for key, part in value.items()}
        return [row for key, part in named.items() for row in _flat(str(key), part)]
    return [(name.replace("_", " "), ABSENT if value is None else str(value))]


def _arm_cells(summary: Summary) -> dict[str, str]:
    cells = {
        "n": f"{summary.num_scored:,}",
        "unparsed": f"{summary.num_unparsed:,}",
        "missing": f"{summary.num_missing:,}",
        "clips read": f"{summary.world_read:,}",
    }
    accuracy = summary.accuracy
    if accuracy is not None:
        cells |= {
            "accuracy, %": percent_with_range(accuracy.value, accuracy.wilson),
            "balanced, %": percent_with_range(accuracy.balanced, accuracy.balanced_bootstrap),
            "majority, %": percent(accuracy.majority),
        }
        if accuracy.guessing is not None:
            cells["guessing, %"] = percent(accuracy.guessing)
    return cells


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    return (
        f"{pair.second} − {pair.first}",
        f"{pair.num_scored:,}",
        points_with_range(pair.difference, pair.interval),
        f"{pair.num_second_only:,}",
        f"{pair.num_first_only:,}",
        probability(pair.p_value),
        probability(pair.p_holm),
        ABSENT if pair.smallest_difference is None else percent(pair.smallest_difference),
    )


def _group_table(field: str, arms: dict[str, Summary]) -> Table:
    values = dict.fromkeys(value for summary in arms.values() for value in summary.groups.get(field, {}))
    rows = []
    for value in values:
        cells = [summary.groups.get(field, {}).get(value) for summary in arms.values()]
        known = [summary for summary in cells if summary is not None and summary.accuracy is not None]
        majority = known[0].accuracy.majority if known and known[0].accuracy else None
        counts = sorted({summary.num_scored for summary in cells if summary is not None})
        rows.append(
            (
                value,
                f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}",
                ABSENT if majority is None else percent(majority),
                *map(_group_cell, cells),
            )
        )
    return Table(
        f"By {field}",
        (field, "n", "majority, %", *(f"{name}, %" for name in arms)),
        tuple(rows),
        "Accuracy with its 95 % Wilson interval; n: items with a reply.",
    )


def _group_cell(summary: Summary | None) -> str:
    if summary is None or summary.accuracy is None:
        return ABSENT
    return percent_with_range(summary.accuracy.value, summary.accuracy.wilson)


def _drop_cells(drop: Drop, role: str) -> tuple[str, ...]:
    return (
        drop.condition,
        role,
        f"{drop.num_items:,}",
        percent(drop.real_accuracy),
        percent(drop.accuracy),
        points_with_range(drop.drop, drop.interval),
        f"{drop.num_changed:,}",
        probability(drop.p_value),
        ABSENT if drop.p_holm is None else probability(drop.p_holm),
    )


def _proof_cells(proof: Proof | None) -> tuple[str, ...]:
    if proof is None:
        return (ABSENT,) * 3
    changed, partner = proof.num_scores_changed, proof.num_partner_answers
    return (
        f"{proof.num_replaced:,} of {proof.num_items:,}",
        ABSENT if changed is None else f"{changed:,} of {proof.num_scores:,}",
        percent(partner / proof.num_partner_possible) if partner is not None and proof.num_partner_possible else ABSENT,
    )


def _training_cells(rows: Sequence[MetricsRow]) -> tuple[str, ...]:
    memory = [row.peak_memory_gb for row in rows if row.peak_memory_gb is not None]
    return (
        f"{rows[-1].step:,}",
        f"{rows[0].loss:.3f}",
        f"{rows[-1].loss:.3f}",
        f"{median(row.samples_per_second for row in rows):,.1f}",
        f"{median(row.tokens_per_second for row in rows):,.0f}",
        f"{max(memory):.1f}" if memory else ABSENT,
    )


def _html_row(row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *rest = row
    return f'<th scope="row">{_escaped(first)}</th>' + "".join(
        f"<td{kind}>{_foldable(cell)}</td>" for kind, cell in zip(kinds[1:], rest, strict=True)
    )


def _foldable(cell: str) -> str:
    """Let a narrow column put an interval below its value, so that a wide table is not cut."""
    value, bracket, rest = _escaped(cell).partition(" [")
    unbroken = [f'<span class="unbroken">{part}</span>' for part in (value, f"[{rest}" if bracket else "") if part]
    return " ".join(unbroken)


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()))


@dataclass(frozen=True)
class Baseline:
    """A way to answer without the picture, and its accuracy."""

    words: str
    share: float


def strongest(run: RunFolder) -> dict[str, Baseline]:
    """Return for each arm with an accuracy the better baseline of two: the most frequent answer, and guessing."""
    baselines = {}
    for name, summary in (run.results.arms if run.results is not None else {}).items():
        if summary.accuracy is None:
            continue
        chance, majority = summary.accuracy.guessing, summary.accuracy.majority
        if chance is not None and chance > majority:
            baselines[name] = Baseline(f"guessing among the choices, {percent(chance)} %", chance)
        else:
            answer = summary.accuracy.majority_answer
            words = "the most frequent answer to each question" if answer == BY_QUESTION else f"always “{answer}”"
            baselines[name] = Baseline(f"{words}, {percent(majority)} %", majority)
    return baselines
