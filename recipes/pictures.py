"""Pools of pictures with what each shows, drawn beforehand in pieces: what the vision-language model learns from."""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from theworld.datasets.foresight.ground_truth import Question, facts_of, state_of
from theworld.datasets.foresight.items import make_item
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import NUM_FRAMES, TASKS, Task
from theworld.io import write_whole

SCENES_PER_PIECE: Final = 50
"""Of each task."""
FRAMES_PER_SCENE: Final = 3
FIRST_HELD_OUT: Final = 1_000_000
"""Index of the first scene of each task that no recipe trains on."""


@dataclass(frozen=True)
class Picture:
    """Which picture it is, and all that may be asked about it: what it shows, and nothing of what follows."""

    task: Task
    scene: int
    frame: int
    facts: tuple[Question, ...]


class PicturePool:
    """Three frames of each of the first scenes of the split `language`, drawn on first use.

    A file of pictures and one of facts per 50 scenes of each task lie in `folder`, whole or absent: a pool that was
    interrupted is filled up.

    Args:
        folder: where the pieces lie, or will.
        num_scenes: scenes of each task.
        image_size_px: side of the pictures.
        first: index of the first scene.

    Raises:
        ValueError: if the folder holds pictures of other scenes or of another size.
    """

    def __init__(self, folder: Path, num_scenes: int, image_size_px: int, first: int = 0) -> None:
        self.num_scenes = num_scenes
        pieces = [folder / f"{start:08d}.npy" for start in range(first, first + num_scenes, SCENES_PER_PIECE)]
        missing = [path for path in pieces if not path.exists()]
        if len(missing) < len(pieces):
            _refuse_foreign(next(path for path in pieces if path.exists()), image_size_px)
        for path in tqdm(missing, desc="drawing pictures", unit="piece", disable=not missing):
            _draw_piece(path, image_size_px)
        self.pixels: UInt8[np.ndarray, "N H W 3"] = np.concatenate([np.load(path) for path in pieces])
        """In the order of `pictures`; 12 kB each at 64 px."""
        self.pictures = [picture for path in pieces for picture in _read_pictures(path.with_suffix(".jsonl"))]

    def find(self, task: Task, scene: int, frame: int) -> int:
        """The place in the pool of a drawn frame (0 to 2) of a scene (0 to num_scenes - 1) of a task."""
        piece, place = divmod(scene, SCENES_PER_PIECE)
        before = (piece * len(TASKS) + TASKS.index(task)) * SCENES_PER_PIECE + place  # scenes, all tasks
        return before * FRAMES_PER_SCENE + frame


def pictures_of(task: Task, scene: int, image_size_px: int) -> list[tuple[Picture, UInt8[np.ndarray, "H W 3"]]]:
    """Three frames of a scene of the split `language`, chosen by its index."""
    item = make_item("language", scene, task)
    frames = Random(f"tiny/pictures/{task}/{scene}").sample(range(NUM_FRAMES), FRAMES_PER_SCENE)
    found = []
    for frame in frames:
        poses = item.poses[frame]
        state = state_of(item.scene, poses)
        facts = (*facts_of(item.scene, poses), *([state] if state else []))
        found.append((Picture(task, scene, frame, facts), np.asarray(draw(item.scene, poses, image_size_px))))
    return found


def _draw_piece(path: Path, image_size_px: int) -> None:
    first = int(path.stem)
    scenes = range(first, first + SCENES_PER_PIECE)
    drawn = [one for task in TASKS for scene in scenes for one in pictures_of(task, scene, image_size_px)]
    lines = [json.dumps(asdict(picture)) + "\n" for picture, _ in drawn]
    content = io.BytesIO()
    np.save(content, np.stack([pixels for _, pixels in drawn]))
    write_whole(path.with_suffix(".jsonl"), "".join(lines))
    write_whole(path, content.getvalue())  # last: where it lies, the piece is whole


def _read_pictures(path: Path) -> list[Picture]:
    return [_to_picture(json.loads(line)) for line in path.read_text().splitlines()]


def _to_picture(values: dict[str, Any]) -> Picture:
    facts = tuple(Question(**{**fact, "choices": tuple(fact["choices"])}) for fact in values.pop("facts"))
    return Picture(**values, facts=facts)


def _refuse_foreign(path: Path, image_size_px: int) -> None:
    """Compare a scene of each task of an earlier piece with what the simulation gives now."""
    pixels, pictures = np.load(path, mmap_mode="r"), _read_pictures(path.with_suffix(".jsonl"))
    for start in range(0, len(pictures), SCENES_PER_PIECE * FRAMES_PER_SCENE):
        now = pictures_of(pictures[start].task, pictures[start].scene, image_size_px)
        for offset, (picture, drawn) in enumerate(now):
            if pictures[start + offset] != picture or not np.array_equal(pixels[start + offset], drawn):
                raise ValueError(
                    f"{path.parent} holds other pictures than the simulation gives now ({picture.task}"
                    f" {picture.scene} differs): delete that folder, or build in another output_dir"
                )
