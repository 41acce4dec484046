"""Wrappers that make samples of lists of records and of Hugging Face data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.conversations import checked, num_characters, turns_of
from theworld.datasets.errors import RecordError
from theworld.datasets.images import picture_of, read_picture
from theworld.datasets.sample import KnowsShapes, Sample, Samples, Turn


class TheWorldDataset:
    """Samples from a list of records: a picture (or several), a text, and a label.

    Args:
        records: mappings with `image` (one picture or a list; absent or None for text alone; `images` means the same),
            `text` (the question) and `label` (the answer; None if it is withheld); `clips` if the world model sees
            more than the pictures.

    Raises:
        ValueError: for a record without a text, or with both `image` and `images`, naming its position and keys.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        for index, record in enumerate(records):
            if not isinstance(record.get("text"), str) or not record["text"].strip():
                raise ValueError(f"record {index} has no text: expected keys image, text, label; got {sorted(record)}")
            if "image" in record and "images" in record:
                raise ValueError(f"record {index} has both image and images: give one; got {sorted(record)}")
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a record.

        Raises:
            RecordError: empty answer, or overlong.
        """
        record = self.records[index]
        id = str(record.get("id", index))
        return Sample(
            id=id,
            turns=checked(_pair(record["text"], record.get("label")), id),
            images=_record_pictures(record),
            clips=None if record.get("clips") is None else tuple(record["clips"]),
        )

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without its pictures."""
        record = self.records[index]
        return num_characters(_pair(record["text"], record.get("label")))

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
        id_key: column of ids; None: the position.
        conversation_key: column of whole conversations (`messages` or `conversations`, in a format of `turns_of`),
            instead of questions and answers.

    Raises:
        ValueError: for a column that the data set does not have.
    """

    def __init__(
        self,
        dataset: Any,
        image_key: str | None = "image",
        question_key: str = "question",
        answer_key: str | None = "answer",
        id_key: str | None = None,
        conversation_key: str | None = None,
    ) -> None:
        text_keys = (question_key, answer_key) if conversation_key is None else (conversation_key,)
        texts = [key for key in text_keys if key is not None]
        wanted = [key for key in (image_key, *texts, id_key) if key is not None]
        if absent := [key for key in wanted if key not in dataset.column_names]:
            raise ValueError(f"the data set has no column {absent}: its columns are {sorted(dataset.column_names)}")
        self.dataset = dataset if image_key is None else _undecoded(dataset, image_key)
        self._texts = dataset.select_columns(texts)
        self.image_key, self.id_key = image_key, id_key
        self.question_key, self.answer_key, self.conversation_key = question_key, answer_key, conversation_key
        feature = (getattr(dataset, "features", None) or {}).get(answer_key)
        self._label_name = getattr(feature, "int2str", None)  # only a datasets.ClassLabel has it

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of a row.

        Raises:
            RecordError: malformed (a question other than text, turns out of order), empty answer, overlong, missing or
                unreadable picture.
        """
        row = self.dataset[index]
        id = str(index if self.id_key is None else row[self.id_key])
        stored = _pictures(None if self.image_key is None else row[self.image_key])
        turns = self._turns(row, index, len(stored))
        return Sample(
            id=id, turns=turns, images=tuple(read_picture(picture_of(item), f"row {index}") for item in stored)
        )

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
        if self.conversation_key is not None:
            return turns_of(row[self.conversation_key], f"row {index}", num_images)
        text = row[self.question_key]
        if not isinstance(text, str) or not text.strip():
            raise RecordError(
                "malformed",
                f"row {index} has {text!r} as its {self.question_key!r}: a question is text; leave such rows out",
            )
        answer = None if self.answer_key is None else self._answer(row[self.answer_key])
        return checked(_pair(text, answer), f"row {index}")

    def _answer(self, value: Any) -> str | None:
        if value is None or self._label_name is None:
            return None if value is None else str(value)
        return None if value < 0 else self._label_name(value)  # -1 marks a withheld class


def _pair(question: str, answer: Any) -> tuple[Turn, ...]:
    return (Turn("user", question),) if answer is None else (Turn("user", question), Turn("assistant", str(answer)))


def _record_pictures(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return _pictures(record.get("image", record.get("images")))


def _pictures(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _undecoded(dataset: Any, key: str) -> Any:
    """The data set with the stored bytes of its pictures, so that an error can name a broken one."""
    feature: Any = (getattr(dataset, "features", None) or {}).get(key)
    inner: Any = getattr(feature, "feature", None)
    if hasattr(feature, "decode"):
        return dataset.cast_column(key, replace(feature, decode=False))
    if hasattr(inner, "decode"):
        return dataset.cast_column(key, replace(feature, feature=replace(inner, decode=False)))
    return dataset


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
