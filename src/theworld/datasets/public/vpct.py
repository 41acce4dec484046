"""VPCT-1, the Visual Physics Comprehension Test: into which of three buckets does a ball fall?

Three files a problem: `sim_18_initial.png`, the picture; `sim_18_results.json`, `{"duration": 5037, "simId": "18",
"finalBucket": 1}`; and `sim_18.json`, whose content is unseen and which is not read. It is unknown if the numbers start
at 0 or 1: they come from the names of the files. Problems without picture or result are left out, as by the authors'
runner (github.com/camelCase12/vpct-runner).
"""

import re
from pathlib import Path
from typing import Final

from theworld.datasets.errors import RecordError
from theworld.datasets.public.choice_items import ChoiceItem, json_object, numbered
from theworld.datasets.records import short
from theworld.hub import fetch, refuse_revision

REPOSITORY: Final = "camelCase12/vpct-1"

BUCKETS: Final = ("1", "2", "3")
"""Numbers of the buckets, left to right."""

QUESTION: Final = (
    "You are an expert in simulating physics. The picture shows a ball at the start of its fall, lines that it can hit,"
    " and three buckets below, numbered 1, 2 and 3 from left to right. Into which bucket does the ball fall in the end?"
    " Consider the start of the ball, every line and its angle, gravity, and that the ball rolls, and bounces a little."
)
ENDING: Final = "Explain your answer, then end with answer(X), where X is the number of the bucket."

_RESULT = re.compile(r"sim_(\d+)_results\.json")


def read(source: str | Path | None = None, revision: str | None = None) -> list[ChoiceItem]:
    """Read the problems, in the order of their numbers.

    Args:
        source: hub id, or folder of the files; None: the authors' repository.
        revision: commit of the hub repository.

    Raises:
        ValueError: for a source that cannot be fetched, or without a problem.
        RecordError: malformed, for a result of another form.
    """
    folder = Path(source) if source is not None and Path(source).is_dir() else None
    if folder is None:
        patterns = ("sim_*_initial.png", "sim_*_results.json")
        folder = fetch(str(source or REPOSITORY), patterns, revision, kind="dataset")
    else:
        refuse_revision(folder, revision)
    items = [_item(path) for path in numbered([*folder.glob("sim_*_results.json")]) if picture_of(path).is_file()]
    if not items:
        raise ValueError(
            f"{folder}: no problem of VPCT; expected sim_1_initial.png and sim_1_results.json, both for each problem"
        )
    return items


def picture_of(result: Path) -> Path:
    """Return the path of the picture that a result belongs to."""
    return result.with_name(result.name.replace("_results.json", "_initial.png"))


def _item(path: Path) -> ChoiceItem:
    match = _RESULT.fullmatch(path.name)
    if match is None:
        raise RecordError("malformed", f"{path}: expected a name such as sim_18_results.json")
    content = json_object(path, ("simId", "finalBucket"))
    if str(content["simId"]) != match[1]:
        raise RecordError(
            "malformed", f"{path}: simId {short(content['simId'])}: expected {match[1]!r}, as in its name"
        )
    bucket = content["finalBucket"]
    if isinstance(bucket, bool) or bucket not in (1, 2, 3):
        raise RecordError("malformed", f"{path}: finalBucket {short(bucket)}: expected 1, 2 or 3")
    picture = picture_of(path)
    return ChoiceItem(
        id=f"sim_{match[1]}",
        question=QUESTION,
        options=BUCKETS,
        answer=str(int(bucket)),
        media=(picture,),
        fields={"benchmark": "vpct", "image": picture.name},
        ending=ENDING,
        form="listed",
    )
