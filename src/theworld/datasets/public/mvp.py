"""MVP, Minimal Video Pairs (facebook/minimal_video_pairs): one question about two videos with different answers.

Six columns of text: `video_id, video_path, question, answer, candidates, source`; `candidates` is the text of a Python
list of two texts, `answer` one of them. The two rows of a pair share `video_id` without its last part behind `_`, the
question and the candidates. The videos come from nine sources of their own, so you give their folder. The layout of the
files is that of a mirror; no row was seen.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from theworld.config.renamed import did_you_mean
from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.choice_items import ChoiceItem
from theworld.datasets.public.parquet_json import read_rows, require
from theworld.datasets.records import short, text_of

REPOSITORY: Final = "facebook/minimal_video_pairs"
CONFIGURATIONS: Final = (
    "human_object_interactions",
    "robot_object_interactions",
    "intuitive_physics",
    "temporal_reasoning",
)

_COLUMNS = ("video_id", "video_path", "question", "answer", "candidates")


def read(
    source: str | Path | None,
    split: str,
    video_dir: str | Path,
    subsets: Sequence[str] = (),
    revision: str | None = None,
) -> list[ChoiceItem]:
    """Read the rows of some configurations.

    Args:
        source: hub id, or folder of `CONFIGURATION/mini-*.parquet` or `CONFIGURATION/mini.jsonl`; None: the authors'.
        split: `mini` or `full`.
        video_dir: folder that `video_path` starts from.
        subsets: configurations; none: all.
        revision: commit of the hub repository.

    Raises:
        ValueError: for an unknown configuration, or files that cannot be fetched or read.
        RecordError: malformed, for a row or a pair of another form.
    """
    unknown = [name for name in subsets if name not in CONFIGURATIONS]
    if unknown:
        meant = did_you_mean(unknown[0], CONFIGURATIONS)
        raise ValueError(
            f"MVP configurations {', '.join(subsets)}: expected some of {', '.join(CONFIGURATIONS)}{meant}"
        )
    items = []
    for name in subsets or CONFIGURATIONS:
        patterns = (f"{name}/{split}-*.parquet", f"{name}/{split}.jsonl")
        rows = read_rows(source or REPOSITORY, patterns, revision)
        items += [_item(row, name, number, Path(video_dir)) for number, row in enumerate(rows)]
    _check_pairs(items)
    return items


def pair_of(video_id: str) -> str:
    """Return the name that the two rows of a pair share."""
    return video_id.rpartition("_")[0] or video_id


def _item(row: Mapping[str, Any], configuration: str, number: int, folder: Path) -> ChoiceItem:
    require(row, _COLUMNS, "MVP")
    name = f"MVP {configuration}, row {number}"
    options = _candidates(row["candidates"], name)
    answer, video_id = text_of(row, "answer", name), text_of(row, "video_id", name)
    if answer not in options:
        raise RecordError("malformed", f"{name}: answer {short(answer)}: expected one of {short(list(options))}")
    path = text_of(row, "video_path", name)
    return ChoiceItem(
        id=f"{configuration}/{video_id}",
        question=f"Question: {text_of(row, 'question', name)}\nOptions:",
        options=options,
        answer=answer,
        media=(path_in(folder, path, name),),
        fields={
            "benchmark": "mvp",
            "task": configuration,
            "pair": f"{configuration}/{pair_of(video_id)}",
            "video": path,
        },
        ending="Even if you are not sure, answer with one letter, in the form Answer: A or Answer: B.",
    )


def _candidates(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise RecordError("malformed", f"{name}: candidates {short(value)}: not a Python list") from error
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(text, str) for text in value):
        raise RecordError("malformed", f"{name}: candidates {short(value)}: expected a list of two texts")
    if value[0] == value[1]:
        raise RecordError("malformed", f"{name}: candidates {short(value)}: expected two different texts")
    return tuple(value)


def _check_pairs(items: Sequence[ChoiceItem]) -> None:
    """Refuse two rows of a pair that a blind reply could answer alike or that ask differently."""
    first: dict[str, ChoiceItem] = {}
    for item in items:
        other = first.setdefault(str(item.fields["pair"]), item)
        if other is item:
            continue
        if (other.question, other.options) != (item.question, item.options):
            raise RecordError("malformed", f"MVP {other.id} and {item.id}: a pair of two questions; expected one")
        if other.answer == item.answer:
            raise RecordError("malformed", f"MVP {other.id} and {item.id}: a pair with one answer; expected two")
