"""Foresight as a map-style data set of samples, as clips for the world model, and as a Hugging Face data set."""

import json
from bisect import bisect_right
from collections.abc import Hashable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from jaxtyping import UInt8

from theworld.config.data_base import NO_SHIFT, Shift
from theworld.config.renamed import current_word
from theworld.datasets.foresight.ground_truth import Question, static_kinds
from theworld.datasets.foresight.heuristics import rules_of
from theworld.datasets.foresight.items import SPLITS, Item, Split, check_split, index_of, make_film, make_item
from theworld.datasets.foresight.questions import dynamic_question, item_choice, static_questions
from theworld.datasets.foresight.rendering import draw, draw_clip
from theworld.datasets.foresight.scene import NUM_GIVEN_FRAMES, TASKS, Scenes, Task, num_future_slots
from theworld.datasets.foresight.shifts import shifted_look
from theworld.datasets.foresight.wordings import WORDING_SETS, Wordings
from theworld.datasets.sample import Sample, question

if TYPE_CHECKING:
    import datasets

Questions = Literal["future", "present", "both"]
_QUESTIONS: Final[tuple[Questions, ...]] = get_args(Questions)
Form = Literal["open", "choice"]

_ALLOWED: Final[Mapping[Split, tuple[Questions, ...]]] = {
    "world": (),
    "language": ("present",),
    **dict.fromkeys(SPLITS[2:], _QUESTIONS),
}
_TRAINING: Final[tuple[Split, ...]] = ("language", "train", "train-seen")


class ForesightDataset:
    """Samples of one picture, one question and one answer: all questions of scene 0, then of scene 1, ...

    Scenes cycle through the tasks. In a task with a clip, the world model gets the clip, and the picture is its last
    frame.

    Args:
        split: `language` serves questions about the present only, `world` none (see `world_clip`).
        size: number of scenes.
        image_size_px: side of the pictures.
        questions: about the future, about the picture, or both.
        with_future: True: samples hold the frames that follow, uint8 (16 or 12, H, W, 3).
        tasks: the kinds of scene.
        form: open: a word answers a question; choice: the letter of a choice does.
        scenes: plain or varied.
        wordings: of the questions about varied scenes: those of training, or those held out from it.
        shift: of the look of all pictures; questions and answers stay.
        first_scene: number of scenes of the split before the first one, whole rounds of the tasks.

    Raises:
        ValueError: for a split that does not serve these questions, wordings or the future, a negative size, unknown
            tasks, or a first scene inside a round of them.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        image_size_px: int = 64,
        questions: Questions | str = "future",
        *,
        with_future: bool = False,
        tasks: tuple[Task, ...] = TASKS,
        form: Form = "open",
        scenes: Scenes = "plain",
        wordings: Wordings = "trained",
        shift: Shift = NO_SHIFT,
        first_scene: int = 0,
    ) -> None:
        check_split(split, scenes)
        _check_wordings(wordings, split, scenes)
        questions = current_word("questions", questions)
        if questions not in _QUESTIONS:
            raise ValueError(f"questions={questions!r}: expected one of {_QUESTIONS}")
        if questions not in _ALLOWED[split]:
            raise ValueError(
                f"split {split!r} serves {' or '.join(_ALLOWED[split]) or 'no'} questions, not {questions!r}: models"
                " trained on it must not see outcomes; use train, validation or test (and world_clip() for video)"
            )
        if with_future and split == "language":
            raise ValueError("split 'language' shows no future: leave with_future off or use another split")
        if size < 0:
            raise ValueError(f"size={size}: expected 0 or more")
        if not tasks or not set(tasks) <= set(TASKS) or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks={tasks!r}: expected some of {TASKS}, each once")
        if form not in get_args(Form):
            raise ValueError(f"form={form!r}: expected one of {get_args(Form)}")
        self.split: Split = split
        self.size = size
        self.image_size_px = image_size_px
        self.questions: Questions = questions
        self.with_future = with_future
        self.tasks = tasks
        self.form: Form = form
        self.scenes: Scenes = scenes
        self.wordings: Wordings = wordings
        self.shift = shift
        self._first_index = index_of(first_scene, tasks)
        # Question counts of one scene, added up over the tasks.
        self._ends = list(accumulate(self._num_questions(task) for task in tasks))

    def _num_questions(self, task: Task) -> int:
        return (self.questions != "present") + (self.questions != "future") * len(
            static_kinds(task, self.scenes == "varied")
        )

    def __len__(self) -> int:
        rounds, rest = divmod(self.size, len(self.tasks))
        return rounds * self._ends[-1] + (self._ends[rest - 1] if rest else 0)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        item_index, place = divmod(index, self._ends[-1])
        turn = bisect_right(self._ends, place)
        item = make_item(self.split, self._first_index + item_index, self.tasks[turn], self.scenes)
        chosen = _questions_of(item, self.questions, self.wordings)[place - (self._ends[turn - 1] if turn else 0)]
        return self._sample(item, chosen if self.form == "open" else item_choice(chosen, item))

    def shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample without drawing it."""
        task = self.tasks[bisect_right(self._ends, index % self._ends[-1])]
        return (NUM_GIVEN_FRAMES[task],), num_future_slots(task)

    def _sample(self, item: Item, chosen: Question) -> Sample:
        scene, size_px, num_given = item.scene, self.image_size_px, item.scene.num_given_frames
        look = shifted_look(scene, self.shift)
        more: dict[str, Any] = {"num_world_steps": num_future_slots(scene.task)}
        if num_given > 1:
            more["clips"] = (draw_clip(scene, item.poses[:num_given], size_px, look),)
        if self.with_future:
            more["future"] = (draw_clip(scene, item.poses[num_given:], size_px, look),)
        picture = draw(scene, item.poses[num_given - 1], size_px, look)
        return question(
            f"{item.id}-{chosen.kind}", [picture], chosen.text, chosen.answer, fields=_fields(item, chosen), **more
        )


