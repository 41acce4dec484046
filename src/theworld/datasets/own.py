"""Your own pictures or videos, questions and answers: a file of rows, or a folder with one."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image

from theworld.datasets.conversations import checked, num_characters, turns_of, without_marks
from theworld.datasets.errors import RecordError
from theworld.datasets.held_out import BY_PICTURE, HeldOut, Part
from theworld.datasets.images import is_animation, path_in, read_picture
from theworld.datasets.public.json_index import IndexedSamples, Measures
from theworld.datasets.records import answer_text, id_of, short
from theworld.datasets.row_files import SUFFIXES, first_rows, rows_of
from theworld.datasets.row_keys import SCHEMA, RowKeys, choices_of, chosen_answer, guessed_keys
from theworld.datasets.row_videos import (
    first_paths,
    listed_videos,
    names_video,
    nouns,
    on_paths,
    paths_of,
    read_videos,
    refuse_both,
    span_of,
)
from theworld.datasets.sample import Sample, Turn
from theworld.datasets.video import ClipRule

notes = logging.getLogger("theworld.notes")

Split = Literal["train", "validation", "test"]

_NUM_SAMPLED: Final = 200
"""Rows that decide on the keys."""
_NUM_TRIED: Final = 50
"""Pictures of these rows that are looked for when the file is opened."""
_SPLIT_NAMES: Final = {"train": ("train",), "validation": ("validation", "val", "dev", "valid"), "test": ("test",)}
_STEMS: Final = ("metadata", "data", "questions", "annotations")
_MAY_MOVE: Final = (".gif", ".webp", ".png", ".apng")
"""Endings of pictures that may be animations."""
_announced: set[str] = set()


class OwnDataset(IndexedSamples):
    """Samples of a file of your own.

        [{"image": "pictures/1.png", "question": "What falls?", "answer": "the cup"}, ...]      .json, or .jsonl
        image,question,answer                                                                   .csv
        pictures/1.png,What falls?,the cup

    The keys may have other usual names (`row_keys.NAMES`). A row may have several pictures, a whole conversation
    instead of question and answer, `choices`, an `id` and a `category`. The field `image` of a sample names its file.

    A row may have a `video` instead, or several: each becomes a clip for the world model, and its last frame a picture
    for Gemma. `start` and `end`, seconds, name the part of a video that counts. A list of pictures under `video` is
    the frames of one, with `frame_rate` in frames per second. The field `video` of a sample names its file.

    Args:
        source: the file; or a folder with `metadata.jsonl` or `metadata.csv`, or with one for each split, such as
            `train/metadata.jsonl` or `train.json`.
        split: train, validation or test. Without files for splits, some pictures are held out for validation.
        image_dir: folder that the rows' paths start from; None: the file's.
        keys: ROLE=KEY, for keys that their names do not tell.
        size: number of samples, from the first; None: all.
        index_dir: as for IndexedSamples.
        held_out: as for IndexedSamples.
        rule: the frames of a video that the models see; None: the defaults.

    Raises:
        ValueError: on one line, for a source that is no such file, keys that the names do not tell, a split that is
            not there, or pictures or videos that are not there.
    """

    def __init__(
        self,
        source: str,
        split: Split = "train",
        *,
        image_dir: Path | None = None,
        keys: Sequence[str] = (),
        size: int | None = None,
        index_dir: Path | None = None,
        held_out: HeldOut = BY_PICTURE,
        rule: ClipRule | None = None,
    ) -> None:
        if image_dir is not None and not image_dir.is_dir():
            raise ValueError(f"image_dir={image_dir}: no such folder; expected the one that the rows' paths start from")
        path, part = _file_of(Path(source).expanduser(), split)
        self.folder = path.parent if image_dir is None else image_dir
        rows = _sampled(path)
        self.keys: RowKeys = guessed_keys(rows, keys, str(path))
        self._check_files(rows[:_NUM_TRIED], path)
        if (sentence := f"{path}: {self.keys}; {self._nouns} in {self.folder}") not in _announced:
            _announced.add(sentence)
            notes.info("%s", sentence)
        super().__init__(path, f"own: {self.keys}", part, size, index_dir, held_out, partial(rows_of, path), rule)

    @property
    def _nouns(self) -> str:
        return nouns(bool(self.keys.of["image"]), bool(self.keys.of["video"]))

    def _check_files(self, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
        """Refuse a file none of whose first pictures and videos is there: the folder is a wrong one."""
        missing = None
        for place, row in enumerate(rows):
            try:
                names = self._media(row, f"row {place}").names
            except RecordError:
                continue
            if any((self.folder / name).exists() or self.folder.joinpath(*name.split("\\")).exists() for name in names):
                return
            missing = missing or next((self.folder / name for name in names), None)
        if missing is not None:
            raise ValueError(
                f"{path}: none of its first {len(rows)} {self._nouns} is there, such as {missing}; paths start from the"
                " file's folder: set --data.image-dir to another one"
            )

    def _measure(self, row: Any, place: int) -> Measures:
        if not isinstance(row, Mapping):
            return Measures(str(place), 0, 0)
        media, id = _Media(), id_of(None, place)
        characters = 0
        try:
            media = self._media(row, id)
            id = self._id(row, media, place)
            characters = num_characters(self._turns(row, id, media)[0])
        except RecordError:
            pass
        return Measures(id, characters, len(media.images), self._group(media), len(media.videos))

    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        media = self._media(row, f"row {place}")
        id = self._id(row, media, place)
        turns, fields = self._turns(row, id, media)
        name = f"row {place} ({media.names[0]})"
        if media.videos:
            return self._film(row, media.videos, name, Sample(id=id, turns=turns, fields=fields))
        pictures = tuple(self._picture(item, name) for item in media.images)
        return Sample(id=id, turns=turns, images=pictures, fields=fields | {"image": ", ".join(media.images)})

    def _picture(self, path: str, record: str) -> Image.Image:
        """Read a picture; an animation may be meant as a video, or as its first frame, so it is refused."""
        file = self._path(path, record)
        if file.suffix.lower() in _MAY_MOVE and is_animation(file):
            raise RecordError(
                "malformed",
                f"{record}: {path}: an animation in the place of a picture: read its key as a video (--data.keys"
                " video=KEY), or save one of its frames",
            )
        return read_picture(file, record)

    def _film(self, row: Mapping[str, Any], videos: Sequence[Any], name: str, sample: Sample) -> Sample:
        """Add the clips of the videos of a row to its sample."""
        start, end, rate = (self.keys.value(row, role, name) for role in ("start", "end", "frame_rate"))
        span = span_of(start, end, name)
        sources = on_paths(lambda path: self._path(path, name, "video"), videos)
        has_frames = any(isinstance(source, list) for source in sources)
        clips, shown = read_videos(sources, self.rule, name, span, rate if has_frames else None)
        fields: dict[str, Any] = {"video": ", ".join(first_paths(videos))}
        fields |= {} if start is None else {"start": span.start_s}
        fields |= {} if span.end_s is None else {"end": span.end_s}
        return replace(sample, images=shown, clips=clips, fields={**sample.fields, **fields})

    def _id(self, row: Mapping[str, Any], media: "_Media", place: int) -> str:
        return id_of(self.keys.value(row, "id", f"row {place}"), media.names[0] if media.names else place)

    def _media(self, row: Mapping[str, Any], name: str) -> "_Media":
        """The paths of the pictures of a row, or of its videos."""
        value, other = (self.keys.value(row, role, name) for role in ("image", "video"))
        images = value if isinstance(value, list) else [] if value is None else [value]
        videos = listed_videos(other)
        if not images and not videos:
            raise RecordError(
                "missing picture", f"{name}: no picture or video; a text alone teaches nothing about pictures"
            )
        for paths, wanted, given in ((images, "picture", value), (paths_of(videos), "video", other)):
            if not all(isinstance(path, str) and path.strip() for path in paths):
                raise RecordError(
                    "malformed", f"{name}: {short(given)} as the {wanted}: expected a path, or a list of paths"
                )
        films = [path.strip() for path in images if names_video(path)]
        images = [path.strip() for path in images if not names_video(path)]
        videos = films + on_paths(str.strip, videos)
        refuse_both(len(images), len(videos), name)
        return _Media(images, videos)

    def _path(self, name: str, record: str, noun: Literal["picture", "video"] = "picture") -> Path:
        path = path_in(self.folder, name, record, noun)
        return (
            path if "\\" not in name or path.exists() else path_in(self.folder, name.replace("\\", "/"), record, noun)
        )

    def _group(self, media: "_Media") -> str:
        """The first path below the folder, in one spelling: it decides on the side of the split."""
        return os.path.relpath(self.folder / media.names[0].replace("\\", "/"), self.folder) if media.names else ""

    def _turns(self, row: Mapping[str, Any], name: str, media: "_Media") -> tuple[tuple[Turn, ...], dict[str, Any]]:
        """The turns of a row, and the fields that go with them."""
        counts = len(media.images), len(media.videos)
        category = self.keys.value(row, "category", name)
        fields: dict[str, Any] = {"category": str(category)} if isinstance(category, str | int) else {}
        if self.keys.of["conversation"]:
            return turns_of(self.keys.value(row, "conversation", name), name, *counts), fields
        question = self.keys.value(row, "question", name)
        if not isinstance(question, str) or not question.strip():
            raise RecordError("malformed", f"{name}: {short(question)} as the question: expected a text")
        question = without_marks([("user", question)], name, *counts)[0][1]
        choices = choices_of(self.keys.value(row, "choices", name), name)
        answer = answer_text(_single(self.keys.value(row, "answer", name)), name)
        if answer is None:
            raise RecordError("empty answer", f"{name}: no answer")
        if choices is not None:
            fields["choices"] = choices
            answer = chosen_answer(answer, choices, name)
        return checked((Turn("user", question), Turn("assistant", answer)), name), fields


@dataclass(frozen=True)
class _Media:
    """Paths of the pictures of a row, or of its videos; a list of paths is the frames of one."""

    images: Sequence[str] = ()
    videos: Sequence[Any] = ()

    @property
    def names(self) -> list[str]:
        return [*self.images, *first_paths(self.videos)]


def is_own(source: Path) -> bool:
    """Return whether a path is a file of rows, or a folder with one, that `OwnDataset` reads."""
    if source.is_dir():
        return any(_in_folder(source, split) for split in _SPLIT_NAMES) or _whole(source) is not None
    return source.suffix.lower() in SUFFIXES


def _file_of(source: Path, split: Split) -> tuple[Path, Part | None]:
    """The file of a split, and the part of its rows; None: all of them."""
    if not source.is_dir():
        if not source.is_file():
            raise ValueError(
                f"{source}: no such file or folder; a data set of the hub needs --data.dataset, such as hf"
            )
        if source.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{source}: expected {', '.join(SUFFIXES)}, with rows like {SCHEMA}")
        return source, _part(source, split)
    if (own := _in_folder(source, split)) is not None:
        has_validation = _in_folder(source, "validation") is not None
        return own, None if has_validation or split == "test" else _part(own, split)
    if split == "validation" and (train := _in_folder(source, "train")) is not None:
        return train, "validation"
    if (path := _whole(source)) is not None:
        return path, _part(path, split)
    raise ValueError(
        f"{source}: no rows in this folder; expected metadata.jsonl or metadata.csv in it, with rows like {SCHEMA}"
    )


def _part(source: Path, split: Split) -> Part:
    if split == "test":
        raise ValueError(f"{source}: no test split; expected train or validation, or a folder with test.json")
    return split


def _in_folder(folder: Path, split: str) -> Path | None:
    places = [f"{name}{rest}" for name in _SPLIT_NAMES[split] for rest in ("/metadata", "")]
    return next((path for place in places for path in _with_suffix(folder / place)), None)


def _whole(folder: Path) -> Path | None:
    return next((path for stem in _STEMS for path in _with_suffix(folder / stem)), None)


def _with_suffix(stem: Path) -> list[Path]:
    paths = [stem.with_name(stem.name + suffix) for suffix in (".jsonl", ".csv", ".json", ".tsv", ".ndjson")]
    return [path for path in paths if path.is_file()]


def _sampled(path: Path) -> list[Any]:
    try:
        return first_rows(path, _NUM_SAMPLED)
    except ValueError as error:
        raise ValueError(f"{error}; expected rows like {SCHEMA}") from error


def _single(value: Any) -> Any:
    """The only answer of a list of equal ones."""
    return value[0] if isinstance(value, list) and value and all(item == value[0] for item in value) else value
