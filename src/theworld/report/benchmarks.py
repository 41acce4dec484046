"""Scores of public benchmarks as tables: what `theworld score` and reports show."""

from dataclasses import replace
from typing import Any

from theworld.config.evaluation import BlinkScoreSettings, Scoring, VsrScoreSettings
from theworld.evaluation.benchmarks import blink, spatial_rgpt, vsr
from theworld.evaluation.benchmarks.dispatch import benchmark_scores
from theworld.evaluation.benchmarks.saved_replies import Rate
from theworld.evaluation.benchmarks.spatial_rgpt import Agreement, SpatialRGPTScores
from theworld.evaluation.judges.verdicts import Judged
from theworld.evaluation.summary import Summary
from theworld.report.folder import RunFolder, in_order
from theworld.report.tables import ABSENT, Table, percent, percent_range

_RATE = ("n", "right, %", "95 % Wilson", "95 % bootstrap", "unparsed", "missing")
_NOTE = "n: items with a reply. Unparsed replies count as not right, missing ones as nothing."


def scored(settings: Scoring) -> tuple[list[Table], dict[str, Any]]:
    """Score the saved replies that the settings name.

    Returns:
        Tables for a reader, and the same as values.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the place in a file that is not as it should be.
    """
    if isinstance(settings, BlinkScoreSettings):
        letters = blink.evaluate(*blink.read(settings.answers, settings.predictions))
        return blink_tables(letters), {"benchmark": "blink", **letters.to_dict()}
    if isinstance(settings, VsrScoreSettings):
        statements = vsr.evaluate(vsr.read(settings.annotations, settings.predictions))
        return vsr_tables(statements), {"benchmark": "vsr", **statements.to_dict()}
    rows, verdicts = spatial_rgpt.read(settings.file, settings.judged)
    found = spatial_rgpt.evaluate(rows, None if settings.judged is None else verdicts)
    return spatial_rgpt_tables(found), {"benchmark": "spatial-rgpt", **found.to_dict()}


def benchmark_tables(run: RunFolder) -> list[Table]:
    """The own numbers of the benchmark that the arms of a run were asked, arm by arm; none for other questions."""
    told = {"blink": blink_tables, "spatial-rgpt": spatial_rgpt_tables, "vsr": vsr_tables}
    tables = []
    for arm in in_order(run.predictions, run.results):
        found = benchmark_scores(run.predictions[arm])
        if found is not None:
            name, scores = found
            tables += [replace(table, heading=f"{table.heading}: {arm}") for table in told[name](scores)]
    return tables


def blink_tables(scores: blink.BlinkScores) -> list[Table]:
    """Per task, then the mean over tasks and over items."""
    rows = [(task, *_rate_cells(one)) for task, one in scores.tasks.items()]
    macro = (
        "macro mean",
        f"{scores.micro.num_items:,}",
        percent(scores.macro),
        ABSENT,
        percent_range(scores.macro_bootstrap),
    )
    rows += [(*macro, ABSENT, ABSENT), ("micro mean", *_rate_cells(scores.micro))]
    note = f"{_NOTE} The macro mean is the benchmark's Total; there a missing reply counts as wrong."
    if not scores.is_whole:
        note += f" Not the whole benchmark: {len(scores.tasks)} of {len(blink.NUM_CHOICES)} tasks."
    if scores.num_stored:
        same = percent(scores.num_stored_same / scores.num_stored)
        note += f" The letters in the files are the same in {same} % of {scores.num_stored:,} items."
    return [Table("BLINK", ("task", *_RATE), tuple(rows), note)]


def vsr_tables(scores: vsr.VsrScores) -> list[Table]:
    """All statements, then by relation."""
    rows = tuple((relation, *_rate_cells(one)) for relation, one in scores.relations.items())
    return [
        _summary_table("VSR", "statements", scores.overall, "true"),
        Table("By relation", ("relation", *_RATE), rows, _NOTE),
    ]


