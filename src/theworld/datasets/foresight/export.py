"""Export: the shipped validation and test items with their data card, and pictures of scenes."""

import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from string import Template
from typing import Final

from PIL import Image, ImageDraw, ImageFont
from tqdm import trange

from theworld.datasets.foresight.items import NUM_SHIPPED, VERSION, Item, Split, find_item, make_item, shipped_path
from theworld.datasets.foresight.looks import PALETTE, Rgb
from theworld.datasets.foresight.questions import Question, dynamic_question, static_questions
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_FRAMES, TASKS, Scenes, Task
from theworld.io import write_whole
from theworld.tables import markdown_lines

TEMPLATE: Final = Path(__file__).with_name("data_card.md")
"""Template of the data card."""

_STILL: Final[tuple[Task, ...]] = ("drop", "topple", "roll")
"""Tasks whose questions are about a picture, not a clip."""


def write_example(folder: Path, num_pictures: int, image_size_px: int = 224) -> list[dict[str, str]]:
    """Draw still scenes as pictures, and return rows of your own data about them, two questions a picture.

    Raises:
        ValueError: for a picture that is there and another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(num_pictures):
        item = make_item("train", index // len(_STILL), _STILL[index % len(_STILL)])
        path = folder / f"{item.scene.task}-{item.index}.png"
        content = io.BytesIO()
        draw(item.scene, item.poses[0], image_size_px).save(content, "PNG")
        if path.exists() and path.read_bytes() != content.getvalue():
            raise ValueError(f"{path} is there already, with another picture: choose another --image-dir")
        write_whole(path, content.getvalue())
        for question in (dynamic_question(item), static_questions(item)[0]):
            rows.append({"image": path.as_posix(), "question": question.text, "answer": question.answer})
    return rows


def data_card(items: Sequence[Item]) -> str:
    """Return the README.md of a repository with these items, in Markdown with the Hub's metadata."""
    counts = Counter((item.split, item.scene.task) for item in items)
    outcomes = {key: Counter(item.outcome for item in items if (item.split, item.scene.task) == key) for key in counts}
    rows = []
    for (split, task), num_items in counts.items():
        by_outcome = ", ".join(str(number) for _, number in sorted(outcomes[split, task].items()))
        rows.append([split, task, f"{num_items:,}", by_outcome])
    table = markdown_lines(["split", "task", "items", "of each outcome"], rows, "|---|---|---:|---|")
    blanks = {
        "version": VERSION,
        "counts": "\n".join(table),
        "num_frames": NUM_FRAMES,
        "frame_rate": f"{FRAME_RATE_HZ:g}",
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(blanks)


def write_scenes(folder: Path) -> list[Path]:
    """Simulate the shipped items again; write a file of JSON lines per split and task, and a data card.

    Floating-point physics differs between processors, so your files may differ from the shipped ones.

    Returns:
        The files; the last one is the card, README.md.
    """
    paths, written = [], []
    for split, size in NUM_SHIPPED.items():
        for task in TASKS:
            items = [find_item(split, index, task) for index in trange(size, desc=f"{task} {split}", unit="item")]
            lines = "".join(json.dumps(item.to_dict(), separators=(",", ":")) + "\n" for item in items)
            paths.append(shipped_path(folder, split, task))
            write_whole(paths[-1], gzip.compress(lines.encode(), mtime=0))  # mtime=0: the same items, the same bytes
            written += items
    paths.append(folder / "README.md")
    write_whole(paths[-1], data_card(written))
    return paths


_FRAMES: Final[Mapping[int, Sequence[int]]] = {
    1: (0, 3, 5, 7, 9, 11, 13, NUM_FRAMES - 1),
    5: (0, 1, 2, 3, 4, 8, 12, NUM_FRAMES - 1),
}
"""Frames to show, by the number of given frames."""
_STEP: Final = 7  # neighbouring items share the side of the start; these differ in outcome, too

_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 33, 38)
_PALE: Final = (118, 124, 134)
_COLOUR_OF: Final[Mapping[str, Rgb]] = {str(name): rgb for name, rgb in PALETTE.items()}


def preview(
    path: str | PathLike[str],
    split: Split = "validation",
    rows: int = 6,
    image_size_px: int = 128,
    task: Task | None = None,
    scenes: Scenes = "plain",
) -> None:
    """Write a PNG with one scene per row: eight of its frames in time, question and answer, and one control.

    Args:
        path: the PNG file.
        split: split of the scenes.
        rows: number of scenes, every seventh of a task.
        image_size_px: side of each frame.
        task: the kind of scene; None: all tasks in turn.
        scenes: plain or varied.

    Raises:
        ValueError: if there are no rows, or for a split that the scenes do not have.
    """
    if rows < 1:
        raise ValueError(f"rows={rows}: expected 1 or more")
    strips = []
    tasks = TASKS if task is None else (task,)
    for row in range(rows):
        item = make_item(split, row // len(tasks) * _STEP, tasks[row % len(tasks)], scenes)
        controls = static_questions(item)
        strips.append(_strip(item, controls[row % len(controls)], image_size_px))
    margin = strips[0].height // 10
    size = (strips[0].width + 2 * margin, sum(strip.height + margin for strip in strips) + margin)
    grid = Image.new("RGB", size, _PAPER)
    for row, strip in enumerate(strips):
        grid.paste(strip, (margin, margin + row * (strip.height + margin)))
    grid.save(path, format="PNG", optimize=True)


def _strip(item: Item, control: Question, image_size_px: int) -> Image.Image:
    """Draw one scene: question and answer above its frames, times and a control below."""
    text_px = max(11, image_size_px // 9)
    font, small = ImageFont.load_default(text_px), ImageFont.load_default(text_px * 5 // 6)
    line_px, gap_px = text_px * 8 // 5, max(3, image_size_px // 20)
    # Never narrower than the longest question with its answer.
    num_given = item.scene.num_given_frames
    frames = _FRAMES[num_given]
    width = max(len(frames) * (image_size_px + gap_px) - gap_px, (60 if item.scene.is_varied else 48) * text_px)
    strip = Image.new("RGB", (width, image_size_px + 3 * line_px), _PAPER)
    pen = ImageDraw.Draw(strip)

    question = dynamic_question(item)
    middle = line_px // 2
    pen.text((0, middle), question.text, _INK, font, anchor="lm")
    pen.text((width, middle), question.answer, _INK, font, anchor="rm")
    if question.answer in _COLOUR_OF:
        chip = width - font.getlength(question.answer) - text_px
        box = (chip - text_px // 2, middle - text_px // 2, chip + text_px // 2, middle + text_px // 2)
        pen.rounded_rectangle(box, text_px // 4, _COLOUR_OF[question.answer])

    for column, frame in enumerate(frames):
        left = column * (image_size_px + gap_px)
        strip.paste(draw(item.scene, item.poses[frame], image_size_px), (left, line_px))
        time = "given" if frame < num_given else f"+ {(frame - num_given + 1) / FRAME_RATE_HZ:.2f} s"
        center = (left + image_size_px // 2, line_px + image_size_px + middle)
        pen.text(center, time, _INK if frame < num_given else _PALE, small, anchor="mm")

    bottom = line_px * 2 + image_size_px + middle
    pen.text((0, bottom), f"Control: {control.text}", _PALE, small, anchor="lm")
    pen.text((width, bottom), control.answer, _PALE, small, anchor="rm")
    return strip
