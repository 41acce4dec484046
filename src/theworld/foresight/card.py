"""The card of a folder of items: what is in it, how it was made, and what it is not for."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from theworld.foresight.items import VERSION, Item
from theworld.foresight.scene import FRAME_RATE_HZ, NUM_FRAMES

TEMPLATE: Final = Path(__file__).with_name("data_card.md")
"""The card with its blanks."""


def data_card(items: Sequence[Item]) -> str:
    """README.md of a repository with these items, in Markdown with the hub's metadata."""
    counts = Counter((item.split, item.scene.task) for item in items)
    outcomes = {key: Counter(item.outcome for item in items if (item.split, item.scene.task) == key) for key in counts}
    rows = []
    for (split, task), num_items in counts.items():
        by_outcome = ", ".join(str(number) for _, number in sorted(outcomes[split, task].items()))
        rows.append(f"| {split} | {task} | {num_items:,} | {by_outcome} |")
    table = ["| split | task | items | of each outcome |", "|---|---|---:|---|", *rows]
    blanks = {
        "version": VERSION,
        "counts": "\n".join(table),
        "num_frames": NUM_FRAMES,
        "frame_rate": f"{FRAME_RATE_HZ:g}",
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(blanks)
