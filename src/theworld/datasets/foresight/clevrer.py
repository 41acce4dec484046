"""Foresight in the files of CLEVRER (arXiv 1910.01442): videos, annotations of motion and collisions, and questions.

    FOLDER/
      video_validation/video_10000-11000/video_10000.mp4                    the given frames alone
      annotation_validation/annotation_10000-11000/annotation_10000.json
      validation.json                                                       questions, an entry a scene

The schema is that of CLEVRER's README and of the code that reads it. Three things differ. Videos and annotations end
where the question is asked, after one picture or five: the rest is under keys of ours, `future_trajectory` and
`future_collision`. Questions have no programs (`program` is empty): CLEVRER's modules do not describe these scenes.
Scenes are flat, so vectors of three numbers hold a zero: places are (x, 0, height) in picture sides, or (x, y, 0) in
scenes seen from above; angles turn around the axis of view.
"""

import io
import json
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import trange

from theworld.datasets.foresight.ground_truth import Question, listed
from theworld.datasets.foresight.items import Item, Split, check_split, make_item
from theworld.datasets.foresight.questions import dynamic_question, static_questions
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, TASKS, Scene, Scenes, Task
from theworld.io import write_whole

FIRST: Final = {"train": 0, "validation": 10_000, "test": 15_000}
"""Number of the first scene of a split, as in CLEVRER; all other splits count from that of the test."""

_FOLDER_SIZE: Final = 1_000
_TOUCHING: Final = 0.005
"""Largest gap between the rims of balls that touch, picture sides."""
_BY_WORD: Final = " Answer with one word."


