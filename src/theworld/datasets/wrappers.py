"""Wrappers that make samples of lists of records and of Hugging Face data sets."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from theworld.config.renamed import accept_former_arguments
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.conversations import checked, num_characters, turns_of, without_marks, without_pictures
from theworld.datasets.errors import RecordError
from theworld.datasets.images import picture_in, picture_of, read_picture
from theworld.datasets.records import answer_text, distinct_ids, media_keys, short
from theworld.datasets.sample import KnowsShapes, Sample, Samples, Turn

logger = logging.getLogger(__name__)


class TheWorldDataset:
    """Samples from a list of records: a picture (or several), a text, and a label.

    Args:
        records: a list of mappings with `image` (one picture or a list; absent or None for text alone; `images` means
            the same), `text` (the question) and `label` (the answer; None if it is withheld); `clips` if the world
            model sees more than the pictures.

    Raises:
        ValueError: for records without numbers (a generator, a stream), and for a record without a text, with both
            `image` and `images`, or with pictures under another name, naming its position and keys.
    """

    def __init__(self, records: Any) -> None:
        if not (hasattr(records, "__len__") and hasattr(records, "__getitem__")) or isinstance(records, Mapping):
            raise ValueError(f"records of type {type(records).__name__}: expected a list, so that each has a number")
        for index, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise ValueError(f"record {index} is {short(record)}: expected a mapping with image, text and label")
            if not isinstance(record.get("text"), str) or not record["text"].strip():
                raise ValueError(f"record {index} has no text: expected keys image, text, label; got {sorted(record)}")
            if "image" in record and "images" in record:
                raise ValueError(f"record {index} has both image and images: give one; got {sorted(record)}")
            if unknown := media_keys(record):
                raise ValueError(f"record {index} has {', '.join(unknown)}: expected image; got {sorted(record)}")
        self.records: Sequence[Mapping[str, Any]] = records
        self._ids = distinct_ids(record.get("id") for record in records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a record.

        Raises:
            RecordError: malformed (a label other than text or a number), empty answer, or overlong.
        """
        record, id = self.records[index], self._ids[index]
        return Sample(
            id=id,
            turns=_record_turns(record, id),
            images=_record_pictures(record),
            clips=None if record.get("clips") is None else tuple(record["clips"]),
        )

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without its pictures; 0 for a bad record."""
        try:
            return num_characters(_record_turns(self.records[index], str(index)))
        except RecordError:
            return 0

    def num_images_of(self, index: int) -> int:
        """Return the number of a sample's pictures, without reading them."""
        return len(_record_pictures(self.records[index]))


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
        image_dir: folder that paths in the rows start from, and may not leave; None: any path. Paths that `datasets`
            has found itself, those of its picture columns, stay.
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
    ) -> None:
        _check_indexed(dataset)
        text_keys = (question_key, answer_key) if conversation_key is None else (conversation_key,)
        texts = [key for key in text_keys if key is not None]
        wanted = [key for key in (image_key, *texts, id_key) if key is not None]
        if absent := [key for key in wanted if key not in dataset.column_names]:
            raise ValueError(f"the data set has no column {absent}: its columns are {sorted(dataset.column_names)}")
        self.files: tuple[Path, ...] = ()
        """Files of the rows, if the data set was opened from files."""
        self.dataset = dataset if image_key is None else undecoded(dataset, image_key)
        self._texts = dataset.select_columns(texts)
        self.image_key, self.id_key = image_key, id_key
        self.question_key, self.answer_key, self.conversation_key = question_key, answer_key, conversation_key
        self.image_dir = None if self.dataset is not dataset else image_dir  # undecoded: a column of pictures
        feature = (getattr(dataset, "features", None) or {}).get(answer_key)
        self._ids = None if id_key is None else distinct_ids(dataset.select_columns([id_key])[:][id_key])
        self._positions = positions
        self._label_name = getattr(feature, "int2str", None)  # only a datasets.ClassLabel has it

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a row.

        Raises:
            RecordError: malformed (a question other than text, an answer other than text or a number, turns out of
                order), empty answer, overlong, missing or unreadable picture.
        """
        row = self.dataset[index]
        id = str(self._position(index)) if self._ids is None else self._ids[index]
        stored = _pictures(None if self.image_key is None else row[self.image_key])
        turns = self._turns(row, index, len(stored))
        pictures = tuple(self._picture(item, f"row {self._position(index)}") for item in stored)
        names = [name for item in stored if (name := _file_name(item))]
        return Sample(id=id, turns=turns, images=pictures, fields={"image": ", ".join(names)} if names else {})

    def _picture(self, item: Any, name: str) -> Image.Image:
        source = picture_of(item) if self.image_dir is None else picture_in(self.image_dir, item, name)
        return read_picture(source, name)

    def _position(self, index: int) -> int:
        return index if self._positions is None else int(self._positions[index])

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without its pictures; 0 for a bad row."""
        try:
            return num_characters(self._turns(self._texts[index], index, self.num_images_of(index)))
        except RecordError:
            return 0

    def num_images_of(self, index: int) -> int:
        """Return the number of a sample's pictures, without decoding them."""
        return 0 if self.image_key is None else len(_pictures(self.dataset[index][self.image_key]))

    def _turns(self, row: Mapping[str, Any], index: int, num_images: int) -> tuple[Turn, ...]:
        turns = self._as_stored(row, index, num_images)
        is_checked = self.image_key is not None and not num_images
        return without_pictures(turns, f"row {self._position(index)}") if is_checked else turns

    def _as_stored(self, row: Mapping[str, Any], index: int, num_images: int) -> tuple[Turn, ...]:
        name = f"row {self._position(index)}"
        if self.conversation_key is not None:
            return turns_of(row[self.conversation_key], name, num_images)
        text = row[self.question_key]
        if not isinstance(text, str) or not text.strip():
            raise RecordError(
                "malformed",
                f"{name} has {short(text)} as its {self.question_key!r}: a question is text; leave such rows out",
            )
        answer = None if self.answer_key is None else self._answer(row[self.answer_key], name)
        if num_images:
            text = without_marks([("user", text)], name, num_images)[0][1]
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


