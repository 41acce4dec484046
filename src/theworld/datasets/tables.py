"""Plain lists of records, and any Hugging Face data set, as samples."""

from collections.abc import Mapping, Sequence
from typing import Any

from theworld.datasets.sample import Sample, question


class TheWorldDataset:
    """Samples from a list of records: a picture (or several), a text, and a label.

    Args:
        records: mappings with `image` (one picture or a list; absent or None for text alone), `text` (the question)
            and `label` (the answer; None where it is withheld); `clips` where the world model sees more than the
            pictures.

    Raises:
        ValueError: for a record without a text, naming its position and keys.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        for index, record in enumerate(records):
            if not isinstance(record.get("text"), str) or not record["text"].strip():
                raise ValueError(f"record {index} has no text: expected keys image, text, label; got {sorted(record)}")
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        label = record.get("label")
        return question(
            str(record.get("id", index)),
            _pictures(record.get("image")),
            record["text"],
            None if label is None else str(label),
            clips=None if record.get("clips") is None else tuple(record["clips"]),
        )


class HFDatasetWrapper:
    """Samples from any Hugging Face data set, by the names of its columns.

    Args:
        dataset: a map-style data set.
        image_key: column of pictures, one or a list per row; None for text alone.
        question_key: column of questions.
        answer_key: column of answers, class labels by their names; None where they are withheld. So is a single answer
            that is None, and a class label of -1.
        id_key: column of ids; None: the position.

    Raises:
        ValueError: for a column that the data set does not have; on reading a row, for a question that is not text.
    """

    def __init__(
        self,
        dataset: Any,
        image_key: str | None = "image",
        question_key: str = "question",
        answer_key: str | None = "answer",
        id_key: str | None = None,
    ) -> None:
        wanted = [key for key in (image_key, question_key, answer_key, id_key) if key is not None]
        if absent := [key for key in wanted if key not in dataset.column_names]:
            raise ValueError(f"the data set has no column {absent}: its columns are {sorted(dataset.column_names)}")
        self.dataset = dataset
        self.image_key, self.question_key = image_key, question_key
        self.answer_key, self.id_key = answer_key, id_key
        feature = (getattr(dataset, "features", None) or {}).get(answer_key)
        self._label_name = getattr(feature, "int2str", None)  # only a datasets.ClassLabel has it

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        row = self.dataset[index]
        text = row[self.question_key]
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"row {index} has {text!r} as its {self.question_key!r}: a question is text; leave such rows out"
            )
        return question(
            str(index if self.id_key is None else row[self.id_key]),
            _pictures(None if self.image_key is None else row[self.image_key]),
            text,
            None if self.answer_key is None else self._answer(row[self.answer_key]),
        )

    def _answer(self, value: Any) -> str | None:
        if value is None or self._label_name is None:
            return None if value is None else str(value)
        return None if value < 0 else self._label_name(value)  # data sets mark a withheld class by -1


def _pictures(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)
