"""OpenWorldQA (arXiv 2606.03603): physical futures of one frame of a video, in twelve categories.

One JSON file a sample in `OpenWorldQA_split/SPLIT/`, and frames `frames/VIDEO/frame_001.jpg`, ... The models see the
anchor frame alone. The schema follows from the authors' scorer (github.com/yczhou001/PF-OPSD) and card; the folder that
`video_path` starts from is unseen: the reader looks in the split's folder, its parent, and the parent of that. Samples
without a category take it from their id, without a difficulty they count as Hard, as in the scorer.
"""

import re
from pathlib import Path
from typing import Any, Final

from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem, json_object, lettered, numbered
from theworld.datasets.records import id_of, short, text_of

CATEGORIES: Final = (
    "C1_fit_clearance",
    "C2_spatial",
    "C3_containment",
    "C4_support",
    "C5_friction",
    "C6_inertia",
    "C7_fluidity",
    "C8_deformability",
    "C9_tool_use",
    "C10_chain_reaction",
    "C11_process_race",
    "C12_multi_body",
)

_ID = re.compile(r"[A-Za-z]+_(C\d+_\w+?)_\d+")


def read(source: str | Path, split: str = "test") -> list[ChoiceItem]:
    """Read the samples of a split, in the order of their names.

    Args:
        source: the unpacked data set, or its folder `OpenWorldQA_split`.
        split: `train` or `test`.

    Raises:
        ValueError: for a folder without samples.
        RecordError: malformed, for a sample of another form.
    """
    folders = [Path(source) / "OpenWorldQA_split" / split, Path(source) / split]
    folder = next((folder for folder in folders if any(folder.glob("*.json"))), None)
    if folder is None:
        raise ValueError(f"data.source={source}: no {' or '.join(map(str, folders))} with a JSON file for each sample")
    return [_item(path, folder) for path in numbered([*folder.glob("*.json")])]


def _item(path: Path, folder: Path) -> ChoiceItem:
    row = json_object(path, ("question", "options", "answer", "anchor_frame", "video_path"))
    name = str(path)
    id = id_of(row.get("sample_id"), path.stem)
    options, answer = lettered(row["options"], row["answer"], name)
    frame = text_of(row, "anchor_frame", name)
    picture = f"{text_of(row, 'video_path', name).rstrip('/')}/{frame if frame.endswith('.jpg') else f'{frame}.jpg'}"
    places = [path_in(place, picture, name) for place in (folder, folder.parent, folder.parent.parent)]
    return ChoiceItem(
        id=id,
        question=text_of(row, "question", name),
        options=options,
        answer=answer,
        media=(next((place for place in places if place.is_file()), places[-1]),),
        fields={
            "benchmark": "openworldqa",
            "category": _category(row, id, name),
            "difficulty": str(row.get("difficulty") or "Hard"),
            "video": row["video_path"],
        },
    )


def _category(row: dict[str, Any], id: str, name: str) -> str:
    match = _ID.fullmatch(id)
    category = row.get("category") or (match[1] if match else None)
    if category not in CATEGORIES:
        raise RecordError("malformed", f"{name}: category {short(category)}: expected one of {', '.join(CATEGORIES)}")
    return str(category)
