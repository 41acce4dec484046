"""Rows of videos for tests: small films of squares that move, and files of rows that name them."""

import json
from pathlib import Path
from typing import Any

from fixtures_clips import film, moving_square
from theworld.datasets.video import ClipRule

RULE = ClipRule(frame_rate_hz=6.0, num_frames=5)
"""That of the tiny world model."""


def write_films(folder: Path, number: int = 10, num_frames: int = 12, side_px: int = 32) -> list[str]:
    """Write the films `clips/0.mp4` and so on, of 12 frames a second; return their paths below the folder."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    names = [f"clips/{index}.mp4" for index in range(number)]
    for index, name in enumerate(names):
        film(folder / name, moving_square(num_frames, side_px, seed=index))
    return names


def row(video: str, index: int = 0, **more: Any) -> dict[str, Any]:
    """A row about a video."""
    return {"video": video, "question": f"What moves in {index}?", "answer": f"square {index}", **more}


def write_rows(folder: Path, number: int = 10, **films: Any) -> Path:
    """Write films and `rows.json`, a row about each."""
    names = write_films(folder, number, **films)
    path = folder / "rows.json"
    path.write_text(json.dumps([row(name, index) for index, name in enumerate(names)]))
    return path
