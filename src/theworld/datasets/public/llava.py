"""LLaVA's conversations (arXiv 2304.08485, 2310.03744): pretraining pairs, instructions, and the mixture of 665,000."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from theworld.datasets.conversations import num_characters, turns_of, without_pictures
from theworld.datasets.errors import Cause, RecordError
from theworld.datasets.held_out import BY_PICTURE, HeldOut, Part
from theworld.datasets.images import path_in, read_picture
from theworld.datasets.public.json_index import IndexedSamples, Measures
from theworld.datasets.records import id_of, media_keys, short
from theworld.datasets.row_videos import (
    first_paths,
    listed_videos,
    names_video,
    on_paths,
    paths_of,
    read_videos,
    refuse_both,
)
from theworld.datasets.sample import Sample, Turn
from theworld.datasets.video import ClipRule


class LlavaDataset(IndexedSamples):
    """Samples of a file of LLaVA: a conversation about one picture, several or none, or about a video.

        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg",
         "conversations": [{"from": "human", "value": "<image>\\nWhat ...?"}, {"from": "gpt", "value": "..."}, ...]}

    `images` means the same as `image`. A row has a `video` instead, or `videos`, as LLaVA-Video and LLaMA-Factory write
    it, marked in a question by `<video>` or `<image>`: each becomes a clip for the world model, and its last frame a
    picture for Gemma. Rows without any give samples without pictures, unless they have pictures or videos under another
    name, such as `image_path` or `video_path`: these are malformed.

    Args:
        source: the file, such as `llava_v1_5_mix665k.json`.
        image_dir: folder that the rows' paths, also those of videos, start from, and may not leave; None: only rows
            without them can be read.
        part: as for IndexedSamples.
        size: number of samples, from the first; None: all.
        index_dir: as for IndexedSamples.
        held_out: as for IndexedSamples.
        rule: as for IndexedSamples.

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
        rule: ClipRule | None = None,
    ) -> None:
        self.image_dir = None if image_dir is None else Path(image_dir)
        if self.image_dir is not None and not self.image_dir.is_dir():
            raise ValueError(f"image_dir={image_dir}: no such folder; expected the one that the rows' paths start from")
        super().__init__(source, "llava", part, size, index_dir, held_out, rule=rule)

    def _measure(self, row: Any, place: int) -> Measures:
        if not isinstance(row, Mapping):
            return Measures(str(place), 0, 0)
        id = _id(row, place)
        try:
            names, videos = _media(row, id)
            characters = num_characters(_turns(row, id, len(names), len(videos)))
            return Measures(id, characters, len(names), (names or [*first_paths(videos), ""])[0], len(videos))
        except RecordError:
            return Measures(id, 0, 0)

    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        id = _id(row, place)
        names, videos = _media(row, id)
        turns = _turns(row, id, len(names), len(videos))
        if videos:
            sources = on_paths(lambda path: self._path(path, id, "video"), videos)
            clips, shown = read_videos(sources, self.rule, id)
            fields = {"video": ", ".join(first_paths(videos))}
            return Sample(id=id, turns=turns, images=shown, clips=clips, fields=fields)
        pictures = tuple(read_picture(self._path(name, id, "picture"), id) for name in names)
        return Sample(id=id, turns=turns, images=pictures, fields={"image": ", ".join(names)} if names else {})

    def _path(self, name: str, id: str, noun: Literal["picture", "video"]) -> Path:
        if self.image_dir is None:
            cause: Cause = "missing picture" if noun == "picture" else "missing video"
            raise RecordError(cause, f"{id}: {name}: give image_dir, the folder of the {noun}s")
        return path_in(self.image_dir, name, id, noun)


def _id(row: Mapping[str, Any], place: int) -> str:
    return id_of(row.get("id"), place)


def _media(row: Mapping[str, Any], id: str) -> tuple[list[str], list[Any]]:
    """The paths of the pictures of a row, and of its videos; a list of paths is the frames of one."""
    if unknown := media_keys(row):
        raise RecordError(
            "malformed", f"{id}: media under {', '.join(unknown)}: expected image or video, a path or a list"
        )
    names, videos = (
        _listed(_of_either(row, "image", "images", id)),
        listed_videos(_of_either(row, "video", "videos", id)),
    )
    for noun, paths in (("image", names), ("video", paths_of(videos))):
        if not all(isinstance(path, str) and path for path in paths):
            raise RecordError("malformed", f"{id}: {noun} {short(paths)}: expected a path, or a list of paths")
    films = [name for name in names if names_video(name)]
    names, videos = [name for name in names if not names_video(name)], films + videos
    refuse_both(len(names), len(videos), id)
    return names, videos


def _of_either(row: Mapping[str, Any], key: str, plural: str, id: str) -> Any:
    value, other = row.get(key), row.get(plural)
    if value is not None and other is not None and _listed(value) != _listed(other):
        raise RecordError("malformed", f"{id}: other paths in {key} than in {plural}: give one of them")
    return other if value is None else value


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _turns(row: Mapping[str, Any], id: str, num_images: int, num_videos: int) -> tuple[Turn, ...]:
    turns = turns_of(row.get("conversations"), id, num_images, num_videos)
    return turns if num_images or num_videos else without_pictures(turns, id)
