"""Saved replies to a benchmark: strict reading of files, with the place of each row, and rates of right replies."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from pydantic import TypeAdapter, ValidationError

from theworld.datasets.records import is_encodable
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import Interval, bootstrap_mean, wilson_interval
from theworld.evaluation.summary import Summary
from theworld.io import unique_names
from theworld.tables import Table, percent, percent_range, table_of


class Record:
    """One JSON object of a file, and its place."""

    def __init__(self, content: Any, place: str) -> None:
        """Wrap an object.

        Raises:
            ValueError: if it is not an object.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{place}: {_kind(content)}; expected an object, one to a row")
        self.content: dict[str, Any] = content
        self.place = place

    def text(self, key: str) -> str:
        """Return the text of a key.

        Raises:
            ValueError: if the key is missing, or if its value is not text.
        """
        value = self.value(key)
        if not isinstance(value, str):
            raise self.error(f"{key}: {_kind(value)}; expected text")
        if not is_encodable(value):
            raise self.error(f"{key}: a text with half a surrogate pair, as of an emoji; expected whole characters")
        return value

    def reply(self, key: str) -> str | None:
        """Return the reply of a key; None for `null`, no reply.

        Raises:
            ValueError: as `text`.
        """
        return None if self.value(key) is None else self.text(key)

    def error(self, problem: str) -> ValueError:
        """Make an error that names the place of this row."""
        return ValueError(f"{self.place}: {problem}")

    def unknown(self, key: str, expected: str) -> ValueError:
        """Make an error for a row without a key, which tells the keys that it has and those of the known forms."""
        present = ", ".join(map(repr, self.content)) or "no keys"
        return self.error(f"{key}: missing; the row has {present}; expected {expected}, or a row of theworld evaluate")

    def value(self, key: str) -> Any:
        """Return the value of a key.

        Raises:
            ValueError: if the key is missing.
        """
        if key not in self.content:
            raise self.error(f"{key}: missing; the row has {', '.join(map(repr, self.content)) or 'no keys'}")
        return self.content[key]


def read_rows(path: Path) -> Iterator[Record]:
    """Read the rows of a JSONL file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: names the line of a row that is not a JSON object; if there are no rows.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path}: no rows in it: the file is empty; expected one JSON object per line")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Record(_parsed(line, place), place)


def read_object(path: Path) -> dict[str, Any]:
    """Read the object of a JSON file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not JSON, or not an object.
    """
    return Record(_parsed(path.read_bytes(), str(path)), str(path)).content


def prediction(sample_id: str, reply: str | None, answer: str, **rest: Any) -> Prediction:
    """Make a row of predictions from a saved reply; without a reply, an error row, which no share counts."""
    error = "no reply is saved" if reply is None else None
    return Prediction(
        sample_id=sample_id,
        answer=answer,
        prediction=reply,
        error=error,
        prompt_hash="",  # unknown: the prompt is not saved
        **{"question": "", **rest},
    )


_OWN_KEYS: Final = frozenset({"sample_id", "prompt_hash"})
_PREDICTION: Final = TypeAdapter(Prediction)


def own_row(record: Record, benchmark: str, field: str) -> Prediction | None:
    """Return a row that `theworld evaluate` wrote, or lmms-eval for one of our tasks; None for another form.

    Args:
        record: a row of a file.
        benchmark: name of the benchmark that the row must belong to.
        field: name of a field that its rows have.

    Raises:
        ValueError: names the record: a damaged row, or one of another benchmark.
    """
    # lmms-eval logs the row under the name of each metric
    contents = (record.content, *(value for value in record.content.values() if isinstance(value, dict)))
    content = next((content for content in contents if content.keys() >= _OWN_KEYS), None)
    if content is None:
        return None
    try:
        row = _PREDICTION.validate_json(json.dumps(content))
    except ValidationError as error:
        reason = error.errors()[0]
        raise record.error(f"{'.'.join(map(str, reason['loc'])) or 'row'}: {reason['msg']}") from None
    if row.fields.get("benchmark", benchmark) != benchmark or field not in row.fields:
        known = row.fields.get("benchmark")
        other = f"of {known}" if known not in (None, benchmark) else f"without the field {field!r}"
        raise record.error(f"a row {other}; expected one of {benchmark}")
    if row.answer is None:
        raise record.error(f"{row.sample_id!r}: the answer is withheld, so there is nothing to score against")
    return row


def require_distinct(predictions: Mapping[str, Any], sample_id: str, record: Record) -> None:
    """Refuse an id that occurs twice in a file.

    Raises:
        ValueError: names the line of the second.
    """
    if sample_id in predictions:
        raise record.error(f"{sample_id!r} is in the file already")


def _parsed(text: bytes, place: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unique_names)
    except RecursionError:
        raise ValueError(f"{place}: nested too deeply") from None
    except ValueError as error:  # also for bytes that are not UTF-8
        raise ValueError(f"{place}: not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


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


def rate(scores: Sequence[Score], clusters: Sequence[str] | None = None) -> Rate:
    """Count the scores of a group.

    Args:
        scores: of its items.
        clusters: a label for each item: the bootstrap resamples equal ones together. None: each item for itself.
    """
    states = Counter(score.state for score in scores)
    values = [score.value for score in scores if score.value is not None]
    if clusters is not None:
        clusters = [label for label, score in zip(clusters, scores, strict=True) if score.value is not None]
    num_right = states["right"]
    return Rate(
        num_items=len(scores),
        num_right=num_right,
        num_unparsed=states["unparsed"],
        num_missing=states["missing"],
        value=num_right / len(values) if values else None,
        wilson=wilson_interval(num_right, len(values)) if values else None,
        bootstrap=bootstrap_mean(values, clusters) if values else None,
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
