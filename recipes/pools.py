"""Pools of simulated clips and pictures, drawn in pieces before training and read as data sets."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from theworld.datasets import foresight
from theworld.datasets.disk_cache import npy_bytes
from theworld.datasets.foresight.ground_truth import Question, facts_of, state_of
from theworld.datasets.foresight.items import make_item
from theworld.datasets.foresight.questions import worded
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import NUM_FRAMES, TASKS, Scenes, Task
from theworld.io import PieceFolder

REMEDY: Final = "delete that folder, or build in another output_dir"

CLIPS_PER_PIECE: Final = 250
FIRST_HELD_OUT_CLIP: Final = 100_000_000
"""Index of the first clip that no recipe trains on."""

SCENES_PER_PIECE: Final = 50
"""Scenes of each task in a piece."""
FRAMES_PER_SCENE: Final = 3
FIRST_HELD_OUT_SCENE: Final = 1_000_000
"""Index of the first scene of each task that no recipe trains on."""

Clip = UInt8[np.ndarray, "17 H W 3"]

_NUM_COMPARED: Final = 10
"""Clips of an earlier pool that are drawn again and compared: two of each task."""


def digest(array: np.ndarray) -> str:
    """Return the shape of an array and the first digits of the SHA-256 of its values."""
    sides = "x".join(map(str, array.shape))
    return f"{sides} {sha256(array.tobytes()).hexdigest()[:16]}"


# --- clips -----------------------------------------------------------------------------------------------


def world_clips(
    first: int, num_clips: int, image_size_px: int, scenes: Scenes = "plain"
) -> UInt8[np.ndarray, "N 17 H W 3"]:
    """Draw consecutive clips of the split `world`."""
    return np.stack([foresight.world_clip(first + number, image_size_px, scenes) for number in range(num_clips)])


def held_out(num_clips: int, image_size_px: int, scenes: Scenes = "plain") -> UInt8[np.ndarray, "N 17 H W 3"]:
    """Draw clips of the split `world` that no recipe trains on, to measure the VAE and the world model."""
    return world_clips(FIRST_HELD_OUT_CLIP, num_clips, image_size_px, scenes)


class ClipPool(Dataset):
    """The first clips of the split `world`, drawn on first use: `{"clips": uint8 (17, H, W, 3)}` by index.

    `folder` holds a file per 250 clips; see `PieceFolder` for interruptions.

    Args:
        folder: holds the pieces.
        num_clips: length of the data set.
        image_size_px: side of the frames.
        num_processes: processes that draw; 1: this process.
        scenes: plain or varied.

    Raises:
        ValueError: if the folder holds clips of other scenes or of another size.
    """

    def __init__(
        self, folder: Path, num_clips: int, image_size_px: int, num_processes: int = 1, scenes: Scenes = "plain"
    ) -> None:
        self.num_clips = num_clips
        pieces = PieceFolder(folder, range(0, num_clips, CLIPS_PER_PIECE))
        pieces.compare(
            lambda path: _clip_digests(int(path.stem), np.load(path, mmap_mode="r")[:_NUM_COMPARED]),
            lambda first: _clip_digests(first, world_clips(first, _NUM_COMPARED, image_size_px, scenes)),
            REMEDY,
        )
        make = partial(_draw_clips, num_clips=CLIPS_PER_PIECE, image_size_px=image_size_px, scenes=scenes)
        pieces.fill(make, "drawing clips", num_processes)
        self._arrays = [np.load(path, mmap_mode="r") for path in pieces.paths]

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of {self.num_clips}")
        return {"clips": np.array(self._arrays[index // CLIPS_PER_PIECE][index % CLIPS_PER_PIECE])}


def _draw_clips(first: int, num_clips: int, image_size_px: int, scenes: Scenes) -> dict[str, bytes]:
    return {".npy": npy_bytes(world_clips(first, num_clips, image_size_px, scenes))}


def _clip_digests(first: int, clips: Iterable[Clip]) -> dict[str, str]:
    return {f"clip {index}": digest(clip) for index, clip in enumerate(clips, start=first)}


# --- pictures --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A frame of a scene with all questions that it answers; none is about a later frame."""

    task: Task
    scene: int
    frame: int
    facts: tuple[Question, ...]


