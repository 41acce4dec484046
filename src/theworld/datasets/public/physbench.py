"""PhysBench (arXiv 2501.16411): physics of pictures, videos and both, with four options in the text of the question.

`test.json` is unseen; the keys follow from the code that reads it (github.com/USC-GVL/PhysBench): `idx`, `question`,
`file_name` (list), `mode`, `split`. Questions begin with `<image>` or `<video>` and end with lines `A. ...` to `D.
...`. Pictures lie in `image/`, videos in `video/`. The answers of the 200 validation items are a file of their own,
`val_answer.json` (one of them, idx 1011, is empty: it is left out of validation). Items of the mode `general` have
several files; where their placeholders stand is unseen. Here all files come first and a placeholder becomes "(picture
2)"; an item with another number of placeholders than files is a missing item.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem
from theworld.datasets.public.parquet_json import read_rows, require
from theworld.datasets.records import short, text_of

MODES: Final = ("image-only", "image&video", "general")
CHOICES: Final = ("A", "B", "C", "D")

_ANSWERS = ("val_answer.json", "eval/physbench/val_answer.json")
_FOLDERS = {".mp4": "video", ".jpg": "image", ".png": "image"}
_PLACE = re.compile(r"<(image|video)>\n?")
_ENDING = "Answer with the letter of the right option, A, B, C or D, alone."
_KINDS = {"task_type": "task", "sub_type": "sub_type", "ability_type": "ability"}


def read(source: str | Path, split: str = "val") -> list[ChoiceItem]:
    """Read the items of a folder with `test.json`, `image/` and `video/`.

    Args:
        source: the folder.
        split: `val`, with answers; or `test`, all items, whose answers are withheld.

    Raises:
        ValueError: for a folder without the files, or files of another form.
        RecordError: malformed, for a row of another form.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(f"data.source={source}: no such folder; expected one with test.json, image/ and video/")
    rows = read_rows(folder, ("test.json",))
    answers = read_answers(folder) if split == "val" else {}
    items = [_item(row, f"test.json, row {number}", folder) for number, row in enumerate(rows)]
    if split == "test":
        return items
    known = {item.id: item for item in items}
    absent = [name for name in answers if name not in known]
    if absent:
        raise ValueError(f"{folder}: val_answer.json has idx {absent[0]}, which test.json lacks; expected all of them")
    return [_with_answer(known[name], answer) for name, answer in answers.items()]


def read_answers(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the rows of `val_answer.json` by their idx as text.

    Raises:
        ValueError: without the file.
        RecordError: malformed, for a row of another form.
    """
    path = next((folder / name for name in _ANSWERS if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(
            f"{folder}: no val_answer.json; copy eval/physbench/val_answer.json of github.com/USC-GVL/PhysBench there,"
            " or read the test with --data.validation-split test"
        )
    rows: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(read_rows(path, ())):
        require(row, ("idx", "answer", *_KINDS, "mode"), "PhysBench")
        if row["answer"] not in ("", *CHOICES):
            raise RecordError("malformed", f"{path}, row {number}: answer {short(row['answer'])}: expected A to D")
        rows[str(row["idx"])] = row
    return rows


def _with_answer(item: ChoiceItem, row: Mapping[str, Any]) -> ChoiceItem:
    kinds = {ours: str(row[theirs]) for theirs, ours in _KINDS.items()}
    fields = {**item.fields, **kinds}
    return ChoiceItem(**{**vars(item), "answer": row["answer"], "fields": fields})


def _item(row: Mapping[str, Any], name: str, folder: Path) -> ChoiceItem:
    require(row, ("idx", "question", "file_name", "mode"), "PhysBench")
    if isinstance(row["idx"], bool) or not isinstance(row["idx"], int):
        raise RecordError("malformed", f"{name}: idx {short(row['idx'])}: expected a whole number")
    if row["mode"] not in MODES:
        raise RecordError("malformed", f"{name}: mode {short(row['mode'])}: expected one of {', '.join(MODES)}")
    files = row["file_name"] if isinstance(row["file_name"], list) else [row["file_name"]]
    if not files or not all(isinstance(file, str) and file for file in files):
        raise RecordError("malformed", f"{name}: file_name {short(row['file_name'])}: expected a list of names")
    text = text_of(row, "question", name)
    media = tuple(_path(file, name, folder) for file in files)
    if len(_PLACE.findall(text)) != len(files):
        problem = f"{name}: {len(_PLACE.findall(text))} placeholders for {len(files)} files"
        media = (ImageError(f"{problem}: expected as many"),)
    return ChoiceItem(
        id=str(row["idx"]),
        question=_marked(text, files),
        options=CHOICES,
        answer=None,
        media=media,
        fields={"benchmark": "physbench", "mode": row["mode"], "video": json.dumps(files)},
        ending=_ENDING,
        form="listed",
    )


def _path(file: str, name: str, folder: Path) -> Path | ImageError:
    inner = _FOLDERS.get(Path(file).suffix.lower())
    if inner is None:
        return ImageError(f"{name}: file_name {short(file)}: expected .mp4, .jpg or .png")
    return path_in(folder / inner, file, name)


def _marked(text: str, files: Sequence[str]) -> str:
    """Replace placeholders by the numbers of their files; one file needs none."""
    if len(files) == 1:
        return _PLACE.sub("", text).strip()
    numbers = iter(range(1, len(files) + 1))
    return _PLACE.sub(lambda place: f"({_noun(place[1])} {next(numbers, '?')}) ", text).strip()


def _noun(mark: str) -> str:
    return "picture" if mark == "image" else "video"
