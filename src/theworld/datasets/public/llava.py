"""LLaVA's conversations (arXiv 2304.08485, 2310.03744): pretraining pairs, instructions, and the mixture of 665,000."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theworld.datasets.conversations import num_characters, turns_of, without_pictures
from theworld.datasets.errors import RecordError
from theworld.datasets.held_out import BY_PICTURE, HeldOut, Part
from theworld.datasets.images import path_in, read_picture
from theworld.datasets.public.json_index import IndexedSamples, Measures
from theworld.datasets.records import id_of, media_keys, short
from theworld.datasets.sample import Sample, Turn


class LlavaDataset(IndexedSamples):
    """Samples of a file of LLaVA: a conversation about one picture, several or none.

        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg",
         "conversations": [{"from": "human", "value": "<image>\\nWhat ...?"}, {"from": "gpt", "value": "..."}, ...]}

    `images` means the same as `image`. Rows without both give samples without pictures, unless they have pictures or
    films under another name, such as `image_path` or `video`: these are malformed.

    Args:
        source: the file, such as `llava_v1_5_mix665k.json`.
        image_dir: folder that the rows' paths start from, and may not leave; None: only rows without pictures can be
            read.
        part: as for IndexedSamples.
        size: number of samples, from the first; None: all.
        index_dir: as for IndexedSamples.
        held_out: as for IndexedSamples.

    Raises:
        ValueError: for a file that cannot be read, or an `image_dir` that is not a folder.
    """

    def __init__(
        self,
        source: str | Path,
        image_dir: str | Path | None = None,
        *,
        part: Part | None = None,
        size: int | None = None,
        index_dir: str | Path | None = None,
        held_out: HeldOut = BY_PICTURE,
    ) -> None:
        self.image_dir = None if image_dir is None else Path(image_dir)
        if self.image_dir is not None and not self.image_dir.is_dir():
            raise ValueError(f"image_dir={image_dir}: no such folder; expected the one that the rows' paths start from")
        super().__init__(source, "llava", part, size, index_dir, held_out)

    def _measure(self, row: Any, place: int) -> Measures:
        if not isinstance(row, Mapping):
            return Measures(str(place), 0, 0)
        id = _id(row, place)
        try:
            names = _image_names(row, id)
            return Measures(id, num_characters(_turns(row, id, len(names))), len(names), names[0] if names else "")
        except RecordError:
            return Measures(id, 0, 0)

    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        id = _id(row, place)
        names = _image_names(row, id)
        turns = _turns(row, id, len(names))
        if names and self.image_dir is None:
            raise RecordError("missing picture", f"{id}: {names[0]}: give image_dir, the folder of the pictures")
        folder = self.image_dir or Path()
        pictures = tuple(read_picture(path_in(folder, name, id), id) for name in names)
        return Sample(id=id, turns=turns, images=pictures, fields={"image": ", ".join(names)} if names else {})


def _id(row: Mapping[str, Any], place: int) -> str:
    return id_of(row.get("id"), place)


def _image_names(row: Mapping[str, Any], id: str) -> list[str]:
    if unknown := media_keys(row):
        raise RecordError("malformed", f"{id}: media under {', '.join(unknown)}: expected image, a path or a list")
    value, other = row.get("image"), row.get("images")
    if value is not None and other is not None and _listed(value) != _listed(other):
        raise RecordError("malformed", f"{id}: other paths in image than in images: give one of them")
    names = _listed(other if value is None else value)
    if not all(isinstance(name, str) and name for name in names):
        raise RecordError("malformed", f"{id}: image {short(names)}: expected a path, or a list of paths")
    return names


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _turns(row: Mapping[str, Any], id: str, num_images: int) -> tuple[Turn, ...]:
    turns = turns_of(row.get("conversations"), id, num_images)
    return turns if num_images else without_pictures(turns, id)
