"""Time to read features from the store over raw memory-mapped reading of the same bytes, in pairs; one JSON line."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from theworld.world.store import FeatureStore

GOAL = 0.8
BATCH = 32
NUM_PAIRS = 15
# 64 kB, 256 kB and 1 MB an item: (C, T, h, w) in float32.
SHAPES = {(16, 1, 32, 32): 1024, (16, 4, 32, 32): 512, (16, 16, 32, 32): 256}


def store_over_raw(folder: Path, shape: tuple[int, ...], num_items: int) -> float:
    """Raw time over store time, median of pairs: every item once, in random order, in batches of 32."""
    store = FeatureStore(folder, "benchmark", create=True)
    keys = [f"{number:032x}" for number in range(num_items)]
    for start in range(0, num_items, BATCH):
        store.put(keys[start : start + BATCH], torch.randn(BATCH, *shape))
    (shard,) = (folder / "shards").iterdir()
    content = np.asarray(np.memmap(shard, np.uint8, "r")).view(np.ndarray)
    num_bytes = len(content) // num_items
    generator = np.random.default_rng(0)

    def raw(items: list[int]) -> object:
        batch = np.empty((len(items), num_bytes), np.uint8)
        for row, item in zip(batch, items, strict=True):
            row[:] = content[item * num_bytes : (item + 1) * num_bytes]
        return batch

    def stored(items: list[int]) -> object:
        return store.get([keys[item] for item in items])

    def seconds(read: Callable[[list[int]], object], order: list[int]) -> float:
        began = time.perf_counter()
        for start in range(0, num_items, BATCH):
            read(order[start : start + BATCH])
        return time.perf_counter() - began

    ratios = []
    for pair in range(NUM_PAIRS + 1):
        order = generator.permutation(num_items).tolist()
        timed = {read: seconds(read, order) for read in ((raw, stored) if pair % 2 else (stored, raw))}
        if pair:  # the first touches every page
            ratios.append(timed[raw] / timed[stored])
    return statistics.median(ratios)


def main() -> None:
    """Print the worst of the item sizes."""
    torch.set_num_threads(1)
    ratios = {}
    for shape, num_items in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            ratios[shape] = store_over_raw(Path(folder) / "features", shape, num_items)
    value = round(min(ratios.values()), 3)
    line = {"name": "store_read_over_raw_mmap", "value": value, "goal": GOAL, "met": value >= GOAL, "unit": "ratio"}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
