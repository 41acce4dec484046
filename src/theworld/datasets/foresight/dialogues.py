"""Conversations: several questions about one scene in a row, for training the fused model."""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from random import Random
from typing import Any, ClassVar, Final

from theworld.datasets.foresight.ground_truth import Question
from theworld.datasets.foresight.items import Item, Split, make_item
from theworld.datasets.foresight.questions import dynamic_question, readings, static_questions
from theworld.datasets.foresight.rendering import draw, draw_clip
from theworld.datasets.foresight.scene import NUM_GIVEN_FRAMES, TASKS, Task, num_future_slots
from theworld.datasets.sample import Sample, Turn

NUM_QUESTIONS: Final = 6
"""Questions of a conversation of alignment."""
NUM_CONTROLS: Final = 3
"""Those of any conversation that are about Gemma's own picture, where a scene has so many."""

_MOST_STEPS: Final = 162
"""Items that the scene of Gemma's picture lies ahead, at most: whole periods of every balance, so that it says nothing
about how the clip ends."""


class _Conversations:
    """A map-style data set of one conversation per scene; scenes of several tasks take turns.

    Args:
        split: which scenes; not those of the world model or the language side.
        size: number of scenes.
        image_size_px: side of the pictures.
        tasks: the kinds of scene.

    Raises:
        ValueError: for a split that the fused model does not see, or a negative size.
    """

    suffix: ClassVar[str]
    """What the id of a sample ends with."""

    def __init__(self, split: Split, size: int, image_size_px: int = 64, *, tasks: tuple[Task, ...] = TASKS) -> None:
        if split in ("world", "language"):
            raise ValueError(f"split {split!r} serves no conversations: what it trains must not see what follows")
        if size < 0:
            raise ValueError(f"size={size}: expected 0 or more")
        self.split: Split = split
        self.size = size
        self.image_size_px = image_size_px
        self.tasks = tasks

    def __len__(self) -> int:
        return self.size

    def shape_of(self, index: int) -> Hashable:
        """The shape of a sample, without drawing it."""
        task = self.tasks[index % len(self.tasks)]
        return (NUM_GIVEN_FRAMES[task],), num_future_slots(task)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        item_index, task = index // len(self.tasks), self.tasks[index % len(self.tasks)]
        return self._converse(make_item(self.split, item_index, task))

    @abstractmethod
    def _converse(self, item: Item) -> Sample:
        """The conversation about an item."""

    def _sample(self, item: Item, pictured: Item, asked: Sequence[Question], with_future: bool) -> Sample:
        """These questions and their answers; the world sees one item, Gemma the current picture of another."""
        task, given = item.scene.task, item.scene.num_given_frames
        turns = [(Turn("user", question.text), Turn("assistant", question.answer)) for question in asked]
        return Sample(
            id=f"{item.id}-{self.suffix}",
            turns=tuple(turn for pair in turns for turn in pair),
            images=(draw(pictured.scene, pictured.poses[given - 1], self.image_size_px),),
            clips=(draw_clip(item.scene, item.poses[:given], self.image_size_px),),
            num_world_steps=num_future_slots(task),
            fields={"task": task, "split": self.split, "index": item.index},
            future=(draw_clip(item.scene, item.poses[given:], self.image_size_px),) if with_future else None,
        )


class ForesightAlignment(_Conversations):
    """True clips, and questions about what is where when, for learning to read world tokens.

    No pair of a present picture and a later answer is among these samples: what Gemma sees is of another scene. Each
    asks `NUM_QUESTIONS` in random order: how the clip ends, other readings of it, and `NUM_CONTROLS` controls about
    the picture, so that Gemma goes on looking at it. The clips are what the tap `true-future` reads.
    """

    suffix = "readings"

    def _converse(self, item: Item) -> Sample:
        rng = Random(f"foresight/alignment/{item.id}")
        other = make_item(self.split, item.index + rng.randint(1, _MOST_STEPS), item.scene.task)
        *facts, end = readings(item)
        controls = static_questions(other)
        asked = [end, *rng.sample(controls, min(NUM_CONTROLS, len(controls)))]
        asked += rng.sample(facts, NUM_QUESTIONS - len(asked))
        rng.shuffle(asked)
        return self._sample(item, other, asked, with_future=True)


class ForesightLabels(_Conversations):
    """Outcome labels: what will happen in a scene, asked in random order among controls about the same picture.

    The controls keep a model that learns outcomes from forgetting what is there.
    """

    suffix = "label"

    def __init__(self, *args: Any, with_future: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.with_future = with_future

    def _converse(self, item: Item) -> Sample:
        rng = Random(f"foresight/labels/{item.id}")
        controls = static_questions(item)
        asked = [dynamic_question(item), *rng.sample(controls, min(NUM_CONTROLS, len(controls)))]
        rng.shuffle(asked)
        return self._sample(item, item, asked, self.with_future)
