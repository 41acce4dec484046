"""Blocks of a page between named marks, which `python -m pages` writes."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "docs" / "results"
"""Committed results of runs, which the pages show."""


def with_block(text: str, name: str, block: str) -> str:
    """Replace the text between the marks of a name in a page.

    Raises:
        ValueError: unless each mark is there once.
    """
    start, end = f"<!-- {name}: written by `make pages` -->", f"<!-- end of {name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"expected {start!r} and {end!r} in the page, each once")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"


def write_block(page: str, name: str, block: str) -> None:
    """Write a block into a page, a path relative to the root."""
    path = ROOT / page
    path.write_text(with_block(path.read_text(), name, block))
