"""Conversations: several questions in a row about one scene, for training the fused model."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Final, Literal, get_args

from theworld.datasets.foresight import drop
from theworld.datasets.foresight.ground_truth import Question
from theworld.datasets.foresight.items import Item, Split, check_split, index_of, make_item
from theworld.datasets.foresight.questions import dynamic_question, readings, static_questions
from theworld.datasets.foresight.rendering import draw, draw_clip
from theworld.datasets.foresight.scene import NUM_GIVEN_FRAMES, TASKS, Scenes, Task, num_future_slots
from theworld.datasets.sample import Sample, Turn

NUM_QUESTIONS: Final = 6
"""Questions of a conversation of alignment."""
NUM_CONTROLS: Final = 3
"""Questions of any conversation about Gemma's own picture; fewer if a scene has fewer controls."""

Asked = Literal["end", "states", "facts"]
"""Questions of alignment about a clip: about its end and its slots; about facts and states of its slots; about facts
alone. The state of the last slot is the outcome in other words."""

_MOST_STEPS: Final[Mapping[Scenes, int]] = {"plain": drop.PERIOD, "varied": drop.VARIED_PERIOD}
"""Largest distance, in items, from a clip to the scene of Gemma's picture. It spans whole periods of every balance, so
that the picture carries no information about the end of the clip."""


class _Conversations:
    """A map-style data set of one conversation per scene; scenes cycle through the tasks.

    Args:
        split: a split of the fused model: neither `world` nor `language`.
        size: number of scenes.
        image_size_px: side of the pictures.
        tasks: the kinds of scene.
        scenes: plain or varied.
        first_scene: number of scenes of the split before the first one, whole rounds of the tasks.

    Raises:
        ValueError: for a split that is not one of the fused model's, a negative size, or a first scene inside a round.
    """

    suffix: ClassVar[str]
    """End of the id of a sample."""

    def __init__(
        self,
        split: Split,
        size: int,
        image_size_px: int = 64,
        *,
        tasks: tuple[Task, ...] = TASKS,
        scenes: Scenes = "plain",
        first_scene: int = 0,
    ) -> None:
        if split in ("world", "language"):
            raise ValueError(f"split {split!r} serves no conversations: models trained on it must not see outcomes")
        check_split(split, scenes)
        if size < 0:
            raise ValueError(f"size={size}: expected 0 or more")
        self.first_index = index_of(first_scene, tasks)
        self.split: Split = split
        self.size = size
        self.image_size_px = image_size_px
        self.tasks = tasks
        self.scenes: Scenes = scenes

    def __len__(self) -> int:
        return self.size

    def shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample without drawing it."""
        task = self.tasks[index % len(self.tasks)]
        return (NUM_GIVEN_FRAMES[task],), num_future_slots(task)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        item_index, task = index // len(self.tasks), self.tasks[index % len(self.tasks)]
        return self._converse(make_item(self.split, self.first_index + item_index, task, self.scenes))

    @abstractmethod
    def _converse(self, item: Item) -> Sample:
        """Return the conversation about an item."""

    def _sample(self, item: Item, pictured: Item, questions: Sequence[Question], with_future: bool) -> Sample:
        """Return a sample: the clip of `item` for the world model, the current picture of `pictured` for Gemma."""
        task, num_given = item.scene.task, item.scene.num_given_frames
        turns = [(Turn("user", question.text), Turn("assistant", question.answer)) for question in questions]
        return Sample(
            id=f"{item.id}-{self.suffix}",
            turns=tuple(turn for pair in turns for turn in pair),
            images=(draw(pictured.scene, pictured.poses[num_given - 1], self.image_size_px),),
            clips=(draw_clip(item.scene, item.poses[:num_given], self.image_size_px),),
            num_world_steps=num_future_slots(task),
            fields={"task": task, "split": self.split, "index": item.index},
            future=(draw_clip(item.scene, item.poses[num_given:], self.image_size_px),) if with_future else None,
        )


class ForesightAlignment(_Conversations):
    """True clips with questions about each slot, which train the reading of world tokens.

    Every sample is an annotated scene: it asks `NUM_QUESTIONS` in random order, about the end of the clip, about its
    slots, and `NUM_CONTROLS` controls about Gemma's picture, which is of another scene, so that Gemma keeps using it.
    The tap `true-future` reads the clips; their first slots are the present, which the answer about the end follows.
    With `asked="states"` or `"facts"` no question is about the end: the scenes have no outcome label.
    """

    suffix = "readings"

    def __init__(self, *args: Any, asked: Asked = "end", **more: Any) -> None:
        super().__init__(*args, **more)
        if asked not in get_args(Asked):
            raise ValueError(f"asked={asked!r}: expected one of {get_args(Asked)}")
        self.asked: Asked = asked

    def _converse(self, item: Item) -> Sample:
        rng = Random(f"foresight/alignment/{item.id}")
        steps = rng.randint(1, _MOST_STEPS[self.scenes])
        other = make_item(self.split, item.index + steps, item.scene.task, self.scenes)
        *facts, end = readings(item, with_states=self.asked != "facts")
        controls = static_questions(other)
        questions = [end] if self.asked == "end" else []
        questions += [*rng.sample(controls, min(NUM_CONTROLS, len(controls)))]
        questions += rng.sample(facts, NUM_QUESTIONS - len(questions))
        rng.shuffle(questions)
        return self._sample(item, other, questions, with_future=True)


class ForesightLabels(_Conversations):
    """Outcome labels: the question about the future of a scene, in random order with controls about the same picture.

    The controls keep a model that learns outcomes from forgetting how to read the picture.
    """

    suffix = "label"

    def __init__(self, *args: Any, with_future: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.with_future = with_future

    def _converse(self, item: Item) -> Sample:
        rng = Random(f"foresight/labels/{item.id}")
        controls = static_questions(item)
        questions = [dynamic_question(item), *rng.sample(controls, min(NUM_CONTROLS, len(controls)))]
        rng.shuffle(questions)
        return self._sample(item, item, questions, self.with_future)
