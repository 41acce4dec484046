"""DrawnSamples: simulated samples, drawn once and read from disk afterwards."""

import io
import json
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample, Samples, Turn
from theworld.io import PieceFolder, claim

_PER_PIECE: Final = 250
_NAME: Final = "samples.json"


class DrawnSamples:
    """Samples of square pictures, drawn into a folder on first use and read from it afterwards.

    The folder holds a file of frames and a file of texts per 250 samples; see `PieceFolder` for interruptions.

    Args:
        samples: the samples to draw; with several processes they must be picklable.
        folder: holds the drawn samples.
        identity: settings of the samples. A folder with another identity, number of samples or first text is refused.
        num_processes: processes that draw; 1: this process.

    Raises:
        ValueError: if the folder holds other samples.
    """

    def __init__(self, samples: Samples, folder: Path, identity: dict[str, Any], num_processes: int = 1) -> None:
        first = _texts(samples[0]) if len(samples) else []  # a question may change while all settings stay the same
        claim(folder / _NAME, {**identity, "num_samples": len(samples), "first": first}, "choose another folder")
        pieces = PieceFolder(folder, range(0, len(samples), _PER_PIECE))
        pieces.fill(partial(_draw, samples), "drawing", num_processes)
        self._frames = [np.load(path, mmap_mode="r") for path in pieces.paths]
        self._rows = [json.loads(line) for path in pieces.paths for line in path.with_suffix(".jsonl").open()]

    def __len__(self) -> int:
        return len(self._rows)

    def shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample without reading its pictures."""
        row = self._rows[index]
        clips = row["clips"]
        lengths = {1} if clips is None else {stop - start for start, stop in clips}
        return tuple(sorted(lengths)), row["num_world_steps"]

    def __getitem__(self, index: int) -> Sample:
        row, frames = self._rows[index], self._frames[index // _PER_PIECE]

        def cut(spans: list[list[int]] | None) -> tuple[UInt8[np.ndarray, "F H W 3"], ...] | None:
            return None if spans is None else tuple(np.array(frames[start:stop]) for start, stop in spans)

        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in row["fields"].items()}
        return Sample(
            id=row["id"],
            turns=tuple(Turn(role, text) for role, text in row["turns"]),
            images=tuple(clip[0] for clip in cut(row["images"]) or ()),
            clips=cut(row["clips"]),
            future=cut(row["future"]),
            num_world_steps=row["num_world_steps"],
            fields=fields,
        )


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as the bytes of a .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _texts(sample: Sample) -> list[list[str]]:
    return [[turn.role, turn.text] for turn in sample.turns]


def _draw(samples: Samples, start: int) -> dict[str, str | bytes]:
    """Draw the piece that starts at a sample: its frames and its texts, by suffix."""
    frames: list[np.ndarray] = []
    lines = []
    for index in range(start, min(start + _PER_PIECE, len(samples))):
        sample = samples[index]
        row = {
            "id": sample.id,
            "turns": _texts(sample),
            "images": list(_keep(frames, [[image] for image in sample.images])),
            "clips": None if sample.clips is None else list(_keep(frames, sample.clips)),
            "future": None if sample.future is None else list(_keep(frames, sample.future)),
            "num_world_steps": sample.num_world_steps,
            "fields": dict(sample.fields),
        }
        lines.append(json.dumps(row) + "\n")
    pixels = np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)
    return {".jsonl": "".join(lines), ".npy": npy_bytes(pixels)}


def _keep(frames: list[np.ndarray], clips: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Append the frames of clips to `frames`; yield the start and the stop of each clip in it."""
    for clip in clips:
        start = len(frames)
        frames.extend(np.asarray(to_image(frame)) for frame in clip)
        yield start, len(frames)