class PicturePool:
    """Three frames of each of the first scenes of the split `language`, drawn on first use.

    `folder` holds a file of pictures and one of facts per 50 scenes of each task; see `PieceFolder` for interruptions.

    Args:
        folder: holds the pieces.
        num_scenes: scenes of each task.
        image_size_px: side of the pictures.
        first: index of the first scene.
        scenes: plain or varied.

    Raises:
        ValueError: if the folder holds pictures of other scenes or of another size.
    """

    def __init__(
        self, folder: Path, num_scenes: int, image_size_px: int, first: int = 0, scenes: Scenes = "plain"
    ) -> None:
        self.num_scenes = num_scenes
        pieces = PieceFolder(folder, range(first, first + num_scenes, SCENES_PER_PIECE))
        current = partial(_current_digests, image_size_px=image_size_px, scenes=scenes)
        pieces.compare(_stored_digests, current, REMEDY)
        pieces.fill(partial(_draw_pictures, image_size_px=image_size_px, scenes=scenes), "drawing pictures")
        self.pixels: UInt8[np.ndarray, "N H W 3"] = np.concatenate([np.load(path) for path in pieces.paths])
        """In the order of `pictures`; 12 kB each at 64 px."""
        self.pictures = [picture for path in pieces.paths for picture in _read_pictures(path)]

    def find(self, task: Task, scene: int, frame: int) -> int:
        """Return the index in the pool of a drawn frame (0 to 2) of a scene (0 to num_scenes - 1) of a task."""
        piece, place = divmod(scene, SCENES_PER_PIECE)
        before = (piece * len(TASKS) + TASKS.index(task)) * SCENES_PER_PIECE + place  # scenes, all tasks
        return before * FRAMES_PER_SCENE + frame


def pictures_of(
    task: Task, scene: int, image_size_px: int, scenes: Scenes = "plain"
) -> list[tuple[Picture, UInt8[np.ndarray, "H W 3"]]]:
    """Draw three frames of a scene of the split `language`, chosen by its index."""
    item = make_item("language", scene, task, scenes)
    frames = Random(f"tiny/pictures/{task}/{scene}").sample(range(NUM_FRAMES), FRAMES_PER_SCENE)
    pictures = []
    for frame in frames:
        poses = item.poses[frame]
        state = state_of(item.scene, poses)
        shown = (*facts_of(item.scene, poses), *([state] if state else []))
        facts = tuple(worded(fact, item.scene, f"{item.id}/{frame}") for fact in shown)
        pictures.append((Picture(task, scene, frame, facts), np.asarray(draw(item.scene, poses, image_size_px))))
    return pictures


def _draw_pictures(first: int, image_size_px: int, scenes: Scenes) -> dict[str, str | bytes]:
    numbers = range(first, first + SCENES_PER_PIECE)
    drawn = [
        picture for task in TASKS for number in numbers for picture in pictures_of(task, number, image_size_px, scenes)
    ]
    lines = [json.dumps(asdict(picture)) + "\n" for picture, _ in drawn]
    return {".jsonl": "".join(lines), ".npy": npy_bytes(np.stack([pixels for _, pixels in drawn]))}


def _read_pictures(path: Path) -> list[Picture]:
    return [_to_picture(json.loads(line)) for line in path.with_suffix(".jsonl").open()]


def _to_picture(values: dict[str, Any]) -> Picture:
    facts = tuple(Question(**{**fact, "choices": tuple(fact["choices"])}) for fact in values.pop("facts"))
    return Picture(**values, facts=facts)


def _stored_digests(path: Path) -> dict[str, Any]:
    """Describe the first scene of each task in a piece on disk."""
    pixels, pictures = np.load(path, mmap_mode="r"), _read_pictures(path)
    per_task = SCENES_PER_PIECE * FRAMES_PER_SCENE
    chosen = [index for index in range(len(pictures)) if index % per_task < FRAMES_PER_SCENE]
    return _picture_digests((pictures[index], pixels[index]) for index in chosen)


def _current_digests(first: int, image_size_px: int, scenes: Scenes) -> dict[str, Any]:
    """Describe the same scenes as the simulation gives them now."""
    return _picture_digests(picture for task in TASKS for picture in pictures_of(task, first, image_size_px, scenes))


def _picture_digests(pictures: Iterable[tuple[Picture, UInt8[np.ndarray, "H W 3"]]]) -> dict[str, Any]:
    digests = {}
    for picture, pixels in pictures:
        name = f"{picture.task} {picture.scene}, frame {picture.frame}"
        digests[name] = {"pixels": digest(pixels), "facts": [asdict(fact) for fact in picture.facts]}
    return digests
