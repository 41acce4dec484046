"""Accuracy on static questions about held-out scenes: by task, kind, form, and number of pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from theworld.datasets.foresight.dataset import ForesightDataset, Form
from theworld.datasets.foresight.ground_truth import Question
from theworld.datasets.foresight.questions import multiple_choice
from theworld.datasets.foresight.scene import TASKS, Task
from theworld.recipes.answering import right_answers
from theworld.recipes.conversations import MOST_PICTURES, Conversation, about_picture, tokenise
from theworld.recipes.pictures import FRAMES_PER_SCENE, PicturePool

SETTINGS: Final = ("current picture", "any frame", "several pictures")
"""What is asked about: the picture that evaluation shows; any of a scene's frames; one of two to five pictures."""
FORMS: Final[tuple[Form, ...]] = ("open", "choice")

_ROWS_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Asked:
    """One question in the first turn, and what tables group it by."""

    task: Task
    kind: str
    setting: str
    form: Form
    conversation: Conversation


def current_pictures(num_scenes: int, image_size_px: int) -> tuple[list[Asked], UInt8[np.ndarray, "N H W 3"]]:
    """The controls of scenes of the split `validation` in both forms, as evaluation asks them, and the pictures."""
    asked: list[Asked] = []
    pictures: list[np.ndarray] = []
    for form in FORMS:
        samples = ForesightDataset("validation", num_scenes, image_size_px, "static", form=form)
        for sample in (samples[index] for index in range(len(samples))):
            kind, choices = sample.fields["kind"], sample.fields["choices"]
            question = Question(kind, sample.turns[0].text, choices, sample.answer or "")
            one = Conversation((len(pictures),), (question,))
            asked.append(Asked(sample.fields["task"], kind, SETTINGS[0], form, one))
            pictures.append(np.asarray(sample.images[0]))
    return asked, np.stack(pictures)


def frames(pool: PicturePool, num_scenes: int) -> Iterator[Asked]:
    """All that a frame of each scene of a pool shows, in both forms: it alone, and it among unrelated ones."""
    for task in TASKS:
        for scene in range(num_scenes):
            rng = Random(f"tiny/seeing/{task}/{scene}")
            place = pool.find(task, scene, rng.randrange(FRAMES_PER_SCENE))
            for fact in pool.pictures[place].facts:
                for form in FORMS:
                    question = fact if form == "open" else multiple_choice(fact, str(place))
                    yield Asked(task, fact.kind, SETTINGS[1], form, Conversation((place,), (question,)))
                    others = rng.sample([other for other in range(num_scenes) if other != scene], MOST_PICTURES - 1)
                    shown = [pool.find(task, other, rng.randrange(FRAMES_PER_SCENE)) for other in others]
                    shown = shown[: rng.randint(1, len(shown))]
                    number = rng.randint(0, len(shown))
                    shown.insert(number, place)
                    one = Conversation(tuple(shown), (about_picture(number, question),))
                    yield Asked(task, fact.kind, SETTINGS[2], form, one)


def marks(
    gemma: Gemma3ForConditionalGeneration,
    processor: Gemma3Processor,
    asked: Sequence[Asked],
    pictures: UInt8[np.ndarray, "N H W 3"],
) -> list[bool]:
    """Whether each question is answered rightly, by greedy decoding."""
    rows = tokenise(processor, [one.conversation for one in asked])
    order = sorted(range(len(asked)), key=lambda row: rows.lengths[row])
    found = [False] * len(asked)
    for start in tqdm(range(0, len(order), _ROWS_AT_ONCE), desc="answering", unit="batch"):
        part = order[start : start + _ROWS_AT_ONCE]
        for row, right in zip(part, right_answers(gemma, rows.batch(part), pictures), strict=True):
            found[row] = right
    return found


def accuracies(asked: Sequence[Asked], right: Sequence[bool]) -> dict[str, dict[str, tuple[float, int]]]:
    """Share of right answers and number of questions, by "task kind" and by "setting, form"."""
    groups: dict[tuple[str, str], list[bool]] = {}
    for one, mark in zip(asked, right, strict=True):
        groups.setdefault((f"{one.task} {one.kind}", f"{one.setting}, {one.form}"), []).append(mark)
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for (kind, column), group in groups.items():
        found.setdefault(kind, {})[column] = (round(float(np.mean(group)), 4), len(group))
    return found


def table(found: dict[str, dict[str, tuple[float, int]]]) -> str:
    """Percentages as lines of text, a row per kind, a column per setting and form; the least of a column last."""
    columns = [f"{setting}, {form}" for setting in SETTINGS for form in FORMS]
    width = max(len(kind) for kind in found)
    lines = [" " * width + "".join(f"{column:>26}" for column in columns)]
    for kind, row in sorted(found.items()):
        cells = [f"{100 * row[column][0]:.1f} % of {row[column][1]}" if column in row else "-" for column in columns]
        lines.append(f"{kind:<{width}}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)
