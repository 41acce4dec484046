"""Shipping: writes the validation and test items that come with the package, so that all machines share them."""

import gzip
import json
from pathlib import Path

from tqdm import trange

from theworld.files import write_whole
from theworld.foresight.card import data_card
from theworld.foresight.items import NUM_SHIPPED, find_item, shipped_path
from theworld.foresight.scene import TASKS


def write_scenes(folder: Path) -> list[Path]:
    """Simulate the shipped items anew and write them, a file of JSON lines per split and task, and a card beside them.

    Floating-point physics differs between processors: what this writes elsewhere need not be what is shipped.

    Returns:
        The files; the last one is the card, README.md.
    """
    paths, written = [], []
    for split, size in NUM_SHIPPED.items():
        for task in TASKS:
            items = [find_item(split, index, task) for index in trange(size, desc=f"{task} {split}", unit="item")]
            lines = "".join(json.dumps(item.to_dict(), separators=(",", ":")) + "\n" for item in items)
            paths.append(shipped_path(folder, split, task))
            write_whole(paths[-1], gzip.compress(lines.encode(), mtime=0))  # without a time: same items, same bytes
            written += items
    paths.append(folder / "README.md")
    write_whole(paths[-1], data_card(written))
    return paths
