"""Wrappers that make samples of lists of records and of Hugging Face data sets."""

import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from theworld.config.renamed import accept_former_arguments
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.columns import (
    check_indexed,
    file_name,
    media_columns,
    source_of,
    stored_videos,
    undecoded,
    with_value,
)
from theworld.datasets.conversations import checked, num_characters, turns_of, without_marks, without_pictures
from theworld.datasets.errors import RecordError
from theworld.datasets.images import read_picture
from theworld.datasets.records import answer_text, distinct_ids, media_keys, short
from theworld.datasets.row_videos import listed_videos, read_videos, refuse_both, span_of
from theworld.datasets.sample import KnowsShapes, Sample, Samples, Turn, shape_of_clips
from theworld.datasets.video import ClipRule

logger = logging.getLogger(__name__)


class TheWorldDataset:
    """Samples from a list of records: a picture or a video (or several), a text, and a label.

    Args:
        records: a list of mappings with `image` (one picture or a list; absent or None for text alone; `images` means
            the same) or `video` (as `open_video` takes it; `videos` for a list of them), `text` (the question) and
            `label` (the answer; None if it is withheld). Of a video `start` and `end`, seconds, name the part that
            counts, and `frame_rate` the frames per second of an array or a list. `clips` if the world model sees more
            than the pictures.
        rule: the frames of a video that the models see; None: the defaults. `model.config.clip_rule` is that of a
            model.

    Raises:
        ValueError: for records without numbers (a generator, a stream), and for a record without a text, with two of
            `image`, `images`, `video` and `videos`, or with media under another name, naming its position and keys.
    """

    def __init__(self, records: Any, rule: ClipRule | None = None) -> None:
        if not (hasattr(records, "__len__") and hasattr(records, "__getitem__")) or isinstance(records, Mapping):
            raise ValueError(f"records of type {type(records).__name__}: expected a list, so that each has a number")
        for index, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise ValueError(f"record {index} is {short(record)}: expected a mapping with image, text and label")
            if not isinstance(record.get("text"), str) or not record["text"].strip():
                raise ValueError(f"record {index} has no text: expected keys image, text, label; got {sorted(record)}")
            _check_media(record, index)
        self.rule = ClipRule() if rule is None else rule
        if any(_has_video(record) for record in records):  # samples without videos have one shape
            self.shape_of = self._shape_of
        self.records: Sequence[Mapping[str, Any]] = records
        self._ids = distinct_ids(record.get("id") for record in records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a record.

        Raises:
            RecordError: malformed (a label other than text or a number, times that are none), empty answer, overlong,
                or a missing or unreadable video.
        """
        record, id = self.records[index], self._ids[index]
        turns, videos = _record_turns(record, id), _record_videos(record)
        if videos:
            span = span_of(record.get("start"), record.get("end"), id)
            clips, shown = read_videos(videos, self.rule, id, span, record.get("frame_rate"))
            return Sample(id=id, turns=turns, images=shown, clips=clips)
        clips = None if record.get("clips") is None else tuple(record["clips"])
        return Sample(id=id, turns=turns, images=_record_pictures(record), clips=clips)

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without its pictures; 0 for a bad record."""
        try:
            return num_characters(_record_turns(self.records[index], str(index)))
        except RecordError:
            return 0

    def num_images_of(self, index: int) -> int:
        """Return the number of pictures that Gemma sees of a sample, without reading them."""
        record = self.records[index]
        return len(_record_pictures(record)) + self.rule.num_gemma_frames * len(_record_videos(record))

    def _shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample, without reading a video."""
        record = self.records[index]
        if _has_video(record):
            return shape_of_clips(self.rule.num_frames)
        return shape_of_clips(*({1} if record.get("clips") is None else {len(clip) for clip in record["clips"]}))


class HFDatasetWrapper:
    """Samples from the named columns of any Hugging Face data set.

    Args:
        dataset: a map-style data set.
        image_key: column of pictures, one or a list per row; None for text alone.
        question_key: column of questions.
        answer_key: column of answers, class labels by their names; None if they are withheld. An answer of None and a
            class label of -1 count as withheld.
        id_key: column of ids; None: the position, as for an id of None. Later rows of an id get `ID#2`, and so on.
        conversation_key: column of whole conversations (`messages` or `conversations`, in a format of `turns_of`),
            instead of questions and answers.
        video_key: column of videos (paths, contents, arrays, `datasets.Video`), one or a list per row; None: no videos.
            Each becomes a clip for the world model, and its last frame a picture for Gemma. A data set of videos need
            not have the default column of pictures.
        start_key: column of the start of the part of a video that counts, seconds, or a text as "0:01:02.5".
        end_key: column of its end.
        rule: the frames of a video that the models see; None: the defaults. `model.config.clip_rule` is that of a
            model.
        image_dir: folder that paths in the rows start from, and may not leave; None: any path. Paths that `datasets`
            has found itself, those of its columns of pictures or videos, stay.
        positions: of the rows in the whole data set, which ids and messages name; None: those in `dataset`.

    Raises:
        ValueError: for a column that the data set does not have, or for one without rows by number.
    """

    @accept_former_arguments(text_key="question_key", label_key="answer_key")
    def __init__(
        self,
        dataset: Any,
        image_key: str | None = "image",
        question_key: str = "question",
        answer_key: str | None = "answer",
        id_key: str | None = None,
        conversation_key: str | None = None,
        image_dir: Path | None = None,
        positions: Sequence[int] | np.ndarray | None = None,
        video_key: str | None = None,
        start_key: str | None = None,
        end_key: str | None = None,
        rule: ClipRule | None = None,
    ) -> None:
        check_indexed(dataset)
        text_keys = (question_key, answer_key) if conversation_key is None else (conversation_key,)
        texts = [key for key in text_keys if key is not None]
        media = media_columns(dataset, {"image_key": image_key, "video_key": video_key})
        image_key = media.get("image_key")
        wanted = [key for key in (*media.values(), *texts, id_key, start_key, end_key) if key is not None]
        if absent := [key for key in wanted if key not in dataset.column_names]:
            raise ValueError(f"the data set has no column {absent}: its columns are {sorted(dataset.column_names)}")
        self.files: tuple[Path, ...] = ()
        """Files of the rows, if the data set was opened from files."""
        stored = dataset
        for key in media.values():
            stored = undecoded(stored, key)
        self.dataset = stored
        self.rule = ClipRule() if rule is None else rule
        self._texts = dataset.select_columns(texts)
        self.image_key, self.id_key = image_key, id_key
        self.question_key, self.answer_key, self.conversation_key = question_key, answer_key, conversation_key
        self.video_key, self.start_key, self.end_key = video_key, start_key, end_key
        self._folders: dict[str | None, Path | None] = {
            key: None if undecoded(dataset, key) is not dataset else image_dir for key in media.values()
        }
        feature = (getattr(dataset, "features", None) or {}).get(answer_key)
        self._ids = None if id_key is None else distinct_ids(dataset.select_columns([id_key])[:][id_key])
        self._positions = positions
        self._has_picture = None
        if video_key is not None:  # samples of pictures alone have one shape
            self._has_picture = None if image_key is None else with_value(self.dataset, image_key)
            self.shape_of = self._shape_of
        self._label_name = getattr(feature, "int2str", None)  # only a datasets.ClassLabel has it

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a row.

        Raises:
            RecordError: malformed (a question other than text, an answer other than text or a number, turns out of
                order, a picture beside a video), empty answer, overlong, missing or unreadable picture or video.
        """
        row, name = self.dataset[index], f"row {self._position(index)}"
        id = str(self._position(index)) if self._ids is None else self._ids[index]
        stored = _pictures(None if self.image_key is None else row[self.image_key])
        videos = [] if self.video_key is None else stored_videos(row[self.video_key])
        refuse_both(len(stored), len(videos), name)
        turns = self._turns(row, index, len(stored), len(videos))
        names = ", ".join(path for item in (*stored, *videos) if (path := file_name(item)))
        if videos:
            start, end = (None if key is None else row[key] for key in (self.start_key, self.end_key))
            sources = [source_of(video, self._folders[self.video_key], name, "video") for video in videos]
            clips, shown = read_videos(sources, self.rule, name, span_of(start, end, name))
            return Sample(id=id, turns=turns, images=shown, clips=clips, fields={"video": names} if names else {})
        pictures = tuple(
            read_picture(source_of(item, self._folders[self.image_key], name, "picture"), name) for item in stored
        )
        return Sample(id=id, turns=turns, images=pictures, fields={"image": names} if names else {})

    def _position(self, index: int) -> int:
        return index if self._positions is None else int(self._positions[index])

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without its pictures; 0 for a bad row."""
        try:
            return num_characters(self._turns(self._texts[index], index, *self._counts(index)))
        except RecordError:
            return 0

    def num_images_of(self, index: int) -> int:
        """Return the number of pictures that Gemma sees of a sample, without decoding them."""
        num_images, num_videos = self._counts(index)
        return num_images + self.rule.num_gemma_frames * num_videos

    def _counts(self, index: int) -> tuple[int, int]:
        """The numbers of a row's pictures and videos."""
        if not self._folders:
            return 0, 0
        row = self.dataset[index]
        videos = [] if self.video_key is None else stored_videos(row[self.video_key])
        return len(_pictures(None if self.image_key is None else row[self.image_key])), len(videos)

    def _shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample, without reading it; texts without a video go with any other samples."""
        has_clip = self._has_picture is None or not self._has_picture[index]
        return shape_of_clips(self.rule.num_frames if has_clip else 1)

    def _turns(self, row: Mapping[str, Any], index: int, num_images: int, num_videos: int) -> tuple[Turn, ...]:
        turns = self._as_stored(row, index, num_images, num_videos)
        is_checked = bool(self._folders) and not num_images and not num_videos
        return without_pictures(turns, f"row {self._position(index)}") if is_checked else turns

    def _as_stored(self, row: Mapping[str, Any], index: int, num_images: int, num_videos: int) -> tuple[Turn, ...]:
        name = f"row {self._position(index)}"
        if self.conversation_key is not None:
            return turns_of(row[self.conversation_key], name, num_images, num_videos)
        text = row[self.question_key]
        if not isinstance(text, str) or not text.strip():
            raise RecordError(
                "malformed",
                f"{name} has {short(text)} as its {self.question_key!r}: a question is text; leave such rows out",
            )
        answer = None if self.answer_key is None else self._answer(row[self.answer_key], name)
        if num_images or num_videos:
            text = without_marks([("user", text)], name, num_images, num_videos)[0][1]
        return checked(_pair(text, answer), name)

    def _answer(self, value: Any, name: str) -> str | None:
        text = answer_text(value, name)
        if text is None or self._label_name is None or isinstance(value, str):
            return text
        try:
            return None if value < 0 else self._label_name(int(value))  # -1 marks a withheld class
        except ValueError as error:
            raise RecordError("malformed", f"{name}: {short(value)} is not a class: {error}") from error


def _pair(question: str, answer: str | None) -> tuple[Turn, ...]:
    return (Turn("user", question),) if answer is None else (Turn("user", question), Turn("assistant", answer))


def _record_turns(record: Mapping[str, Any], name: str) -> tuple[Turn, ...]:
    return checked(_pair(record["text"], answer_text(record.get("label"), name)), name)


def _record_pictures(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return _pictures(record.get("image", record.get("images")))


def _record_videos(record: Mapping[str, Any]) -> list[Any]:
    return listed_videos(record.get("video", record.get("videos")))


def _has_video(record: Mapping[str, Any]) -> bool:
    return any(_is_given(record.get(key)) for key in ("video", "videos"))


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, list | tuple) and not value)


def _check_media(record: Mapping[str, Any], index: int) -> None:
    """Refuse a record with two of its media, or with media under another name.

    Raises:
        ValueError: naming its position and keys.
    """
    pairs = (("image", "images"), ("video", "videos"))
    held = [key for pair in pairs for key in pair if _is_given(record.get(key))]
    both = next((list(pair) for pair in pairs if all(key in record for key in pair)), held if len(held) > 1 else [])
    if both:
        raise ValueError(f"record {index} has both {' and '.join(both)}: give one; got {sorted(record)}")
    if held and held[0].startswith("video") and _is_given(record.get("clips")):
        raise ValueError(f"record {index} has both {held[0]} and clips: give one; got {sorted(record)}")
    if unknown := media_keys(record):
        raise ValueError(f"record {index} has {', '.join(unknown)}: expected image or video; got {sorted(record)}")


def _pictures(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class WithoutBadRecords:
    """The good samples of a data set, whose records are all read once; the others are counted in a warning.

    Args:
        samples: any data set.
        name: of the data set, for the warning.

    Raises:
        ValueError: if there are records, and none of them is good.
    """

    def __init__(self, samples: Samples, name: str) -> None:
        self.samples = samples
        self.places: list[int] = []
        causes: Counter[str] = Counter()
        first = ""
        for place in range(len(samples)):
            try:
                samples[place]
            except RecordError as error:
                causes[error.cause] += 1
                first = first or f"; first: {error.message}"
            else:
                self.places.append(place)
        counts = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
        if causes and not self.places:
            raise ValueError(f"{name}: none of {len(samples):,} records gives a sample ({counts}{first})")
        if causes:
            logger.warning("%s: of %d records these are left out: %s%s", name, len(samples), counts, first)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self.places[index]]


class ClipsAsImages:
    """The same samples, with every frame of the clips as Gemma's pictures.

    Args:
        samples: samples with clips.
        of_slots: for conversations about the slots of true clips: Gemma gets the last frame of each slot, with the
            future, and then the sample's own pictures. Only alignment may set it.
    """

    def __init__(self, samples: Samples, of_slots: bool = False) -> None:
        self.samples = samples
        self.of_slots = of_slots
        if isinstance(samples, KnowsShapes):
            self.shape_of = samples.shape_of

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        if sample.clips is None:
            return sample
        frames = [frame for clip in sample.clips for frame in clip]
        if self.of_slots and sample.future is not None:
            frames = [*frames, *(frame for clip in sample.future for frame in clip)][::TEMPORAL_STRIDE]
            frames += sample.images
        return replace(sample, images=tuple(frames))
