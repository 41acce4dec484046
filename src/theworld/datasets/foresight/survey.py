"""Survey: tables of the splits of varied scenes, with answers, looks, numbers of parts and distances to training."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from theworld.datasets.foresight.distances import SIZE_PX, nearest_px
from theworld.datasets.foresight.heuristics import LOOKING_AHEAD, rules_of
from theworld.datasets.foresight.items import Item, make_film_scene, make_item
from theworld.datasets.foresight.questions import dynamic_question
from theworld.datasets.foresight.scene import TASKS, Scene, Task
from theworld.datasets.foresight.variety import SPLITS, TEST_SPLITS, number_of_parts
from theworld.tables import markdown_lines

_NEAR_PX: Final = 2.0
"""A training scene at this distance or more is not a neighbour."""


def survey(num_items: int, num_world_clips: int) -> tuple[dict[str, Any], str]:
    """Describe varied scenes: the first items of each task and split, and the nearest training clips of the tests.

    Args:
        num_items: items of each task and split.
        num_world_clips: training clips of the world model, of all tasks.

    Returns:
        The tables as values by name and split or task, and in Markdown.

    Raises:
        ValueError: without items or clips.
    """
    if num_items < 1 or num_world_clips < len(TASKS):
        raise ValueError(
            f"survey of {num_items} items and {num_world_clips} clips: expected 1 or more, and {len(TASKS)} or more"
        )
    items = {
        split: {task: [make_item(split, index, task, "varied") for index in range(num_items)] for task in TASKS}
        for split in tqdm(SPLITS[1:], desc="finding items", unit="split")
    }
    answers = {split: {task: _answers(items[split][task]) for task in TASKS} for split in items}
    scenes = {split: [item.scene for task in TASKS for item in items[split][task]] for split in items}
    scenes["world"] = [scene for task in TASKS for scene in _films(task, num_items)]
    looks = {split: _looks(scenes[split]) for split in SPLITS}
    parts = {split: _parts(scenes[split]) for split in ("world", "train", "composition")}
    nearest = {
        task: _nearest(
            [item.scene for split in TEST_SPLITS for item in items[split][task]],
            list(_films(task, num_world_clips // len(TASKS))),
        )
        for task in tqdm(TASKS, desc="finding neighbours", unit="task")
    }
    values = {"answers": answers, "looks": looks, "parts": parts, "nearest": nearest}
    return values, _markdown(values, num_items, num_world_clips)


def _films(task: Task, number: int) -> Iterator[Scene]:
    return (make_film_scene(index * len(TASKS) + TASKS.index(task), "varied") for index in range(number))


def _answers(items: Sequence[Item]) -> dict[str, float]:
    """Return the shares of the most and the least frequent outcome and answer, and of rules that do not look ahead."""
    questions = [dynamic_question(item) for item in items]
    outcomes = Counter(item.outcome for item in items)
    replies = Counter(question.answer for question in questions)
    rules = [rules_of(item) for item in items]
    simple = [
        float(np.mean([row[name] == question.answer for row, question in zip(rules, questions, strict=True)]))
        for name in rules[0]
        if name not in LOOKING_AHEAD
    ]
    return {
        "least_outcome": min(outcomes.values()) / len(items),
        "most_outcome": max(outcomes.values()) / len(items),
        "most_answer": max(replies.values()) / len(items),
        "best_simple_rule": max(simple),
        "chance": float(np.mean([1 / len(question.choices) for question in questions])),
    }


def _looks(scenes: Sequence[Scene]) -> dict[str, tuple[float, float]]:
    """Return the least and the greatest value of each number of a look and of a scene's sizes and laws."""
    looks = [scene.look for scene in scenes if scene.look is not None]
    columns = {
        "larger shift, px": [SIZE_PX * max(abs(look.shift_x), abs(look.shift_y)) for look in looks],
        "zoom": [look.zoom for look in looks],
        "light": [look.light for look in looks],
        "ball radius": [scene.ball_radius for scene in scenes],
        "plank radius": [scene.plank_radius for scene in scenes],
        "background": [float(max(look.background)) for look in looks],
        "gravity": [scene.gravity for scene in scenes if scene.gravity is not None],
    }
    return {name: (round(min(column), 3), round(max(column), 3)) for name, column in columns.items()}


def _parts(scenes: Sequence[Scene]) -> dict[str, list[tuple[int, int]]]:
    """Return the pairs of the number of parts and of spots, by task."""
    return {
        task: sorted({(number_of_parts(scene), len(scene.spots)) for scene in scenes if scene.task == task})
        for task in TASKS
    }


def _nearest(scenes: Sequence[Scene], known: Sequence[Scene]) -> dict[str, float]:
    """Return how near training scenes are, with and without the spots."""
    bare = [[replace(scene, spots=()) for scene in group] for group in (scenes, known)]
    columns: dict[str, float] = {}
    for suffix, distances in (("", nearest_px(scenes, known)), (" without spots", nearest_px(*bare))):
        columns[f"median px{suffix}"] = round(float(np.median(distances)), 2)
        columns[f"5 % px{suffix}"] = round(float(np.quantile(distances, 0.05, method="lower")), 2)
        columns[f"share from 2 px{suffix}"] = round(float((distances >= _NEAR_PX).mean()), 4)
    return columns


def _markdown(values: dict[str, Any], num_items: int, num_world_clips: int) -> str:
    lines = [f"Answers of {num_items} items of each task and split, %:", ""]
    rows = [
        [split, task, *(f"{100 * share:.1f}" for share in shares.values())]
        for split, by_task in values["answers"].items()
        for task, shares in by_task.items()
    ]
    names = ["least outcome", "most outcome", "most answer", "best simple rule", "chance"]
    lines += markdown_lines(["split", "task", *names], rows, "|---|---|---:|---:|---:|---:|---:|")
    lines += ["", "Least and greatest value:", ""]
    rows = [[split, *(f"{low:g} to {high:g}" for low, high in row.values())] for split, row in values["looks"].items()]
    lines += markdown_lines(
        ["split", *values["looks"]["world"]], rows, "|---|" + "---|" * len(values["looks"]["world"])
    )
    lines += ["", "Numbers of parts with numbers of spots:", ""]
    rows = [
        [split, task, " ".join(f"{parts}+{spots}" for parts, spots in pairs)]
        for split, by_task in values["parts"].items()
        for task, pairs in by_task.items()
    ]
    lines += markdown_lines(["split", "task", "parts + spots"], rows, "|---|---|---|")
    lines += ["", f"Nearest of {num_world_clips:,} training clips to the items of the four tests:", ""]
    rows = [[task, *(f"{number:g}" for number in row.values())] for task, row in values["nearest"].items()]
    columns = list(values["nearest"][TASKS[0]])
    lines += markdown_lines(["task", *columns], rows, "|---|" + "---:|" * len(columns))
    return "\n".join(lines) + "\n"
