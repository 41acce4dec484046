"""Alignment: true clips, and questions about what is where when, for learning to read world tokens.

No pair of a present picture and a later answer is among these samples: what Gemma sees is of another scene. Some
questions are about that picture, so that Gemma goes on looking at it.
"""

from collections.abc import Hashable
from random import Random
from typing import Final

from theworld.datasets.sample import Sample, Turn
from theworld.foresight.drawing import draw, draw_clip
from theworld.foresight.facts import Question
from theworld.foresight.items import Split, make_item
from theworld.foresight.questions import readings, static_questions
from theworld.foresight.scene import NUM_GIVEN_FRAMES, TASKS, Task, num_future_slots

NUM_QUESTIONS: Final = 6
"""Questions of one conversation."""
NUM_CONTROLS: Final = 2
"""Those among them that are about Gemma's own picture."""

_MOST_STEPS: Final = 162
"""Items that the scene of Gemma's picture lies ahead, at most: whole periods of every balance, so that it says nothing
about how the clip ends."""


class ForesightAlignment:
    """Conversations about true clips, which the tap `true-future` reads; Gemma's picture is of another scene.

    Each sample asks `NUM_QUESTIONS` in random order: how the clip ends, other readings of it, and `NUM_CONTROLS`
    controls about the picture.

    Args:
        split: which scenes; not those of the world model or the language side.
        size: number of clips; the tasks take turns.
        image_size_px: side of the pictures.
        tasks: the kinds of scene.

    Raises:
        ValueError: for a split that serves no readings, or a negative size.
    """

    def __init__(self, split: Split, size: int, image_size_px: int = 64, *, tasks: tuple[Task, ...] = TASKS) -> None:
        if split in ("world", "language"):
            raise ValueError(f"split {split!r} serves no readings: what it trains must not see what follows")
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
        item = make_item(self.split, item_index, task)
        rng = Random(f"foresight/alignment/{item.id}")
        other = make_item(self.split, item_index + rng.randint(1, _MOST_STEPS), task)
        given = item.scene.num_given_frames
        asked = _choose(readings(item), static_questions(other), rng)
        return Sample(
            id=f"{item.id}-readings",
            turns=tuple(
                turn for question in asked for turn in (Turn("user", question.text), Turn("assistant", question.answer))
            ),
            images=(draw(other.scene, other.poses[given - 1], self.image_size_px),),
            clips=(draw_clip(item.scene, item.poses[:given], self.image_size_px),),
            future=(draw_clip(item.scene, item.poses[given:], self.image_size_px),),
            num_world_steps=num_future_slots(task),
            fields={"task": task, "split": self.split, "index": item_index},
        )


def _choose(found: tuple[Question, ...], controls: tuple[Question, ...], rng: Random) -> list[Question]:
    """The question about the end, which stands last, other readings, and controls, in random order."""
    *facts, end = found
    chosen = [end, *rng.sample(facts, NUM_QUESTIONS - NUM_CONTROLS - 1), *rng.sample(controls, NUM_CONTROLS)]
    rng.shuffle(chosen)
    return chosen
