"""SpatialRGPT-Bench: predicates, choices, lengths and clock directions, scored without a judge."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from theworld.config.evaluation import SpatialRGPTScoreSettings
from theworld.evaluation.benchmarks.saved_replies import (
    RATE_COLUMNS,
    RATE_NOTE,
    Agreement,
    Rate,
    Record,
    agreement,
    agreement_table,
    own_row,
    prediction,
    rate,
    rate_table,
    read_rows,
    require_distinct,
    summary_table,
)
from theworld.evaluation.parsing.quantities import DEGREES_PER_HOUR, clock_error, clock_hour, named_length
from theworld.evaluation.parsing.region_choices import RELATIONS, chosen_region
from theworld.evaluation.parsing.yes_no import says_yes
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, State
from theworld.evaluation.summary import Summary, summarise
from theworld.tables import Table, percent, table_of

QUALITATIVE = {
    "below/above": ("above_choice", "above_predicate", "below_choice", "below_predicate"),
    "left/right": ("left_choice", "left_predicate", "right_choice", "right_predicate"),
    "big/small": ("big_predicate", "small_predicate"),
    "tall/short": ("tall_choice", "tall_predicate", "short_choice", "short_predicate"),
    "wide/thin": ("wide_predicate", "thin_predicate"),
    "behind/front": ("behind_predicate", "front_predicate"),
}
QUANTITATIVE = {
    "direct distance": ("distance_data",),
    "horizontal distance": ("horizontal_distance_data",),
    "vertical distance": ("vertical_distance_data",),
    "width": ("width_data",),
    "height": ("height_data",),
    "direction": ("direction",),
}
"""Groups of the paper's table 1 (arXiv 2406.01584) and the benchmark's categories in each."""

NUM_QUALITATIVE, NUM_QUANTITATIVE = 657, 749
"""Items of the whole benchmark."""

TOLERANCE = 0.25
"""A length is right within this share of the true one (`evaluate_spatial_with_gpt4.py` of AnjieCheng/SpatialRGPT)."""

TOLERANCE_HOURS = 1.0
"""A direction is right within this many hours of the true one (the same file)."""

_GROUP_OF = {name: group for groups in (QUALITATIVE, QUANTITATIVE) for group, names in groups.items() for name in names}
_DIMENSIONS = {"width_data": "width|horizontal|diameter", "height_data": "height|vertical"}
"""Labels of the length in question, for replies that name several lengths."""

_DENIALS = re.compile(r"(?:no|incorrect|in fact|actually|that is false)\b", re.IGNORECASE)
"""First words of the benchmark's own answers to predicates, if they deny; all others affirm."""
_AFFIRMATIONS = re.compile(r"(?:yes|indeed|correct|that is true)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Measured:
    """Success rate of a quantitative group, and mean error of its readable replies."""

    rate: Rate
    error: float | None
    """Mean |reply - truth| / truth of lengths (AbsRel), mean degrees of directions; None without a readable reply."""

    def cells(self, group: str) -> dict[str, str]:
        """Cells of a table by column."""
        if self.error is None:
            return self.rate.cells()
        return {**self.rate.cells(), "error": f"{self.error:.1f}°" if group == "direction" else f"{self.error:.3f}"}


@dataclass(frozen=True)
class SpatialRGPTScores:
    """Scores of SpatialRGPT-Bench."""

    qualitative: Rate | None
    """Micro average over all qualitative items, as in the paper."""
    quantitative: Rate | None
    overall: Rate
    qualitative_groups: dict[str, Rate]
    quantitative_groups: dict[str, Measured]
    predicates: Summary | None
    """Yes-or-no questions: balanced accuracy, and shares of yes among answers and replies."""
    agreement: dict[str, Agreement]
    """Agreement with a judge, over all items, by kind and by category; empty without verdicts."""
    is_whole: bool
    """True if the file has as many items as the benchmark."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def tables(self, agreement_with: str = "the stored verdict") -> list[Table]:
        """Show qualitative and quantitative groups, predicates, and the agreement of judge and reading."""
        tables, note = [], RATE_NOTE
        if not self.is_whole:
            note += f" Not the whole benchmark, which has {NUM_QUALITATIVE} and {NUM_QUANTITATIVE} items."
        if self.qualitative is not None:
            rates = {**self.qualitative_groups, "all (micro)": self.qualitative}
            tables.append(rate_table("SpatialRGPT-Bench, qualitative", "group", rates, note))
        if self.quantitative is not None:
            records = [{"group": name, **group.cells(name)} for name, group in self.quantitative_groups.items()]
            records.append({"group": "all (micro)", **self.quantitative.cells()})
            within = f"Right: within {percent(TOLERANCE)} %, or one hour of the clock."
            error = "Error: mean |reply - truth| / truth (AbsRel) or degrees, of the replies that can be read."
            columns = ("group", *RATE_COLUMNS, "error")
            note = f"{within} {error} {note}"
            tables.append(table_of("SpatialRGPT-Bench, quantitative", columns, records, note))
        if self.predicates is not None:
            tables.append(summary_table("Predicates", "questions", self.predicates, "yes"))
        if self.agreement:
            tables.append(agreement_table(self.agreement, agreement_with))
        return tables


def score(row: Prediction) -> Score:
    """Score a row whose `category` is one of the benchmark's.

    Readings are `yes` and `no`, `region 0` and `region 1`, metres (`0.7633 m`) and hours of the clock (`2 o'clock`).

    Raises:
        ValueError: for an unknown category, or an answer that does not fit it.
    """
    return _score_and_deviation(row)[0]


def deviation(row: Prediction) -> float | None:
    """Compute the error of a quantitative reply: |reply - truth| / truth of a length, degrees of a direction.

    None for an unreadable reply, and for other questions.

    Raises:
        ValueError: as `score`.
    """
    return _score_and_deviation(row)[1]


def evaluate(rows: Sequence[Prediction], verdicts: Mapping[str, bool] | None = None) -> SpatialRGPTScores:
    """Score rows, and compare the scores with stored verdicts.

    Args:
        rows: with the field `category`.
        verdicts: by sample id, True if a judge called the reply right; other ids were not judged.

    Raises:
        ValueError: without rows, or as `score`.
    """
    scored = [_score_and_deviation(row) for row in rows]
    by_kind = {} if verdicts is None else agreements(rows, [score for score, _ in scored], verdicts)
    return gather(rows, scored, by_kind, with_predicates=True)


def gather(
    rows: Sequence[Prediction],
    scored: Sequence[tuple[Score, float | None]],
    by_kind: Mapping[str, Agreement],
    *,
    with_predicates: bool,
) -> SpatialRGPTScores:
    """Compute the groups and averages of the benchmark from scored items.

    Args:
        rows: with the field `category`.
        scored: score and `deviation` of each row.
        by_kind: agreement with a judge, by kind of question.
        with_predicates: readings of predicates are yes and no, and are counted.

    Raises:
        ValueError: without rows.
    """
    scores, deviations = [item for item, _ in scored], [item for _, item in scored]
    by_category = _by_category(rows)

    def members(categories: Sequence[str]) -> list[int]:
        return [index for name in categories for index in by_category.get(name, ())]

    qualitative = {group: members(names) for group, names in QUALITATIVE.items()}
    quantitative = {group: members(names) for group, names in QUANTITATIVE.items()}
    all_qualitative = [index for indices in qualitative.values() for index in indices]
    all_quantitative = [index for indices in quantitative.values() for index in indices]
    predicates = members([name for name in _GROUP_OF if name.endswith("_predicate")]) if with_predicates else []
    asked = [rows[index] for index in predicates]
    score_of = {item.sample_id: item for item in scores}
    return SpatialRGPTScores(
        qualitative=_rate(scores, all_qualitative),
        quantitative=_rate(scores, all_quantitative),
        overall=rate(scores),
        qualitative_groups={
            group: rate([scores[i] for i in indices]) for group, indices in qualitative.items() if indices
        },
        quantitative_groups={
            group: Measured(rate([scores[i] for i in indices]), _mean([deviations[i] for i in indices]))
            for group, indices in quantitative.items()
            if indices
        },
        predicates=summarise(asked, scorer=lambda row: score_of[row.sample_id]) if asked else None,
        agreement=dict(by_kind),
        is_whole=(len(all_qualitative), len(all_quantitative)) == (NUM_QUALITATIVE, NUM_QUANTITATIVE),
    )


def evaluate_files(settings: SpatialRGPTScoreSettings) -> SpatialRGPTScores:
    """Score saved replies.

    Raises:
        OSError: if a file cannot be read.
        ValueError: as `read`.
    """
    rows, verdicts = read(settings.file, settings.judged)
    return evaluate(rows, None if settings.judged is None else verdicts)


def read(path: Path, judged: str | None = None) -> tuple[list[Prediction], dict[str, bool]]:
    """Read the rows of a file of saved replies, and its verdicts by sample id.

    The file has rows as `answered` reads them, or as `theworld evaluate` writes them. Rows without a verdict (null, or
    an error in `judge_response`) are not judged.

    Raises:
        OSError: if the file cannot be read.
        ValueError: names the line: no JSON, a missing key, an unknown category, an answer that does not fit the
            category, a repeated id, an invalid verdict.
    """
    rows: dict[str, Prediction] = {}
    verdicts: dict[str, bool] = {}
    for record in read_rows(path):
        row = own_row(record, "spatial-rgpt", "category")
        row = answered(record) if row is None else _checked(row, record)
        require_distinct(rows, row.sample_id, record)
        rows[row.sample_id] = row
        verdict = None if judged is None else _verdict(record, judged)
        if verdict is not None:
            verdicts[row.sample_id] = verdict
    return list(rows.values()), verdicts


def answered(record: Record) -> Prediction:
    """Make a row from a saved reply: id, question, ground_truth, prediction, qa_type and qa_category.

    Raises:
        ValueError: names the record: a missing key, an unknown category, an answer that does not fit the category.
    """
    if "qa_category" not in record.content:
        raise record.unknown("qa_category", "id, question, ground_truth, prediction, qa_type and qa_category")
    category = record.text("qa_category")
    row = prediction(
        record.text("id"),
        record.reply("prediction"),
        record.text("ground_truth"),
        question=record.text("question"),
        fields={"category": category, "type": record.text("qa_type")},
    )
    return _checked(row, record, "qa_")


def _checked(row: Prediction, record: Record, prefix: str = "fields.") -> Prediction:
    """Return a row whose category, type and answer fit one another; keys have a prefix in the record."""
    category, kind = row.fields["category"], row.fields.get("type")
    if category not in _GROUP_OF:
        raise record.error(f"{prefix}category: {category!r}; expected one of {', '.join(_GROUP_OF)}")
    expected = "quantitative" if _GROUP_OF[str(category)] in QUANTITATIVE else "qualitative"
    if kind not in (None, expected):
        raise record.error(f"{prefix}type: {kind!r}; expected {expected!r} for {category!r}")
    try:
        true_value(row)
    except ValueError as error:
        raise record.error(str(error)) from None
    return row


def _verdict(record: Record, judged: str) -> bool | None:
    verdict = record.value(judged)
    if str(record.content.get("judge_response", "")).startswith("<ERROR"):
        return None
    if verdict is not None and verdict not in (True, False):
        raise record.error(f"{judged}: {verdict!r}; expected true or false, 1 or 0, or null where none was given")
    return None if verdict is None else bool(verdict)


def _score_and_deviation(row: Prediction) -> tuple[Score, float | None]:
    category, true = str(row.fields["category"]), true_value(row)
    answer = in_words(true, category)
    if row.prediction is None:
        return Score(row.sample_id, "missing", None, answer), None
    value = value_of(row.prediction, category)
    if value is None:
        return Score(row.sample_id, "unparsed", None, answer), None
    state: State = "right" if is_right(value, true, category) else "wrong"
    return Score(row.sample_id, state, in_words(value, category), answer), off(value, true, category)


def off(value: float, true: float, category: str) -> float | None:
    """Compute the error of a reading, as in `deviation`; None for questions without a measure."""
    if category == "direction":
        return DEGREES_PER_HOUR * clock_error(value, true)
    return abs(value - true) / true if _GROUP_OF[category] in QUANTITATIVE else None


def true_value(row: Prediction) -> float:
    """Return the value of the true answer: 1 for yes, the index of a region, metres, or hours.

    Raises:
        ValueError: if it has no such value.
    """
    category, answer = str(row.fields["category"]), row.answer or ""
    value = _true_value(answer, category)
    if value is None:
        raise ValueError(f"ground_truth: {answer!r} does not answer a question of category {category!r}")
    return value


@lru_cache(maxsize=8192)  # answers repeat, and each is read twice: to check its row and to score it
def _true_value(answer: str, category: str) -> float | None:
    if category.endswith("_predicate"):
        if _DENIALS.match(answer):
            return 0.0
        return 1.0 if _AFFIRMATIONS.match(answer) else None
    return value_of(answer, category)


def value_of(text: str, category: str) -> float | None:
    """Read a text as one number: 1 for yes, the index of a region, metres, or hours."""
    if category == "direction":
        return clock_hour(text)
    if category in _GROUP_OF and _GROUP_OF[category] in QUANTITATIVE:
        return named_length(text, _DIMENSIONS.get(category))
    relation, _, kind = category.partition("_")
    if relation not in RELATIONS:
        raise ValueError(f"category {category!r}: expected one of {', '.join(_GROUP_OF)}")
    value = (says_yes if kind == "predicate" else chosen_region)(text, RELATIONS[relation])
    return None if value is None else float(value)


def is_right(value: float, true: float, category: str) -> bool:
    """Return True if a reading is right by the rule of its category."""
    if category == "direction":
        return clock_error(value, true) <= TOLERANCE_HOURS
    if _GROUP_OF[category] in QUANTITATIVE:
        return (1 - TOLERANCE) * true <= value <= (1 + TOLERANCE) * true
    return value == true


def in_words(value: float, category: str) -> str:
    """Write a value as a reading: `yes`, `region 0`, `0.7633 m`, `2 o'clock`."""
    if category == "direction":
        return f"{value:g} o'clock"
    if _GROUP_OF[category] in QUANTITATIVE:
        return f"{value:.4g} m"
    if category.endswith("_predicate"):
        return "yes" if value else "no"
    return f"region {value:g}"


def _rate(scores: Sequence[Score], indices: Sequence[int]) -> Rate | None:
    return rate([scores[index] for index in indices]) if indices else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def agreements(
    rows: Sequence[Prediction], scores: Sequence[Score], verdicts: Mapping[str, bool]
) -> dict[str, Agreement]:
    """Compute the agreement over all items, by kind (choices, predicates, lengths, directions), and by category."""
    kinds = {"choice": "choices", "predicate": "predicates", "data": "lengths", "direction": "directions"}
    by_category = _by_category(rows)
    members: dict[str, list[int]] = {}
    for category, indices in by_category.items():
        members.setdefault(kinds[category.rpartition("_")[2]], []).extend(indices)
    named = {"all": list(range(len(rows))), **{name: members[name] for name in kinds.values() if name in members}}
    return {
        name: agreement([scores[index] for index in indices], verdicts)
        for name, indices in {**named, **dict(sorted(by_category.items()))}.items()
        if name not in ("direction",)  # this category is also a kind
    }


def _by_category(rows: Sequence[Prediction]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(str(row.fields["category"]), []).append(index)
    return members