def _pictures(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _check_indexed(dataset: Any) -> None:
    """Refuse streams, and data sets of another kind, before any row is read.

    Raises:
        ValueError: with the remedy.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, Mapping):
        raise ValueError(f"a {kind} of the splits {', '.join(map(str, dataset))}: give one of them, as data[split]")
    if isinstance(dataset, list | tuple):
        raise ValueError(f"a {kind} of records: give it to TheWorldDataset, or make a datasets.Dataset.from_list of it")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ValueError(
            f"{kind}: a stream, whose rows have no numbers: load it without streaming=True, or take some of its rows:"
            " datasets.Dataset.from_list(list(stream.take(1000)))"
        )
    if not all(hasattr(dataset, name) for name in ("column_names", "select_columns")):
        raise ValueError(f"{kind}: expected a datasets.Dataset (from pandas: datasets.Dataset.from_pandas)")


def _file_name(stored: Any) -> str:
    """The path of a stored picture; empty for one without."""
    path = stored.get("path") if isinstance(stored, Mapping) else stored
    return path if isinstance(path, str) else ""


def undecoded(dataset: Any, key: str) -> Any:
    """Return the data set with the stored bytes of its pictures, so that an error can name a broken one."""
    feature: Any = (getattr(dataset, "features", None) or {}).get(key)
    inner: Any = getattr(feature, "feature", None)
    if hasattr(feature, "decode"):
        return dataset.cast_column(key, replace(feature, decode=False))
    if hasattr(inner, "decode"):
        return dataset.cast_column(key, replace(feature, feature=replace(inner, decode=False)))
    return dataset


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
