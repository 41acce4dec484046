"""Visual Spatial Reasoning: accuracy on true or false statements about pictures, by relation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from theworld.config.evaluation import VsrScoreSettings
from theworld.datasets.public.vsr_relations import meta_category
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks.saved_replies import (
    Rate,
    Record,
    own_row,
    prediction,
    rate,
    rate_table,
    read_rows,
    require_distinct,
    summary_table,
)
from theworld.evaluation.parsing.text import plain
from theworld.evaluation.parsing.yes_no import says_yes
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, normalise
from theworld.evaluation.summary import Summary, summarise
from theworld.tables import Table

_BIT = re.compile(r"\W*(?:answer\s*(?:\([^)\n]*\))?\W+|label\W+)?(?P<bit>1+|0+)(?![\w/]|[.,:]\d)", re.IGNORECASE)
"""`1`, `0.`, `Answer: 1`; also `1111`, from models that were trained on bits and do not stop."""


_IN_SHORT = {"t": True, "y": True, "right": True, "f": False, "n": False}
_DENIED = {"contains": "does not contain", "has": "does not have", "consists": "does not consist"}
_VERB = re.compile(rf"\b(?:is|are|{'|'.join(_DENIED)})\b")
_OPEN = re.compile(r"\b(?:whether|if|not|unclear|cannot|can't)\b[^.]*\Z")
"""Words before a statement that leave it open."""


@dataclass(frozen=True)
class VsrScores:
    """Scores of VSR."""

    overall: Summary
    """Accuracy, balanced accuracy, majority, and shares of `true` among answers and replies."""
    meta_categories: dict[str, Rate]
    """Rates of the seven kinds of relation; empty if the rows do not name them."""
    relations: dict[str, Rate]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Show all statements, then each relation."""
        return [
            summary_table("VSR", "statements", self.overall, "true"),
            rate_table("By relation", "relation", self.relations),
        ]


def says_true(reply: str, statement: str) -> bool | None:
    """Return True if a reply calls a statement true, False if it calls it false, None if neither or both.

    A reply may be `1` or `0`, words of assent or denial, or the statement itself, with or without a `not`.
    """
    bit = _BIT.match(plain(reply))
    if bit is not None:
        return bit["bit"][0] == "1"
    normal = normalise(plain(reply))
    if normal in _IN_SHORT:
        return _IN_SHORT[normal]
    affirms = says_yes(reply)
    if affirms is not None:
        return affirms
    statement = normalise(statement)
    place = normal.find(statement) if statement else -1
    if place >= 0:
        return None if _OPEN.search(normal[:place]) else True
    denied = _VERB.sub(lambda verb: _DENIED.get(verb[0], f"{verb[0]} not"), statement, count=1)
    return False if denied != statement and denied in normal.replace("n't", " not") else None


def score(row: Prediction) -> Score:
    """Score a row with the answer `true` or `false`; the statement is its field `statement`, or else its question.

    Raises:
        ValueError: for another answer.
    """
    if row.answer not in ("true", "false"):
        raise ValueError(f"sample {row.sample_id!r}: answer {row.answer!r}; expected true or false")
    if row.log_likelihoods is not None:
        return scoring.score(row)
    if row.prediction is None:
        return Score(row.sample_id, "missing", None, row.answer)
    affirms = says_true(row.prediction, str(row.fields.get("statement", row.question)))
    if affirms is None:
        return Score(row.sample_id, "unparsed", None, row.answer)
    reading = "true" if affirms else "false"
    return Score(row.sample_id, "right" if reading == row.answer else "wrong", reading, row.answer)


def evaluate(rows: Sequence[Prediction]) -> VsrScores:
    """Score rows, which have the field `relation`.

    Raises:
        ValueError: without rows, or as `score`.
    """
    scores = {row.sample_id: score(row) for row in rows}
    return VsrScores(
        overall=summarise(rows, scorer=lambda row: scores[row.sample_id]),
        meta_categories=_rates(rows, scores, "meta_category"),
        relations=_rates(rows, scores, "relation"),
    )


def evaluate_files(settings: VsrScoreSettings) -> VsrScores:
    """Score saved replies.

    Raises:
        OSError: if a file cannot be read.
        ValueError: as `read`.
    """
    return evaluate(read(settings.annotations, settings.predictions))


def _rates(rows: Sequence[Prediction], scores: Mapping[str, Score], name: str) -> dict[str, Rate]:
    """Compute the rate of each value of a field, the most frequent value first."""
    groups: dict[str, list[Score]] = {}
    for row in rows:
        if name in row.fields:
            groups.setdefault(str(row.fields[name]), []).append(scores[row.sample_id])
    return {
        value: rate(members) for value, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    }


def read(annotations: Path | None, predictions: Path) -> list[Prediction]:
    """Read annotations and the replies to them, matched by picture and caption.

    Rows of `theworld evaluate` hold their annotations, and need no file of them.

    Args:
        annotations: a split of github.com/cambridgeltl/visual-spatial-reasoning, `data/splits/*/*.jsonl`; None: the
            replies are rows of `theworld evaluate`.
        predictions: rows of image, caption and prediction, or of `theworld evaluate`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the line: no JSON, a missing key, an invalid label, a reply without an annotation, a second
            reply; or gives the number of annotations without a reply.
    """
    replies: dict[str, str | None] = {}
    places: dict[str, Record] = {}
    own: dict[str, Prediction] = {}
    for record in read_rows(predictions):
        row = own_row(record, "vsr", "relation")
        if row is None and annotations is None:
            raise record.unknown("annotations", "--annotations with rows of image, caption and prediction")
        if row is None and not {"image", "caption"} <= record.content.keys():
            raise record.unknown("image and caption", "image, caption and prediction")
        sample_id = _sample_id(record) if row is None else row.sample_id
        require_distinct(replies, sample_id, record)
        replies[sample_id] = record.reply("prediction") if row is None else row.prediction
        places[sample_id] = record
        if row is not None:
            own[sample_id] = row
    if annotations is None:
        return list(own.values())
    rows: dict[str, Prediction] = {}
    absent: list[Record] = []
    for record in read_rows(annotations):
        sample_id = _sample_id(record)
        require_distinct(rows, sample_id, record)
        row = annotated(record, replies.get(sample_id))
        if sample_id not in replies:
            absent.append(record)
            continue
        if sample_id in own and own[sample_id].answer != row.answer:
            raise places[sample_id].error(f"answer: {own[sample_id].answer!r}; {record.place} has {row.answer!r}")
        rows[sample_id] = own.get(sample_id, row)
    strangers = [sample_id for sample_id in replies if sample_id not in rows]
    if strangers:
        raise places[strangers[0]].error(f"{strangers[0]!r} is no annotation of {annotations}")
    if absent:
        raise ValueError(f"{predictions}: no reply to {len(absent)} annotations, the first of them {absent[0].place}")
    return list(rows.values())


def annotated(record: Record, reply: str | None) -> Prediction:
    """Make a row from an annotation and the reply to it.

    Raises:
        ValueError: names the record: a missing key, an invalid label.
    """
    label = record.content.get("label")
    if label not in (0, 1):
        raise record.error(f"label: {label!r}; expected 0 or 1")
    return prediction(
        _sample_id(record),
        reply,
        "true" if label else "false",
        question=record.text("caption"),
        choices=("true", "false"),
        fields={"relation": record.text("relation"), "meta_category": meta_category(record.text("relation"))},
    )


def _sample_id(record: Record) -> str:
    return f"{record.text('image')}: {record.text('caption')}"
