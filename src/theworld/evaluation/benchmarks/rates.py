"""Success rates of groups of items, agreement with a judge, and how tables show them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import Interval, bootstrap_mean, wilson_interval
from theworld.evaluation.summary import Summary
from theworld.tables import Table, percent, percent_range, table_of

RATE_COLUMNS: Final = ("n", "right, %", "95 % Wilson", "95 % bootstrap", "unparsed", "missing")
RATE_NOTE: Final = "n: items with a reply. Unparsed replies count as not right, missing ones as nothing."


@dataclass(frozen=True)
class Rate:
    """Success rate of a group of items; shares are over the items with a reply."""

    num_items: int
    num_right: int
    num_unparsed: int
    """Replies that cannot be read: they count as not right."""
    num_missing: int
    """Items without a reply: they are not counted."""
    value: float | None
    """Share that is right; None without a reply."""
    wilson: Interval | None
    bootstrap: Interval | None

    @property
    def num_scored(self) -> int:
        """Items with a reply."""
        return self.num_items - self.num_missing

    def cells(self) -> dict[str, str]:
        """Cells of a table by column, see `RATE_COLUMNS`."""
        cells = {
            "n": f"{self.num_scored:,}",
            "unparsed": f"{self.num_unparsed:,}",
            "missing": f"{self.num_missing:,}",
        }
        if self.value is not None and self.wilson is not None and self.bootstrap is not None:
            cells |= {
                "right, %": percent(self.value),
                "95 % Wilson": percent_range(self.wilson),
                "95 % bootstrap": percent_range(self.bootstrap),
            }
        return cells


def rate(scores: Sequence[Score]) -> Rate:
    """Count the scores of a group."""
    states = Counter(score.state for score in scores)
    values = [score.value for score in scores if score.value is not None]
    num_right = states["right"]
    return Rate(
        num_items=len(scores),
        num_right=num_right,
        num_unparsed=states["unparsed"],
        num_missing=states["missing"],
        value=num_right / len(values) if values else None,
        wilson=wilson_interval(num_right, len(values)) if values else None,
        bootstrap=bootstrap_mean(values) if values else None,
    )


def rate_table(heading: str, first_column: str, rates: Mapping[str, Rate], note: str = RATE_NOTE) -> Table:
    """Make a table with one row per group."""
    records = [{first_column: name, **rate.cells()} for name, rate in rates.items()]
    return table_of(heading, (first_column, *RATE_COLUMNS), records, note)


def summary_table(heading: str, first_column: str, summary: Summary, affirmed: str) -> Table:
    """Make a table of one row about yes-or-no questions.

    Args:
        heading: of the table.
        first_column: name of the items, such as statements.
        summary: numbers of all items.
        affirmed: the answer that affirms, such as yes.
    """
    replied, true = f"{affirmed} is said, %", f"{affirmed} is true, %"
    columns = (
        first_column,
        "n",
        "right, %",
        "95 % Wilson",
        "balanced, %",
        "95 % bootstrap",
        "majority, %",
        replied,
        true,
        "unparsed",
        "missing",
    )
    cells = {
        first_column: "all",
        "n": f"{summary.num_scored:,}",
        "unparsed": f"{summary.num_unparsed:,}",
        "missing": f"{summary.num_missing:,}",
    }
    accuracy = summary.accuracy
    if accuracy is not None:
        cells |= {
            "right, %": percent(accuracy.value),
            "95 % Wilson": percent_range(accuracy.wilson),
            "balanced, %": percent(accuracy.balanced),
            "95 % bootstrap": percent_range(accuracy.balanced_bootstrap),
            "majority, %": percent(accuracy.majority),
        }
        if affirmed in accuracy.answers:
            share = accuracy.answers[affirmed]
            cells |= {replied: percent(share.given), true: percent(share.true)}
    note = f"{RATE_NOTE} Balanced: the mean over the true answers; a constant reply gets 50."
    return table_of(heading, columns, [cells], note)


@dataclass(frozen=True)
class Agreement:
    """Agreement between stored verdicts and readings."""

    num_items: int
    """Items with a verdict."""
    num_same: int
    num_only_judge_right: int
    num_only_reading_right: int
    value: float | None
    """Share of items on which both agree; None without a verdict."""


def agreement(scores: Sequence[Score], verdicts: Mapping[str, bool]) -> Agreement:
    """Compare scores with the verdicts by sample id; items without a verdict are left out."""
    pairs = [(verdicts[score.sample_id], score.state == "right") for score in scores if score.sample_id in verdicts]
    num_same = sum(judge == reading for judge, reading in pairs)
    return Agreement(
        num_items=len(pairs),
        num_same=num_same,
        num_only_judge_right=sum(judge and not reading for judge, reading in pairs),
        num_only_reading_right=sum(reading and not judge for judge, reading in pairs),
        value=num_same / len(pairs) if pairs else None,
    )


def agreement_table(agreements: Mapping[str, Agreement], agreement_with: str) -> Table:
    """Make a table with one row per kind of question."""
    columns = ("questions", "judged", "same, %", "only judge right", "only reading right")
    records = []
    for name, result in agreements.items():
        cells = {
            "questions": name,
            "judged": f"{result.num_items:,}",
            "only judge right": f"{result.num_only_judge_right:,}",
            "only reading right": f"{result.num_only_reading_right:,}",
        }
        if result.value is not None:
            cells["same, %"] = percent(result.value)
        records.append(cells)
    return table_of(f"Agreement with {agreement_with}", columns, records)
