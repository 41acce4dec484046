"""OpenSpatialDataset (arXiv 2406.01584): questions about regions, which are drawn into pictures of OpenImages."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from PIL import Image

from theworld.config.renamed import accept_former_arguments
from theworld.datasets.conversations import num_characters, turns_of
from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.held_out import HeldOut, Part
from theworld.datasets.images import path_in, read_picture
from theworld.datasets.public.json_index import IndexedSamples, Measures
from theworld.datasets.public.spatial_rgpt import Marks, marked_picture
from theworld.datasets.records import id_of, is_encodable, short
from theworld.datasets.regions import as_box
from theworld.datasets.sample import Sample, Turn
from theworld.hub import fetch, refuse_revision

REPOSITORY: Final = "a8cheng/OpenSpatialDataset"
FILE: Final = "result_10_depth_convs.json"

_MASK: Final = "<mask>"
_DEPTH = re.compile(r"\s*<depth>")
_NAMED = re.compile(r"Region \[(\d+)\]")
_MOST_DIGITS: Final = 9
"""Longest number of a region that is read: a longer one names none."""
_REGION = re.compile(rf"{_MASK}|{_NAMED.pattern}")


@dataclass(frozen=True)
class _Regions:
    """The regions of a row, each once, and the number of the region of each `<mask>` in its questions."""

    boxes: list[Any]
    masks: list[Any] | None
    numbers: list[int]


class SpatialRGPTDataset(IndexedSamples):
    """Samples of OpenSpatialDataset: about ten questions about one picture, with their regions drawn into it.

    In the file each `<mask>` of the questions refers to an entry of `bbox` and `rle`, and `Region [n]` in an answer to
    the n-th `<mask>` of its question. Samples draw every region once, and question and answer use its number.

        <mask> <depth> or <mask> <depth>?     Region [0] or Region [1]?      Region [1] is the taller one.
        How wide is <mask> <depth>?           How wide is Region [1]?        Region [0] is ... -> Region [1] is ...

    Args:
        source: hub id, a folder that holds the file, the file, or a split of a Hugging Face data set with its columns,
            whose rows are measured at once.
        image_dir: folder of the pictures of OpenImages V7, `<filename>.jpg`.
        marks: form of the drawn regions, True for boxes; boxes if a row has no masks.
        part: as for IndexedSamples; one sample in a hundred is held out.
        size: number of samples, from the first; None: all.
        index_dir: as for IndexedSamples; it needs as much space as the file, 32 GB.
        revision: commit of the hub repository.

    Raises:
        ValueError: for files that cannot be fetched or read, or an `image_dir` that is not a folder.
    """

    @accept_former_arguments(image_folder="image_dir", draw_bboxes="marks")
    def __init__(
        self,
        source: Any = REPOSITORY,
        *,
        image_dir: str | Path,
        marks: Marks | bool = "boxes",
        part: Part | None = None,
        size: int | None = None,
        index_dir: str | Path | None = None,
        revision: str | None = None,
    ) -> None:
        self.image_dir = Path(image_dir)
        if not self.image_dir.is_dir():
            raise ValueError(f"image_dir={image_dir}: no such folder; expected the one with OpenImages' pictures")
        self.marks: Marks = _form(marks)
        if not isinstance(source, str | Path):
            super().__init__(source, "open-spatial", part, size, index_dir, HeldOut(by="id"))
            return
        path = Path(source)
        if path.exists():
            refuse_revision(path, revision)
        if not path.is_file():
            path = (path if path.is_dir() else fetch(str(source), [FILE], revision, kind="dataset")) / FILE
        super().__init__(path, "open-spatial", part, size, index_dir, HeldOut(by="id"))  # ids are those of pictures

    def _measure(self, row: Any, place: int) -> Measures:
        if not isinstance(row, Mapping):
            return Measures(str(place), 0, 0)
        id = id_of(row.get("filename"), place)
        try:
            return Measures(id, num_characters(_read(row)[0]), 1)
        except RecordError:
            return Measures(id, 0, 1)

    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        turns, regions = _read(row)
        id = row["filename"]
        marks: Marks = "boxes" if regions.masks is None else self.marks
        image = self._picture(id, regions, marks)
        return Sample(id=id, turns=turns, images=(image,), fields={"marks": marks})

    def _picture(self, id: str, regions: _Regions, marks: Marks) -> Image.Image:
        image = read_picture(path_in(self.image_dir, f"{id}.jpg", id), id)
        for box in regions.boxes:
            _check_box(box, image.size, id)
        for mask in regions.masks or ():
            if mask.get("size") != [image.height, image.width]:
                raise RecordError(
                    "wrong region",
                    f"{id}: regions of a picture of size {short(mask.get('size'))}; its picture is"
                    f" {[image.height, image.width]} (height, width)",
                )
        try:
            return marked_picture({"id": id, "image": image, "bbox": regions.boxes, "rle": regions.masks}, marks=marks)
        except ValueError as error:
            raise RecordError("wrong region", f"{id}: {error}") from error


def _read(row: Mapping[str, Any]) -> tuple[tuple[Turn, ...], _Regions]:
    """The turns of a row, with regions by their numbers, and the regions."""
    id = row.get("filename")
    if not isinstance(id, str) or not id or not is_encodable(id):
        raise RecordError("malformed", f"filename {short(id)}: expected the id of a picture of OpenImages")
    turns = turns_of(row.get("conversations"), id, num_images=1)
    regions = _regions(row, sum(turn.text.count(_MASK) for turn in turns if turn.role == "user"), id)
    return _renumbered(turns, regions.numbers, id), regions


def _form(marks: Any) -> Marks:
    """Return the form of drawn regions; `draw_bboxes` of earlier code was True or False."""
    form = "boxes" if marks is True else marks
    if form not in get_args(Marks):
        raise ValueError(f"marks={marks!r}: questions name regions, so they are drawn: expected 'boxes' or 'masks'")
    return form


def _regions(row: Mapping[str, Any], num_asked: int, id: str) -> _Regions:
    boxes, masks = row.get("bbox"), row.get("rle")
    if not isinstance(boxes, list) or not (masks is None or isinstance(masks, list)):
        raise RecordError("malformed", f"{id}: expected lists of bbox and rle")
    if len(boxes) != num_asked or len(boxes if masks is None else masks) != num_asked:
        raise RecordError(
            "wrong region",
            f"{id}: {num_asked} times {_MASK}, {len(boxes)} boxes,"
            f" {'no' if masks is None else len(masks)} masks; expected one per {_MASK}",
        )
    if masks is not None and not all(isinstance(mask, Mapping) for mask in masks):
        raise RecordError("wrong region", f"{id}: masks that are no run-length codes")
    # Regions are equal only if both box and mask are: two objects may share a box.
    keys = [json.dumps([box, None if masks is None else masks[k]], sort_keys=True) for k, box in enumerate(boxes)]
    first = {key: k for k, key in reversed(list(enumerate(keys)))}
    chosen = sorted(first.values())
    numbers = [chosen.index(first[key]) for key in keys]
    return _Regions([boxes[k] for k in chosen], None if masks is None else [masks[k] for k in chosen], numbers)


def _renumbered(turns: Sequence[Turn], numbers: Sequence[int], id: str) -> tuple[Turn, ...]:
    """The turns with `Region [n]` for each mark, where n is the drawn number, and without marks of depth."""
    renamed = []
    end = 0
    in_question: Sequence[int] = ()
    for turn in turns:
        text = turn.text
        if turn.role == "user":
            start, end = end, end + text.count(_MASK)
            in_question = numbers[start:end]
            text = _DEPTH.sub("", text)
        renamed.append(Turn(turn.role, _named(text, in_question, turn.role == "user", id)))
    return tuple(renamed)


def _named(text: str, numbers: Sequence[int], is_question: bool, id: str) -> str:
    """A text with the drawn numbers (`numbers`) of the regions in its question."""
    marks = iter(numbers)
    parts: list[str] = []
    end = 0
    for match in (_REGION if is_question else _NAMED).finditer(text):
        local = match[1]
        place = None if local is None else int(local) if len(local) <= _MOST_DIGITS else len(numbers)
        if place is not None and place >= len(numbers):
            region = match[0] if len(match[0]) < 40 else f"{match[0][:37]}..."
            raise RecordError("wrong region", f"{id}: {region} where its question names {len(numbers)} regions")
        number = next(marks) if place is None else numbers[place]
        parts += [text[end : match.start()], f"Region [{number}]"]
        end = match.end()
    return "".join([*parts, text[end:]])


def _check_box(box: Any, size: tuple[int, int], id: str) -> None:
    """Refuse a value that is not a box, has no area, or lies outside the picture."""
    try:
        left, top, right, bottom = as_box(box)
        is_inside = min(right, size[0]) > max(left, 0) and min(bottom, size[1]) > max(top, 0)
    except ImageError:
        is_inside = False
    if not is_inside:
        raise RecordError(
            "wrong region",
            f"{id}: box {short(box)}: expected left < right and top < bottom, pixels, in a picture of {size[0]} x"
            f" {size[1]}",
        )