def spatial_rgpt_tables(scores: SpatialRGPTScores, agreement_with: str = "the stored verdict") -> list[Table]:
    """Qualitative and quantitative groups, predicates, and agreement of judge and reading."""
    tables = []
    note = _NOTE
    if not scores.is_whole:
        whole = f"{spatial_rgpt.NUM_QUALITATIVE} and {spatial_rgpt.NUM_QUANTITATIVE}"
        note += f" Not the whole benchmark, which has {whole} items."
    if scores.qualitative is not None:
        rows = [(group, *_rate_cells(one)) for group, one in scores.qualitative_groups.items()]
        rows.append(("all (micro)", *_rate_cells(scores.qualitative)))
        tables.append(Table("SpatialRGPT-Bench, qualitative", ("group", *_RATE), tuple(rows), note))
    if scores.quantitative is not None:
        rows = [
            (group, *_rate_cells(one.rate), _error_cell(group, one.error))
            for group, one in scores.quantitative_groups.items()
        ]
        rows.append(("all (micro)", *_rate_cells(scores.quantitative), ABSENT))
        within = f"Right: within {percent(spatial_rgpt.TOLERANCE)} %, or one hour of the clock."
        error = "Error: mean |reply - truth| / truth (AbsRel) or degrees, of the replies that can be read."
        columns = ("group", *_RATE, "error")
        heading = "SpatialRGPT-Bench, quantitative"
        tables.append(Table(heading, columns, tuple(rows), f"{within} {error} {note}"))
    if scores.predicates is not None:
        tables.append(_summary_table("Predicates", "questions", scores.predicates, "yes"))
    if scores.agreement:
        rows = [(name, *_agreement_cells(one)) for name, one in scores.agreement.items()]
        columns = ("questions", "judged", "same, %", "only judge right", "only reading right")
        tables.append(Table(f"Agreement with {agreement_with}", columns, tuple(rows)))
    return tables


def _summary_table(heading: str, what: str, one: Summary, affirmed: str) -> Table:
    columns = (
        what,
        "n",
        "right, %",
        "95 % Wilson",
        "balanced, %",
        "95 % bootstrap",
        "majority, %",
        f"{affirmed} is said, %",
        f"{affirmed} is true, %",
        "unparsed",
        "missing",
    )
    of = one.accuracy
    cells = (ABSENT,) * 7
    if of is not None:
        share = of.answers.get(affirmed)
        cells = (
            percent(of.value),
            percent_range(of.wilson),
            percent(of.balanced),
            percent_range(of.balanced_bootstrap),
            percent(of.majority),
            ABSENT if share is None else percent(share.given),
            ABSENT if share is None else percent(share.true),
        )
    row = ("all", f"{one.num_scored:,}", *cells, f"{one.num_unparsed:,}", f"{one.num_missing:,}")
    note = f"{_NOTE} Balanced: the mean over the true answers; a constant reply gets 50."
    return Table(heading, columns, (row,), note)


def _rate_cells(one: Rate) -> tuple[str, ...]:
    shares = (ABSENT, ABSENT, ABSENT)
    if one.value is not None and one.wilson is not None and one.bootstrap is not None:
        shares = (percent(one.value), percent_range(one.wilson), percent_range(one.bootstrap))
    return (f"{one.num_scored:,}", *shares, f"{one.num_unparsed:,}", f"{one.num_missing:,}")


def _error_cell(group: str, error: float | None) -> str:
    if error is None:
        return ABSENT
    return f"{error:.1f}°" if group == "direction" else f"{error:.3f}"


def _agreement_cells(one: Agreement) -> tuple[str, ...]:
    return (
        f"{one.num_items:,}",
        ABSENT if one.value is None else percent(one.value),
        f"{one.num_only_judge_right:,}",
        f"{one.num_only_reading_right:,}",
    )


def judged_tables(found: Judged, judge: str) -> list[Table]:
    """Groups by the judge's verdicts, its agreement with the readings, and what it cost."""
    tables = spatial_rgpt_tables(found.scores, agreement_with="the readings of theworld score")
    spent = found.cost
    row = (
        judge,
        f"{spent.num_calls:,}",
        f"{spent.num_retries:,}",
        f"{spent.num_prompt_tokens:,}",
        f"{spent.num_completion_tokens:,}",
        f"{spent.seconds:,.1f}",
        f"{found.num_without_verdict:,}",
        f"{found.num_misread:,}",
    )
    columns = (
        "judge",
        "calls",
        "of them retries",
        "prompt tokens",
        "completion tokens",
        "seconds in calls",
        "without a verdict",
        "true answer misread",
    )
    note = (
        "Over all runs into this folder. Replies without a verdict are missing; the same command asks about them again."
    )
    if spent.num_uncounted:
        note += f" The tokens of {spent.num_uncounted:,} replies were not told."
    return [*tables, Table("The judge", columns, (row,), note)]
