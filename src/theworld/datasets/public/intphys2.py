"""IntPhys 2 (arXiv 2506.09849): videos that are physically possible or not, in scenes of two matched pairs.

`Main/metadata.csv` and `Debug/metadata.csv` name the videos: `SceneIndex, name, file_name, type, condition, Camera,
Difficulty`; the authors' code calls `name` also `filename`, and Main also `Test`. A video of `type` 1_Possible is
matched with 1_Impossible, as the names suggest. Debug holds three generations of each scene; the authors' runners take
the first video of each type, and so does the reader. `HeldOut/metadata.csv` is unseen: it is read if it names videos.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem
from theworld.datasets.records import short

TYPES: Final = ("1_Possible", "1_Impossible", "2_Possible", "2_Impossible")
SUBSETS: Final = ("Main", "Debug")
POSSIBLE: Final = ("yes", "no")

_FORMER = {"Main": "Test"}
_QUESTION = (
    "A simulator made this video. Does everything that the objects do in it agree with the laws of physics on Earth? Do"
    " not judge the quality of the pictures or the frame rate."
)
_ENDING = "Answer with yes or no."


def read(source: str | Path, subset: str = "Main") -> list[ChoiceItem]:
    """Read the videos of a set.

    Args:
        source: the unpacked data set.
        subset: `Main`, `Debug`, or `HeldOut`, whose answers are withheld.

    Raises:
        ValueError: for an unknown set, or a folder without its metadata.
        RecordError: malformed, for a row of another form.
    """
    folders = [Path(source) / name for name in (subset, _FORMER.get(subset)) if name]
    folder = next((folder for folder in folders if (folder / "metadata.csv").is_file()), None)
    if folder is None:
        raise ValueError(f"data.source={source}: no metadata.csv in {' or '.join(map(str, folders))}")
    path = folder / "metadata.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path}: no rows in it")
    items = [_item(row, f"{path}, row {number}", folder, subset) for number, row in enumerate(rows, start=1)]
    return _first_of_each(items) if subset == "Debug" else items


def _item(row: Mapping[str, str], name: str, folder: Path, subset: str) -> ChoiceItem:
    is_labelled = subset != "HeldOut"
    key = next((key for key in ("name", "filename") if row.get(key)), None)
    needed = ("file_name", *(("SceneIndex", "type", "condition") if is_labelled else ()))
    missing = [column for column in needed if not row.get(column)] + ([] if key else ["name"])
    if key is None or missing:
        columns = ", ".join(str(column) for column in row)
        raise RecordError("malformed", f"{name}: no {', '.join(missing)}; the columns are {columns}")
    fields: dict[str, str] = {"benchmark": "intphys2", "video": row["file_name"]}
    if is_labelled:
        if row["type"] not in TYPES:
            raise RecordError("malformed", f"{name}: type {short(row['type'])}: expected one of {', '.join(TYPES)}")
        fields |= {"task": row["condition"], "scene": row["SceneIndex"], "type": row["type"]}
        fields["pair"] = f"{row['SceneIndex']}/{row['type'][0]}"
        for column in ("Camera", "Difficulty"):
            if row.get(column):
                fields[column.lower()] = row[column]
    return ChoiceItem(
        id=row[key],
        question=_QUESTION,
        options=POSSIBLE,
        answer=("no" if "Impossible" in row["type"] else "yes") if is_labelled else None,
        media=(path_in(folder, row["file_name"], name),),
        fields=fields,
        ending=_ENDING,
        form="listed",
    )


def _first_of_each(items: list[ChoiceItem]) -> list[ChoiceItem]:
    """Return the first video of each scene and type."""
    first: dict[tuple[str, str], ChoiceItem] = {}
    for item in items:
        first.setdefault((str(item.fields["scene"]), str(item.fields["type"])), item)
    return list(first.values())
