"""DrawnSamples: samples whose pictures were simulated and drawn once, read from disk ever after."""

import io
import json
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample, Samples, Turn
from theworld.io import write_whole

_PER_PIECE: Final = 250
_NAME: Final = "samples.json"


class DrawnSamples:
    """Any samples of square pictures, drawn into a folder on first use and served from it.

    A file of frames and one of texts per 250 samples lie in the folder, whole or absent: a folder that was interrupted
    is filled up.

    Args:
        samples: what is drawn; it must survive being sent to another process.
        folder: where it is kept.
        identity: names the samples (their settings): a folder of others, or whose first sample says something else, is
            refused.
        num_processes: processes that draw; 1: this one.

    Raises:
        ValueError: if the folder holds other samples.
    """

    def __init__(self, samples: Samples, folder: Path, identity: dict[str, Any], num_processes: int = 1) -> None:
        first = _texts(samples[0]) if len(samples) else []  # what is asked may change where no setting does
        self._claim(folder, {**identity, "num_samples": len(samples), "first": first})
        starts = range(0, len(samples), _PER_PIECE)
        paths = [folder / f"{start:08d}.npy" for start in starts]
        missing = [(samples, start, path) for start, path in zip(starts, paths, strict=True) if not path.exists()]
        if num_processes == 1 or len(missing) < 2:
            for piece in tqdm(missing, desc="drawing", unit="piece", disable=not missing):
                _draw(*piece)
        else:  # fresh processes: one forked off a torch that has started its threads may hang
            with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
                for _ in tqdm(pool.map(_draw, *zip(*missing, strict=True)), total=len(missing), desc="drawing"):
                    pass
        self._frames = [np.load(path, mmap_mode="r") for path in paths]
        self._rows = [json.loads(line) for path in paths for line in path.with_suffix(".jsonl").open()]

    def _claim(self, folder: Path, identity: dict[str, Any]) -> None:
        path = folder / _NAME
        given = json.loads(json.dumps(identity))
        if not path.exists():
            write_whole(path, json.dumps(given, indent=2))
        elif (before := json.loads(path.read_text())) != given:
            raise ValueError(f"{folder} holds other samples ({before} instead of {given}): choose another folder")

    def __len__(self) -> int:
        return len(self._rows)

    def shape_of(self, index: int) -> Hashable:
        """The shape of a sample, without reading its pictures."""
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


def _texts(sample: Sample) -> list[list[str]]:
    return [[turn.role, turn.text] for turn in sample.turns]


def _draw(samples: Samples, start: int, path: Path) -> None:
    """Write one piece: the samples from `start` on."""
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
    content = io.BytesIO()
    np.save(content, np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8))
    write_whole(path.with_suffix(".jsonl"), "".join(lines))
    write_whole(path, content.getvalue())  # last: where it lies, the piece is whole


def _keep(frames: list[np.ndarray], clips: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Append the frames of clips; where each begins and ends."""
    for clip in clips:
        start = len(frames)
        frames.extend(np.asarray(to_image(frame)) for frame in clip)
        yield start, len(frames)