def clip(
    split: Split, index: int, image_size_px: int = 64, task: Task = "drop", scenes: Scenes = "plain"
) -> UInt8[np.ndarray, "17 {image_size_px} {image_size_px} 3"]:
    """Return all frames of an item, including the given ones."""
    item = make_item(split, index, task, scenes)
    return draw_clip(item.scene, item.poses, image_size_px)


def world_clip(
    index: int, image_size_px: int = 64, scenes: Scenes = "plain"
) -> UInt8[np.ndarray, "17 {image_size_px} {image_size_px} 3"]:
    """Return a training clip of the world model; indices cycle through the tasks. It has no questions."""
    scene, motion = make_film(index, scenes)
    return draw_clip(scene, motion.poses, image_size_px)


def to_hf_dataset(samples: ForesightDataset) -> "datasets.Dataset":
    """Return the samples as a Hugging Face data set in memory: id, image, question, answer, and a column per field.

    The column `rules` holds the answers of simple rules as a JSON object, since each task has its own rules; it is null
    for controls. Clips and futures are left out.
    """
    import datasets  # takes a second, and few callers need it

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
            "rules": text,
            "split": text,
            "index": datasets.Value("int64"),
        }
    )
    columns: dict[str, list[object]] = {name: [] for name in features}
    for index in range(len(samples)):
        sample = samples[index]
        row = {"id": sample.id, "image": sample.images[0], "question": sample.turns[0].text, "answer": sample.answer}
        rules = sample.fields["rules"]
        row |= dict(sample.fields) | {"rules": None if rules is None else json.dumps(rules)}
        for name, value in row.items():
            columns[name].append(value)
    return datasets.Dataset.from_dict(columns, features=features)


def _questions_of(item: Item, questions: Questions, wordings: Wordings) -> tuple[Question, ...]:
    if questions == "present":
        return static_questions(item, wordings)
    return dynamic_question(item, wordings), *(static_questions(item, wordings) if questions == "both" else ())


def _check_wordings(wordings: Wordings, split: Split, scenes: Scenes) -> None:
    if wordings not in WORDING_SETS:
        raise ValueError(f"wordings={wordings!r}: expected one of {WORDING_SETS}")
    if wordings == "held-out" and scenes == "plain":
        raise ValueError("wordings='held-out': questions about plain scenes have one wording; use scenes='varied'")
    if wordings == "held-out" and split in _TRAINING:
        raise ValueError(f"wordings='held-out': split {split!r} is for training, and these are held out from it")


def _fields(item: Item, chosen: Question) -> dict[str, Any]:
    """Return the fields that tables group by; only the question about the future has the answers of simple rules."""
    return {
        "task": item.scene.task,
        "kind": chosen.kind,
        "choices": chosen.choices,
        "answer_place": chosen.place,
        "rules": rules_of(item) if chosen.kind == "end" else None,
        "split": item.split,
        "index": item.index,
    }
