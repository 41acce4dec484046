"""Messages that docs/troubleshooting.md quotes are those that the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import theworld

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
GAP = "…"
"""What varies in a message: on the page as in `messages`."""


def flat(node: ast.expr) -> str | None:
    """A text, also a formatted or joined one, with a gap for each value in it; None: no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
    return None


def messages() -> Iterator[str]:
    """Every text of the package that is no docstring."""
    for path in sorted(Path(theworld.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and id(node) not in docstrings and (text := flat(node)):
                yield text


MESSAGES = list(messages())
QUOTED = [
    row.split(" | ")[0].removeprefix("| ").strip("`") for row in PAGE.read_text().splitlines() if row.startswith("| `")
]


def is_there(quoted: str) -> bool:
    """Whether one message has all pieces of the quoted one, in their order."""
    pattern = ".*".join(re.escape(piece.strip()) for piece in quoted.split(GAP))
    return any(re.search(pattern, text, re.DOTALL) for text in MESSAGES)


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 40


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_code(quoted: str) -> None:
    assert len(quoted.replace(GAP, "").strip()) > 15, "too little to be found by"
    assert is_there(quoted), quoted


@pytest.mark.parametrize("changed", ["… holds a run already: go on with resume=true", "the hub is closed on Sundays"])
def test_a_message_that_the_code_does_not_have_is_noticed(changed: str) -> None:
    assert not is_there(changed)
