"""Pools of simulated clips, drawn beforehand in pieces by several processes, and read as a data set."""

import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset
from tqdm import tqdm

from theworld.datasets import foresight
from theworld.io import write_whole

CLIPS_PER_PIECE: Final = 250
FIRST_HELD_OUT: Final = 100_000_000
"""Index of the first clip that no recipe trains on."""

Clip = UInt8[np.ndarray, "17 H W 3"]


def held_out(num_clips: int, image_size_px: int) -> UInt8[np.ndarray, "N 17 H W 3"]:
    """Clips of the world split that no recipe trains on: the quality of the VAE and the world is measured on them."""
    return np.stack([foresight.world_clip(FIRST_HELD_OUT + index, image_size_px) for index in range(num_clips)])


class ClipPool(Dataset):
    """The first clips of the world split, drawn on first use: `{"clips": uint8 (17, H, W, 3)}` by index.

    A file per 250 clips lies in `folder`, whole or absent: a pool that was interrupted is filled up.

    Args:
        folder: where the pieces lie, or will.
        num_clips: how many clips the data set has.
        image_size_px: side of the frames.
        num_processes: processes that draw; 1: this one.

    Raises:
        ValueError: if the folder holds clips of other scenes or of another size.
    """

    def __init__(self, folder: Path, num_clips: int, image_size_px: int, num_processes: int = 1) -> None:
        self.num_clips = num_clips
        self._pieces = [folder / f"{first:08d}.npy" for first in range(0, num_clips, CLIPS_PER_PIECE)]
        _refuse_foreign(self._pieces[0], image_size_px)
        missing = [path for path in self._pieces if not path.exists()]
        with _in_processes(num_processes, missing, image_size_px) as drawn:
            for _ in tqdm(drawn, desc="drawing clips", total=len(missing), unit="piece", disable=not missing):
                pass
        self._arrays = [np.load(path, mmap_mode="r") for path in self._pieces]

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of {self.num_clips}")
        return {"clips": np.array(self._arrays[index // CLIPS_PER_PIECE][index % CLIPS_PER_PIECE])}


def draw_piece(path: Path, image_size_px: int) -> None:
    """Write the piece that starts at the clip its file is named by."""
    first = int(path.stem)
    clips = [foresight.world_clip(index, image_size_px) for index in range(first, first + CLIPS_PER_PIECE)]
    content = io.BytesIO()
    np.save(content, np.stack(clips))
    write_whole(path, content.getvalue())


@contextmanager
def _in_processes(num_processes: int, missing: list[Path], image_size_px: int) -> Iterator[Iterator[object]]:
    if num_processes == 1 or len(missing) < 2:
        yield (draw_piece(path, image_size_px) for path in missing)
        return
    # Fresh processes: one forked off a torch that has started its threads may hang.
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        yield as_completed([pool.submit(draw_piece, path, image_size_px) for path in missing])


def _refuse_foreign(piece: Path, image_size_px: int) -> None:
    """Compare a few clips of an earlier pool with what the simulation gives now."""
    if not piece.exists():
        return
    stored = np.load(piece, mmap_mode="r")
    for index in range(10):  # each task twice
        if not np.array_equal(stored[index], foresight.world_clip(index, image_size_px)):
            raise ValueError(
                f"{piece.parent} holds other clips than the simulation gives now (clip {index} differs):"
                " delete that folder, or build in another output_dir"
            )
