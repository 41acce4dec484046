"""Foresight as a map-style data set of samples, as clips for the world model, and as a Hugging Face data set."""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import UInt8

from theworld.datasets.sample import Sample, question
from theworld.foresight.drawing import draw, draw_clip
from theworld.foresight.drop import downhill, straight_down
from theworld.foresight.items import SPLITS, Item, Split, make_item
from theworld.foresight.questions import STATIC_KINDS, Question, dynamic_question, static_questions
from theworld.foresight.scene import Task

if TYPE_CHECKING:
    import datasets

Questions = Literal["dynamic", "static", "both"]

_NUM_QUESTIONS = {"dynamic": 1, "static": len(STATIC_KINDS), "both": 1 + len(STATIC_KINDS)}
_ALLOWED: dict[Split, tuple[Questions, ...]] = {
    "world": (),
    "language": ("static",),
    **dict.fromkeys(("train", "validation", "test"), get_args(Questions)),
}


class ForesightDataset:
    """Samples of one picture, one question and one answer: all questions of scene 0, then of scene 1, ...

    Args:
        split: which scenes; `language` serves static questions only, `world` none (see `clip`).
        size: number of scenes; there are 1 (dynamic), 7 (static) or 8 (both) samples per scene.
        image_size_px: side of the pictures.
        questions: about the future, about the picture, or both.
        with_future: whether samples carry the 16 frames that follow, uint8 (16, H, W, 3).
        task: the kind of scene.

    Raises:
        ValueError: a split that may not serve these questions or the future; a negative size.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        image_size_px: int = 64,
        questions: Questions = "dynamic",
        *,
        with_future: bool = False,
        task: Task = "drop",
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: expected one of {SPLITS}")
        if questions not in _NUM_QUESTIONS:
            raise ValueError(f"questions={questions!r}: expected one of {tuple(_NUM_QUESTIONS)}")
        if questions not in _ALLOWED[split]:
            raise ValueError(
                f"split {split!r} serves {' or '.join(_ALLOWED[split]) or 'no'} questions, not {questions!r}: what it"
                " trains must not see outcomes; use train, validation or test (and clip() for video)"
            )
        if with_future and split == "language":
            raise ValueError("split 'language' shows no future: leave with_future off or use another split")
        if size < 0:
            raise ValueError(f"size={size}: expected 0 or more")
        self.split: Split = split
        self.size = size
        self.image_size_px = image_size_px
        self.questions: Questions = questions
        self.with_future = with_future
        self.task: Task = task

    def __len__(self) -> int:
        return self.size * _NUM_QUESTIONS[self.questions]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        item_index, question_index = divmod(index, _NUM_QUESTIONS[self.questions])
        item = make_item(self.split, item_index, self.task)
        asked = _questions_of(item, self.questions)[question_index]
        future = None
        if self.with_future:
            future = (draw_clip(item.scene, item.positions[1:], self.image_size_px),)
        return question(
            f"{item.id}-{asked.kind}",
            [draw(item.scene, item.positions[0], self.image_size_px)],
            asked.text,
            asked.answer,
            future=future,
            fields=_fields(item, asked),
        )


def clip(
    split: Split, index: int, image_size_px: int = 64, task: Task = "drop"
) -> UInt8[np.ndarray, "17 {image_size_px} {image_size_px} 3"]:
    """All frames of an item, the first included."""
    item = make_item(split, index, task)
    return draw_clip(item.scene, item.positions, image_size_px)


def to_hf_dataset(samples: ForesightDataset) -> "datasets.Dataset":
    """The samples as a Hugging Face data set in memory: id, image, question, answer, and a column per field."""
    import datasets  # takes a second, and most callers never need it

    text = datasets.Value("string")
    features = datasets.Features(
        {
            "id": text,
            "image": datasets.Image(),
            "question": text,
            "answer": text,
            "task": text,
            "kind": text,
            "choices": datasets.List(text),
            "answer_place": text,
            "straight_down": text,
            "downhill": text,
            "split": text,
            "index": datasets.Value("int64"),
        }
    )
    columns: dict[str, list[object]] = {name: [] for name in features}
    for index in range(len(samples)):
        sample = samples[index]
        row = {"id": sample.id, "image": sample.images[0], "question": sample.turns[0].text, "answer": sample.answer}
        for name, value in (row | dict(sample.fields)).items():
            columns[name].append(value)
    return datasets.Dataset.from_dict(columns, features=features)


def _questions_of(item: Item, questions: Questions) -> tuple[Question, ...]:
    if questions == "static":
        return static_questions(item)
    return (dynamic_question(item), *(static_questions(item) if questions == "both" else ()))


def _fields(item: Item, asked: Question) -> dict[str, str | int | tuple[str, ...] | None]:
    """What tables group by; the answers of the two rules stand with the dynamic question only."""
    bins, dynamic = item.scene.bins, asked.kind == "end"
    return {
        "task": item.scene.task,
        "kind": asked.kind,
        "choices": asked.choices,
        "answer_place": asked.place,
        "straight_down": bins[straight_down(item.scene)] if dynamic else None,
        "downhill": bins[downhill(item.scene)] if dynamic else None,
        "split": item.split,
        "index": item.index,
    }