def write_clevrer(
    folder: Path,
    split: Split = "validation",
    num_scenes: int = 5,
    image_size_px: int = 128,
    task: Task | None = None,
    scenes: Scenes = "plain",
) -> list[Path]:
    """Write scenes as CLEVRER's files.

    Args:
        folder: of the files; those of equal names are replaced.
        split: of the scenes.
        num_scenes: number of scenes.
        image_size_px: side of the videos; an even number, which the codec needs.
        task: kind of scene; None: all in turn.
        scenes: plain or varied.

    Returns:
        The files; the last one holds the questions.

    Raises:
        ValueError: for an odd size, or a split that the scenes do not have.
    """
    check_split(split, scenes)
    if image_size_px % 2:
        raise ValueError(f"image_size_px={image_size_px}: expected an even number, which the codec of videos needs")
    tasks = TASKS if task is None else (task,)
    paths, asked = [], []
    for place in trange(num_scenes, desc=f"scenes of {split}", unit="scene"):
        item = make_item(split, place // len(tasks), tasks[place % len(tasks)], scenes)
        number = FIRST.get(split, FIRST["test"]) + place
        start = number // _FOLDER_SIZE * _FOLDER_SIZE
        video = f"video_{number:05d}.mp4"
        for kind, name, content in (
            ("video", video, _film(item, image_size_px)),
            ("annotation", f"annotation_{number:05d}.json", json.dumps(annotation(item, number, video)).encode()),
        ):
            paths.append(folder / f"{kind}_{split}" / f"{kind}_{start:05d}-{start + _FOLDER_SIZE:05d}" / name)
            write_whole(paths[-1], content)
        asked.append({"scene_index": number, "video_filename": video, "questions": questions(item)})
    paths.append(folder / f"{split}.json")
    write_whole(paths[-1], json.dumps(asked, indent=1))
    return paths


def annotation(item: Item, number: int, video: str) -> dict[str, Any]:
    """Return the annotation of a scene.

    Args:
        item: the scene and its motion.
        number: `scene_index`.
        video: name of its video.
    """
    scene, now = item.scene, item.scene.num_given_frames
    trajectory, collisions = _trajectory(scene, item.poses), _collisions(scene, item.poses)
    shapes = [("sphere", ball.colour) for ball in scene.balls] + [("cube", block.colour) for block in scene.blocks]
    return {
        "scene_index": number,
        "video_filename": video,
        "object_property": [
            {"object_id": place, "color": colour, "material": "rubber", "shape": shape}
            for place, (shape, colour) in enumerate(shapes)
        ],
        "motion_trajectory": trajectory[:now],
        "collision": [touch for touch in collisions if touch["frame_id"] < now],
        "future_trajectory": trajectory[now:],
        "future_collision": [touch for touch in collisions if touch["frame_id"] >= now],
    }


def questions(item: Item) -> list[dict[str, Any]]:
    """Return the questions about a scene: descriptive ones first, then the predictive one with a choice an answer."""
    asked: list[dict[str, Any]] = []
    for control in static_questions(item):
        text, answer = control.text.removesuffix(_BY_WORD), control.answer
        asked.append({"question_type": "descriptive", "question": text, "program": [], "answer": answer})
    future = dynamic_question(item)
    choices = [
        {
            "choice_id": place,
            "choice": choice,
            "program": [],
            "answer": "correct" if choice == future.answer else "wrong",
        }
        for place, choice in enumerate(future.choices)
    ]
    asked.append({"question_type": "predictive", "question": _open(future), "program": [], "choices": choices})
    return [{"question_id": place, **question} for place, question in enumerate(asked)]


def _open(question: Question) -> str:
    """Return a question without the list of its answers, which are its choices."""
    text = question.text.removesuffix(_BY_WORD)
    return f"{text.removesuffix('?').removesuffix(f': {listed(question.choices)}')}?"


def _trajectory(scene: Scene, poses: Float[np.ndarray, "17 num_bodies 3"]) -> list[dict[str, Any]]:
    speeds = np.gradient(poses, 1 / FRAME_RATE_HZ, axis=0)
    return [
        {
            "frame_id": frame,
            "objects": [
                {
                    "object_id": place,
                    "location": _place(scene, x, y),
                    "orientation": _turn(scene, angle),
                    "velocity": _velocity(scene, *speeds[frame, place, :2]),
                    "angular_velocity": _turn(scene, speeds[frame, place, 2]),
                    "inside_camera_view": bool(0 <= x <= 1 and 0 <= y <= 1),
                }
                for place, (x, y, angle) in enumerate(poses[frame])
            ],
        }
        for frame in range(len(poses))
    ]


def _collisions(scene: Scene, poses: Float[np.ndarray, "17 num_bodies 3"]) -> list[dict[str, Any]]:
    """Return the first frame of each touch of two balls; blocks of a tower touch from the start and have none."""
    touches = []
    for first, second in combinations(range(len(scene.balls)), 2):
        gaps = np.linalg.norm(poses[:, second, :2] - poses[:, first, :2], axis=-1) - 2 * scene.ball_radius
        for frame in range(1, len(poses)):
            if gaps[frame] <= _TOUCHING < gaps[frame - 1]:
                x, y = (poses[frame, first, :2] + poses[frame, second, :2]) / 2
                location = _place(scene, x, y)
                touches.append({"object_ids": [first, second], "frame_id": frame, "location": location})
    return sorted(touches, key=lambda touch: touch["frame_id"])


def _is_from_above(scene: Scene) -> bool:
    return scene.task == "collide"


def _place(scene: Scene, x: float, y: float) -> list[float]:
    """Return a place of the picture, whose y points down, in three dimensions."""
    return _rounded(x, 1 - y, 0.0) if _is_from_above(scene) else _rounded(x, 0.0, 1 - y)


def _velocity(scene: Scene, x: float, y: float) -> list[float]:
    return _rounded(x, -y, 0.0) if _is_from_above(scene) else _rounded(x, 0.0, -y)


def _turn(scene: Scene, angle: float) -> list[float]:
    """Return an angle, which is clockwise in the picture, around the axis of view."""
    return _rounded(0.0, 0.0, -angle) if _is_from_above(scene) else _rounded(0.0, angle, 0.0)


def _rounded(*values: float) -> list[float]:
    return [round(float(value), 4) + 0.0 for value in values]  # no -0.0


def _film(item: Item, side_px: int) -> bytes:
    """Return an MP4 file of the given frames."""
    import av

    frames: UInt8[np.ndarray, "F H W 3"] = draw_clip(item.scene, item.poses[: item.scene.num_given_frames], side_px)
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        track = container.add_stream("libx264", rate=round(FRAME_RATE_HZ), options={"crf": "10"})
        track.width = track.height = side_px
        track.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(track.encode(None))
    return content.getvalue()
