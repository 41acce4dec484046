"""The page of the notebook: its text and code, and what a run on the embedded model showed."""

import base64
import re
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

from pages.blocks import ROOT

NOTEBOOK: Final = ROOT / "examples" / "foresight.ipynb"
PAGE: Final = ROOT / "docs" / "notebook.md"
PICTURES: Final = ROOT / "docs" / "images" / "notebook"
"""Pictures and animations of the run."""

_LONGEST_SECONDS: Final = 1800
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


def write_notebook() -> None:
    """Run the notebook, which takes minutes, and write its page and pictures."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=_LONGEST_SECONDS, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.iterdir():
        old.unlink()
    PAGE.write_text(page_of(book, PICTURES))


def page_of(book: Any, pictures: Path) -> str:
    """Return a notebook as Markdown, with its outputs; write their pictures into a folder.

    Args:
        book: an executed notebook (or one without outputs).
        pictures: folder of the pictures, below the page's.
    """
    parts = []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [text for output in cell.get("outputs", []) if (text := _shown(output, pictures))]
    title, *rest = parts
    head, _, text = title.partition("\n")
    note = "*A run of `examples/foresight.ipynb` on the embedded model; `make pages` writes this page.*"
    return "\n\n".join([head, note, text.strip(), *rest]) + "\n"


def _shown(output: Any, pictures: Path) -> str:
    """Return an output as Markdown; progress and warnings (stderr) are left out."""
    if output.output_type == "stream":
        text = _ANSI.sub("", output.text).rstrip()
        return f"```text\n{text}\n```" if output.name == "stdout" and text else ""
    data = output.get("data", {})
    for kind in ("png", "gif"):
        if f"image/{kind}" in data:
            path = pictures / f"{len(list(pictures.iterdir())) + 1}.{kind}"
            path.write_bytes(base64.b64decode(data[f"image/{kind}"]))
            return f"![output]({path.relative_to(pictures.parents[1])})"
    return str(data.get("text/markdown", "")).strip()
