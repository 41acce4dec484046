"""BLINK (arXiv 2404.12390): multiple choice about one to four pictures, in 14 tasks."""

from collections.abc import Sequence
from typing import Final, Literal

from theworld.datasets.images import picture_of
from theworld.datasets.public.parquet_json import Row, RowSamples, read_rows, require
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


class BlinkDataset(RowSamples):
    """Samples of BLINK: the prompt verbatim, after all pictures of the item; the answer is a letter such as `(B)`.

    Args:
        source: hub id, or a folder in its layout: `TASK/val-00000-of-00001.parquet`.
        split: `val`, or `test`, whose answers are withheld.
        tasks: of the 14; default: all.
        size: number of items, from the first; None: all.
        revision: commit of the hub repository.

    Raises:
        ValueError: for an unknown task, or files that cannot be fetched or read.
    """

    def __init__(
        self,
        source: str = REPOSITORY,
        split: Literal["val", "test"] = "val",
        tasks: Sequence[str] = TASKS,
        size: int | None = None,
        revision: str | None = None,
    ) -> None:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or len(set(tasks)) < len(tasks):
            raise ValueError(f"BLINK tasks {', '.join(tasks)}: expected some of {', '.join(TASKS)}, each once")
        items: list[tuple[str, Sequence[Row], int]] = []
        for task in tasks:
            rows = read_rows(source, (f"{task}/{split}-*.parquet", f"{task}/{split}.jsonl"), revision)
            items += [(task, rows, index) for index in range(len(rows))]
        super().__init__(items, size)

    def _sample(self, row: tuple[str, Sequence[Row], int]) -> Sample:
        task, table, place = row
        item = table[place]
        require(item, ("idx", "prompt", "choices", "answer", "image_1"), f"BLINK {task}")
        images = [picture_of(item.get(f"image_{number}")) for number in range(1, _MOST_IMAGES + 1)]
        choices = tuple(f"({letter})" for letter in "ABCDE"[: len(item["choices"])])
        return question(
            item["idx"],
            [image for image in images if image is not None],
            item["prompt"],
            None if item["answer"] == _HIDDEN else item["answer"],
            fields={"benchmark": "blink", "task": task, "choices": choices},
        )
