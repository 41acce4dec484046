"""Saved replies to the benchmarks about the future, and files to submit where the answers are withheld."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from theworld.config.reply_files import ChoiceScoreSettings
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks.choice_scores import RULES, ChoiceScores, evaluate, read_choice, read_possible
from theworld.evaluation.benchmarks.saved_replies import Record, own_row, prediction, read_rows, require_distinct
from theworld.evaluation.predictions import Prediction
from theworld.io import unique_names

_KEYS: Final = {
    "vpct": ("simulation_id", "model_response"),
    "physbench": ("idx", "answer"),
    "intphys2": ("filename", "response"),
}
"""Keys of the id and the reply in a benchmark's own form."""
_GENERAL: Final = ("id", "prediction")
_PARTIAL: Final = ("physbench",)
"""Benchmarks of which a model may leave items out: PhysBench's mode `general`."""


def evaluate_files(settings: ChoiceScoreSettings, name: str) -> ChoiceScores:
    """Score saved replies to a benchmark; several files are samples of one model.

    Raises:
        OSError: if a file cannot be read.
        ValueError: as `read`.
    """
    return evaluate(read(settings, name), RULES[name], settings.official)


def read(settings: ChoiceScoreSettings, name: str) -> list[Prediction]:
    """Read the replies of all files; of several files each row has the fields `item` and `order`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the row: no JSON, a missing key, a reply to no item, a second reply; or gives the number of
            items without a reply.
    """
    items = None if settings.source is None else _items(settings, name)
    several = len(settings.predictions) > 1
    result: list[Prediction] = []
    for number, path in enumerate(settings.predictions):
        for row in _read_file(path, name, items):
            if several:
                item = row.fields.get("item", row.sample_id)
                order = f"{number}/{row.fields['order']}" if "order" in row.fields else number
                fields = {**row.fields, "item": item, "order": order}
                row = replace(row, sample_id=f"{row.sample_id}@{number}", fields=fields)
            result.append(row)
    return result


def _items(settings: ChoiceScoreSettings, name: str) -> dict[str, Prediction]:
    """Return the items of the data set as rows without a reply."""
    from theworld.datasets.public.choice_items import asked
    from theworld.datasets.public.future_sets import SPLITS, Options, read_items

    split = SPLITS[name][settings.split]
    rows = {}
    for entry in asked(read_items(name, settings.source, Options(split))):
        item = entry.item
        if item.answer is None:
            raise ValueError(
                f"{settings.source}: the answers of split {split!r} are withheld: there is nothing to score"
            )
        rows[entry.id] = prediction(
            entry.id,
            None,
            item.right(entry.order) or "",
            question=item.prompt(entry.order),
            choices=item.choices(entry.order) if item.answer else None,
            fields=dict(entry.fields),
        )
    return rows


def _read_file(path: Path, name: str, items: dict[str, Prediction] | None) -> list[Prediction]:
    rows: dict[str, Prediction] = {}
    for record in _records(path):
        row = own_row(record, name, "benchmark") or _row(record, name, items)
        require_distinct(rows, row.sample_id, record)
        rows[row.sample_id] = row
    absent = [sample_id for sample_id in items or () if sample_id not in rows]
    if items is not None and absent and name not in _PARTIAL and any(sample_id in items for sample_id in rows):
        raise ValueError(f"{path}: no reply to {len(absent)} items of the data set, the first of them {absent[0]!r}")
    return list(rows.values())


def _row(record: Record, name: str, items: dict[str, Prediction] | None) -> Prediction:
    """Make a row from a saved reply, and the item that it answers."""
    forms = (_KEYS.get(name, _GENERAL), _GENERAL)
    keys = next((keys for keys in forms if set(keys) <= record.content.keys()), None)
    if keys is None:
        expected = " or ".join(dict.fromkeys(f"{id} and {reply}" for id, reply in forms))
        raise record.unknown(forms[0][0], expected)
    value = record.value(keys[0])
    sample_id = f"sim_{value}" if name == "vpct" and keys[0] != "id" else str(value)
    reply = record.reply(keys[1])
    if items is None and name == "vpct" and "actual_bucket" in record.content:
        return _vpct_row(record, sample_id, reply)
    if items is None:
        raise record.error("a row without its question and answer; give --source, the folder of the data set")
    item = items.get(sample_id)
    if item is None:
        raise record.error(f"{sample_id!r} is no item of the data set")
    return replace(item, prediction=reply, error=None if reply is not None else item.error)


def _vpct_row(record: Record, sample_id: str, reply: str | None) -> Prediction:
    """Make a row from a saved run of VPCT, which holds the true bucket."""
    bucket = str(record.value("actual_bucket"))
    if bucket not in ("1", "2", "3"):
        raise record.error(f"actual_bucket: {bucket!r}; expected 1, 2 or 3")
    return prediction(sample_id, reply, bucket, choices=("1", "2", "3"), fields={"benchmark": "vpct"})


def _records(path: Path) -> Iterator[Record]:
    """Yield the rows of a file: JSONL, a JSON array, an object with `predictions`, or CSV."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield Record(row, f"{path}, line {number}")
        return
    if path.suffix != ".json":
        yield from read_rows(path)
        return
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    rows = content.get("predictions") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: expected a list of rows, or an object with a list under 'predictions'")
    for number, row in enumerate(rows):
        yield Record(row, f"{path}, row {number}")


def physbench_submission(rows: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return the file for PhysBench's server (EvalAI 2461): an idx and a letter each, null for a reply without one."""
    return [{"idx": int(row.sample_id), "answer": _reading(row)} for row in rows]


def intphys2_submission(rows: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return the rows for IntPhys 2's held-out set: true for possible; a reply without a reading counts as impossible.

    Keys and values follow a description alone; the form that the server takes is unseen.
    """
    return [
        {"data_name": "intphys2", "task": "HeldOut", "row_id": row.sample_id, "model_answer": _reading(row) == "yes"}
        for row in rows
    ]


def _reading(row: Prediction) -> str | None:
    if row.log_likelihoods is not None:
        return scoring.likeliest_choice(row)
    if row.prediction is None:
        return None
    is_intphys2 = row.fields.get("benchmark") == "intphys2"
    return (read_possible if is_intphys2 else read_choice)(row.prediction, row)
