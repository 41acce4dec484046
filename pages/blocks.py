"""Blocks of a page that are written by `python -m pages`, between marks that name them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "docs" / "results"
"""What runs wrote, committed: the figures that the pages show."""


def with_block(text: str, name: str, block: str) -> str:
    """A page with what stands between the marks of a name replaced.

    Raises:
        ValueError: if the marks are not there, each once.
    """
    start, end = f"<!-- {name}: written by `make pages` -->", f"<!-- end of {name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"expected {start!r} and {end!r} in the page, each once")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"


def write_block(page: str, name: str, block: str) -> None:
    """Write a block into a page, named by its path from the root."""
    path = ROOT / page
    path.write_text(with_block(path.read_text(), name, block))
