"""SAT, Spatial Aptitude Training (arXiv 2412.07755): its real test, movements and actions between two pictures.

Rows in Parquet, in three published layouts: `array/SAT` (`SAT_test.parquet`, column `image_bytes`), `array/SAT-v2`
(`data/test-*`, column `images`) and `nv-njb/SAT`, which has `correct_answer_idx`, too; the name of its column of
pictures is unseen, and any of `image_bytes`, `images` and `image` is read. Question texts repeat, so an item is its row
number. The authors shuffle the two options anew without a seed; here the order follows from the row's number.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theworld.datasets.errors import RecordError
from theworld.datasets.images import picture_in
from theworld.datasets.public.choice_items import ChoiceItem
from theworld.datasets.public.parquet_json import read_rows, require
from theworld.datasets.records import short, text_of

REPOSITORY: Final = "nv-njb/SAT"

_LAYOUTS = ("SAT_test.parquet", "data/test-*.parquet", "*test*.parquet", "test.jsonl")
_PICTURES = ("image_bytes", "images", "image")
_START_AND_END = "The first picture is the start of a video, the second its end. "


def read(source: str | Path | None = None, revision: str | None = None) -> list[ChoiceItem]:
    """Read the items of the test.

    Args:
        source: hub id, folder in the layout of one of the repositories, or file; None: `REPOSITORY`.
        revision: commit of the hub repository.

    Raises:
        ValueError: for files that cannot be fetched or read.
        RecordError: malformed, for a row of another form.
    """
    folder = Path(source) if source is not None and Path(source).is_dir() else None
    rows = read_rows(source or REPOSITORY, _LAYOUTS, revision)
    return [_item(row, number, folder) for number, row in enumerate(rows)]


def _item(row: Mapping[str, Any], number: int, folder: Path | None) -> ChoiceItem:
    require(row, ("question", "answers", "correct_answer", "question_type"), "SAT")
    name = f"SAT, row {number}"
    options = row["answers"]
    if not isinstance(options, list) or len(set(map(str, options))) < max(len(options), 2):
        raise RecordError("malformed", f"{name}: answers {short(options)}: expected two different texts")
    if not all(isinstance(text, str) and text.strip() for text in options):
        raise RecordError("malformed", f"{name}: answers {short(options)}: expected texts")
    answer = row["correct_answer"]
    if answer not in options:
        raise RecordError("malformed", f"{name}: correct_answer {short(answer)}: expected one of {short(options)}")
    place = row.get("correct_answer_idx", options.index(answer))
    if place != options.index(answer):
        raise RecordError("malformed", f"{name}: correct_answer_idx {short(place)}, and the answer {short(answer)}")
    media = _pictures(row, name, folder)
    kind = text_of(row, "question_type", name)
    opening = _START_AND_END if kind == "ego_movement" and len(media) == 2 else ""
    return ChoiceItem(
        id=f"test-{number}",
        question=opening + text_of(row, "question", name),
        options=tuple(options),
        answer=str(answer),
        media=media,
        fields={"benchmark": "sat", "task": kind},
        ending="Answer with one of them, word for word.",
        form="texts",
    )


def _pictures(row: Mapping[str, Any], name: str, folder: Path | None) -> tuple[Any, ...]:
    key = next((key for key in _PICTURES if row.get(key) is not None), None)
    if key is None:
        raise RecordError("missing picture", f"{name}: no {', '.join(_PICTURES)}; the row has {', '.join(row)}")
    values = row[key] if isinstance(row[key], list) else [row[key]]
    if not 1 <= len(values) <= 2:
        raise RecordError("malformed", f"{name}: {key}: {len(values)} pictures; expected 1 or 2")
    return tuple(picture_in(folder, value, f"{name}: {key}") for value in values)
