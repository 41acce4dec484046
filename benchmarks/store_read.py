"""Reading from the feature store over raw memory-mapped reading of the same bytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure, paired_ratio
from theworld.world.store import FeatureStore

BATCH = 32
# 64 kB, 256 kB and 1 MB an item: (C, T, h, w) in float32.
SHAPES = {(16, 1, 32, 32): 1024, (16, 4, 32, 32): 512, (16, 16, 32, 32): 256}
FIRST_GOAL = 0.05
"""Memory is copied several times faster than SHA-256 reads it; the first epoch alone pays for that."""


def raw_over_stored(folder: Path, shape: tuple[int, ...], num_items: int) -> tuple[float, float]:
    """Return raw time over store time, for later reads and for the first ones, which compare checksums.

    A read takes every item once, in random order, in batches of 32.
    """
    store = FeatureStore(folder, "benchmark", create=True)
    keys = [f"{number:032x}" for number in range(num_items)]
    for start in range(0, num_items, BATCH):
        store.put(keys[start : start + BATCH], torch.randn(BATCH, *shape))
    (shard,) = (folder / "shards").iterdir()
    content = np.asarray(np.memmap(shard, np.uint8, "r")).view(np.ndarray)
    num_bytes = len(content) // num_items
    order = np.random.default_rng(0).permutation(num_items).tolist()
    batches = [order[start : start + BATCH] for start in range(0, num_items, BATCH)]

    def raw() -> None:
        for items in batches:
            batch = np.empty((len(items), num_bytes), np.uint8)
            for row, item in zip(batch, items, strict=True):
                row[:] = content[item * num_bytes : (item + 1) * num_bytes]

    def stored() -> None:
        for items in batches:
            store.get([keys[item] for item in items])

    def first() -> None:
        nonlocal store
        store = FeatureStore(folder, "benchmark")  # a new one has compared nothing yet
        stored()

    later = paired_ratio(raw, stored)
    return later, paired_ratio(raw, first)


def figures() -> Iterator[Figure]:
    """Return the worst ratios of all item sizes."""
    ratios = []
    for shape, num_items in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            ratios.append(raw_over_stored(Path(folder) / "features", shape, num_items))
    later, first = (min(column) for column in zip(*ratios, strict=True))
    yield Figure("store_read_over_raw_mmap", later, 0.8, at_least=True)
    yield Figure("first_store_read_over_raw_mmap", first, FIRST_GOAL, at_least=True)
