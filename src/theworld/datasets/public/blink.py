"""BLINK (arXiv 2404.12390): multiple choice about one to four pictures, in 14 tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from theworld.config.renamed import did_you_mean
from theworld.datasets.errors import RecordError
from theworld.datasets.images import picture_in
from theworld.datasets.public.parquet_json import Row, RowSamples, column, read_rows, require
from theworld.datasets.records import short, text_of
from theworld.datasets.sample import Sample, question

REPOSITORY: Final = "BLINK-Benchmark/BLINK"

TASKS: Final = (
    "Art_Style",
    "Counting",
    "Forensic_Detection",
    "Functional_Correspondence",
    "IQ_Test",
    "Jigsaw",
    "Multi-view_Reasoning",
    "Object_Localization",
    "Relative_Depth",
    "Relative_Reflectance",
    "Semantic_Correspondence",
    "Spatial_Relation",
    "Visual_Correspondence",
    "Visual_Similarity",
)
"""The configurations of the repository."""

_HIDDEN = "hidden"  # answer of every row in the test split
_MOST_IMAGES = 5
_LETTERS = "ABCDE"


class BlinkDataset(RowSamples):
    """Samples of BLINK: the prompt verbatim, after all pictures of the item; the answer is a letter such as `(B)`.

    Args:
        source: hub id, or a folder in its layout: `TASK/val-00000-of-00001.parquet`. In a folder, rows may name their
            pictures by paths that start from it and stay in it.
        split: `val`, or `test`, whose answers are withheld.
        tasks: of the 14; default: all.
        size: number of items, from the first; None: all.
        revision: commit of the hub repository.

    Raises:
        ValueError: for an unknown task, or files that cannot be fetched or read.
    """

    def __init__(
        self,
        source: str | Path = REPOSITORY,
        split: Literal["val", "test"] = "val",
        tasks: Sequence[str] = TASKS,
        size: int | None = None,
        revision: str | None = None,
    ) -> None:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or len(set(tasks)) < len(tasks):
            meant = did_you_mean(unknown[0], TASKS) if unknown else ""
            raise ValueError(f"BLINK tasks {', '.join(tasks)}: expected some of {', '.join(TASKS)}, each once{meant}")
        self._folder = Path(source) if Path(source).is_dir() else None
        items: list[tuple[str, Sequence[Row], int]] = []
        ids: list[Any] = []
        for task in tasks:
            rows = read_rows(source, (f"{task}/{split}-*.parquet", f"{task}/{split}.jsonl"), revision)
            items += [(task, rows, index) for index in range(len(rows))]
            ids += column(rows, "idx")
        super().__init__(items, size, ids)

    def _sample(self, row: tuple[str, Sequence[Row], int]) -> Sample:
        task, table, place = row
        item = table[place]
        require(item, ("idx", "prompt", "choices", "answer", "image_1"), f"BLINK {task}")
        name = f"BLINK {task}, row {place}"
        id, prompt, answer = (text_of(item, key, name) for key in ("idx", "prompt", "answer"))
        choices = item["choices"]
        if not isinstance(choices, list) or not 1 <= len(choices) <= len(_LETTERS):
            raise RecordError("malformed", f"{name}: choices {short(choices)}: expected one to {len(_LETTERS)}")
        if not all(isinstance(choice, str) for choice in choices):
            raise RecordError("malformed", f"{name}: choices {short(choices)}: expected texts")
        return question(
            id,
            _pictures(item, name, self._folder),
            prompt,
            None if answer == _HIDDEN else answer,
            fields={
                "benchmark": "blink",
                "task": task,
                "choices": tuple(f"({letter})" for letter in _LETTERS[: len(choices)]),
            },
        )


def _pictures(item: Row, name: str, folder: Path | None) -> list[Any]:
    """The pictures of an item; the first one is required. Paths start from `folder`, and stay in it."""
    pictures: list[Any] = []
    for number in range(1, _MOST_IMAGES + 1):
        key = f"image_{number}"
        stored = item.get(key)
        if stored is None and number > 1:
            continue
        picture = picture_in(folder, stored, f"{name}: {key}")
        if picture is None:
            raise RecordError("missing picture", f"{name}: {key}: no picture")
        if not isinstance(picture, bytes | Path):
            raise RecordError("malformed", f"{name}: {key} {short(picture)}: expected a picture")
        pictures.append(picture)
    return pictures
