"""FutureBench (arXiv 2505.22457): events that follow the first part of a video, by number of hops.

`futurebench.json` is unseen; its rows follow from the code that reads them (github.com/sail-sg/Video-Next-Event-
Prediction): `{"id", "video_path": ".../video_dataset/SOURCE/NAME.mp4", "question_type": "hop1", "qa": {"Question",
"Options": {"A": ...}, "Answer": "B"}}`. The models see the same path below `first_part_video/`; the later part of the
video is never read. `hop5` is the column Interp. of the paper, an event between two given ones; the exact definitions
of the hops are unseen, and so is the number of items.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem, lettered
from theworld.datasets.public.parquet_json import read_rows, require
from theworld.datasets.records import id_of, short, text_of

HOPS: Final[Mapping[str, str]] = {"hop1": "1-hop", "hop2": "2-hop", "hop3": "3-hop", "hop5": "interpolation"}
"""Values of `question_type`, and the columns of the paper's table."""

_WHOLE = "video_dataset/"
_FIRST_PARTS = "first_part_video"


def read(source: str | Path) -> list[ChoiceItem]:
    """Read the items of a folder with `futurebench.json` and `first_part_video/`.

    Raises:
        ValueError: for a folder without the file, or a file of another form.
        RecordError: malformed, for a row of another form, such as one of an unknown number of hops.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(
            f"data.source={source}: no such folder; expected one with futurebench.json and {_FIRST_PARTS}/"
        )
    rows = read_rows(folder, ("futurebench.json",))
    return [_item(row, f"futurebench.json, row {number}", folder, number) for number, row in enumerate(rows)]


def _item(row: Mapping[str, Any], name: str, folder: Path, number: int) -> ChoiceItem:
    require(row, ("video_path", "question_type", "qa"), "FutureBench")
    hops = row["question_type"]
    if hops not in HOPS:
        raise RecordError("malformed", f"{name}: question_type {short(hops)}: expected one of {', '.join(HOPS)}")
    qa = row["qa"]
    if not isinstance(qa, Mapping) or not {"Question", "Options", "Answer"} <= qa.keys():
        raise RecordError("malformed", f"{name}: qa {short(qa)}: expected an object of Question, Options and Answer")
    options, answer = lettered(qa["Options"], qa["Answer"], name)
    path = text_of(row, "video_path", name)
    if _WHOLE not in path:
        raise RecordError("malformed", f"{name}: video_path {short(path)}: expected a path below {_WHOLE}")
    video = path.split(_WHOLE, 1)[1]
    return ChoiceItem(
        id=id_of(row.get("id"), number),
        question=without_options(text_of(qa, "Question", name), options),
        options=options,
        answer=answer,
        media=(path_in(folder / _FIRST_PARTS, video, name),),
        fields={"benchmark": "futurebench", "task": HOPS[hops], "video": video},
    )


def without_options(text: str, options: tuple[str, ...]) -> str:
    """Remove a list of the options, `A) ... D)`, that some questions end with: the prompt lists them once."""
    place = text.rfind(f"A) {options[0]}")
    listed = text[place:] if place > 0 else ""
    return text[:place].strip() if listed and all(option in listed for option in options) else text.strip()
