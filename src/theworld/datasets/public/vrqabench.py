"""VRQABench (arXiv 2606.03603): moves through mazes and Sokoban puzzles, asked of the first picture alone.

One JSON file a sample, `VRBench-Spatial-v2/SPLIT/questions/VRB_CATEGORY_0001.json`, whose name is its id; pictures lie
below `SPLIT/`. The schema follows from the authors' scorer (github.com/yczhou001/PF-OPSD) and card. The options were
shuffled once and the answer found again by `correct_value`, so a sample whose answer disagrees with it is refused.
"""

import re
from pathlib import Path
from typing import Final

from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem, json_object, lettered, numbered
from theworld.datasets.records import short, text_of

TASKS: Final = ("maze", "irregular_maze", "sokoban")
CATEGORIES: Final = (
    "C1_turn_count",
    "C2_turn_direction",
    "C4_sokoban_push",
    "C5_direction_count",
    "C6_push_dir_count",
)
"""There is no C3."""

_NAME = re.compile(r"VRB_.+_\d+")


def read(source: str | Path, split: str = "test") -> list[ChoiceItem]:
    """Read the samples of a split, in the order of their names.

    Args:
        source: the unpacked data set, or its folder `VRBench-Spatial-v2`.
        split: `train` or `test`.

    Raises:
        ValueError: for a folder without samples.
        RecordError: malformed, for a sample of another form.
    """
    folders = [Path(source) / "VRBench-Spatial-v2" / split, Path(source) / split]
    folder = next((folder for folder in folders if any(folder.glob("questions/*.json"))), None)
    if folder is None:
        raise ValueError(f"data.source={source}: no questions/ in {' or '.join(map(str, folders))}")
    return [_item(path, folder) for path in numbered([*folder.glob("questions/*.json")])]


def _item(path: Path, folder: Path) -> ChoiceItem:
    name = str(path)
    if not _NAME.fullmatch(path.stem):
        raise RecordError("malformed", f"{name}: expected a name such as VRB_C1_turn_count_0001.json")
    row = json_object(path, ("category", "task_type", "question", "options", "answer", "correct_value", "input_image"))
    for key, values in (("category", CATEGORIES), ("task_type", TASKS)):
        if row[key] not in values:
            raise RecordError("malformed", f"{name}: {key} {short(row[key])}: expected one of {', '.join(values)}")
    options, answer = lettered(row["options"], row["answer"], name)
    if answer != str(row["correct_value"]).strip():
        raise RecordError(
            "malformed", f"{name}: the answer is {short(answer)}, and correct_value {short(row['correct_value'])}"
        )
    picture = text_of(row, "input_image", name)
    return ChoiceItem(
        id=path.stem,
        question=text_of(row, "question", name),
        options=options,
        answer=answer,
        media=(path_in(folder, picture, name),),
        fields={
            "benchmark": "vrqabench",
            "category": row["category"],
            "task": row["task_type"],
            "image": picture,
        },
    )
