"""SpatialRGPT-Bench (arXiv 2406.01584): relations, lengths and directions of marked regions in a picture."""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image

from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.images import path_in, picture_in, to_image
from theworld.datasets.public.parquet_json import Row, RowSamples, column, read_rows, require
from theworld.datasets.records import short, text_of
from theworld.datasets.regions import as_box, decode_mask, draw_regions
from theworld.datasets.sample import Sample, question
from theworld.io import unique_names

REPOSITORY: Final = "a8cheng/SpatialRGPT-Bench"

Marks = Literal["boxes", "masks"]
"""Form of marks: the regions' boxes, or a tint of their masks."""

_LAYOUTS = ("data/val-*.parquet", "SpatialRGPT-Bench_v1.json", "*.jsonl")


class SpatialRGPTBenchDataset(RowSamples):
    """Samples of SpatialRGPT-Bench; regions are drawn into the picture, with the numbers in the question.

    Args:
        source: hub id, a folder in its layout, or its JSON file.
        image_dir: folder of the pictures, if the rows hold none.
        marks: form of the drawn regions; boxes if a row has no masks.
        size: number of items, from the first; None: all.
        revision: commit of the hub repository.

    Raises:
        ValueError: for files that cannot be fetched or read.
    """

    def __init__(
        self,
        source: str | Path = REPOSITORY,
        *,
        image_dir: str | Path | None = None,
        marks: Marks = "boxes",
        size: int | None = None,
        revision: str | None = None,
    ) -> None:
        rows = read_rows(source, _LAYOUTS, revision)
        super().__init__(rows, size, column(rows, "id"))
        self.image_dir = None if image_dir is None else Path(image_dir)
        self.marks: Marks = marks

    def _sample(self, row: Row) -> Sample:
        require(row, ("id", "text_q", "qa_info", "conversations", "bbox"), "SpatialRGPT-Bench")
        id, asked = (text_of(row, key, "SpatialRGPT-Bench") for key in ("id", "text_q"))
        category, kind, answer = _nested_texts(row, id)
        drawn_as = "masks" if self.marks == "masks" and row.get("rle") else "boxes"
        return question(
            id,
            [self._picture(row, drawn_as)],
            asked,
            answer,
            fields={"benchmark": "spatial-rgpt", "category": category, "type": kind, "marks": drawn_as},
        )

    def _picture(self, row: Row, drawn_as: Marks) -> Any:
        """The picture with its regions, or the ImageError of drawing it."""
        try:
            return marked_picture(row, self.image_dir, drawn_as)
        except ValueError as error:  # also of a nested field
            return error if isinstance(error, ImageError) else ImageError(str(error))


def marked_picture(row: Row, image_dir: str | Path | None = None, marks: Marks = "boxes") -> Image.Image:
    """Return the picture of a row with its regions drawn into it.

    Args:
        image_dir: folder of the pictures, if the row holds none; its path may not leave the folder.

    Raises:
        ImageError: for a missing picture, or a region that cannot be drawn.
        ValueError: for a nested field that cannot be read.
    """
    if row.get("image") is not None:
        source = picture_in(None if image_dir is None else Path(image_dir), row["image"], row["id"])
    elif image_dir is None:
        raise ImageError(f"{row['id']}: the row holds no picture; give image_dir, the folder that has them")
    else:
        source = path_in(Path(image_dir), _file_path(row), row["id"])
    image = to_image(source)
    boxes = [as_box(values) for values in _regions(row, "bbox")]
    if marks == "boxes":
        return draw_regions(image, boxes)
    return draw_regions(image, boxes, [decode_mask(mask, (image.height, image.width)) for mask in _regions(row, "rle")])


def _nested_texts(row: Row, id: str) -> tuple[str, str, str]:
    """Category, type and answer of a row."""
    try:
        about, turns = nested(row, "qa_info"), nested(row, "conversations")
        return text_of(about, "category", id), text_of(about, "type", id), text_of(turns[-1], "value", id)
    except (AttributeError, LookupError, TypeError) as error:
        raise RecordError(
            "malformed", f"{id}: qa_info or conversations of another type: expected an object and a list of messages"
        ) from error


def nested(row: Row, name: str) -> Any:
    """Return a nested field; Parquet files hold it as the text of JSON or of a Python literal.

    Raises:
        RecordError: malformed if the text is neither.
    """
    value = row[name]
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=unique_names)
    except (json.JSONDecodeError, RecursionError):
        pass
    except ValueError as error:
        raise RecordError("malformed", f"SpatialRGPT-Bench {row['id']}: {name}: {error}") from error
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise RecordError(
            "malformed",
            f"SpatialRGPT-Bench {row['id']}: {name}: {value[:80]!r}; expected the text of JSON or of a Python literal",
        ) from error


def _regions(row: Row, name: str) -> Sequence[Any]:
    values = nested(row, name)
    if not isinstance(values, list | tuple):
        raise ImageError(f"{row['id']}: {name} {short(values)}: expected a list, one entry per region")
    return values


def _file_path(row: Row) -> str:
    about = nested(row, "image_info") if "image_info" in row else None
    path = about.get("file_path") if isinstance(about, Mapping) else None
    if not isinstance(path, str) or not path:
        raise ImageError(f"{row['id']}: image_info {short(about)}: expected the file_path of its picture")
    return path
