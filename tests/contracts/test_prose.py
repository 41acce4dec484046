"""The prose of the pages and docstrings keeps to the style in CONTRIBUTING.md: "you", active voice, no "what".

`python tests/contracts/test_prose.py` prints the table, page by page.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "decisions.md")]
SOURCES = [path for folder in ("src/theworld", "recipes") for path in sorted((ROOT / folder).rglob("*.py"))]

MAX_WHAT = 1.5
MIN_YOU = 6.0
MAX_PASSIVE = 11.0
"""Limits per 1,000 words of prose; docstrings describe, so only pages need the reader in them."""

FRAGMENTS = ("What", "Whether", "Where", "Which", "How", "Who", "Of")

IRREGULAR = (
    "begun bent born borne bound broken brought built bought caught chosen cut done drawn driven eaten fed felt fitted"
    " forbidden forgotten found frozen given gone grown heard held hidden hit kept known laid lent led left let lost"
    " made meant met overridden overwritten paid put read rewritten run said seen sent set shared shown shut sold"
    " sought spent split spoken spread struck stuck sunk swept taken taught thought thrown told torn understood"
    " withheld won worn woven written"
)
PASSIVE = re.compile(
    r"\b(?:be|been|being|is|are|was|were)\s+(?:(?:not|never|also|only|then|already|still|all|both|each|\w+ly)\s+)?"
    rf"(?:\w+(?<!e)ed|{IRREGULAR.replace(' ', '|')})\b",
    re.IGNORECASE,
)


class Count(NamedTuple):
    """Words of a text, and the habits of speech that the limits are about."""

    words: int
    what: int
    you: int
    passive: int

    def per_thousand(self, habit: str) -> float:
        return 1000 * getattr(self, habit) / max(self.words, 1)


def prose(markdown: str) -> str:
    """Drop comments, blocks of code, tables, inline code and the targets of links."""
    text = re.sub(r"<!--.*?-->", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"^ *(```|~~~).*?^ *\1", " ", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\s*\|.*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"^:::.*(?:\n {4}.*)*", " ", text, flags=re.MULTILINE)  # filled in from docstrings
    text = re.sub(r"``.+?``|`[^`]+`", " ", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", text)


def count(text: str) -> Count:
    words = re.findall(r"[A-Za-z][A-Za-z'’-]*", text)
    lower = [word.lower() for word in words]
    return Count(
        words=len(words),
        what=sum(word.startswith("what") for word in lower),
        you=sum(word.partition("'")[0] in ("you", "your", "yours", "yourself") for word in lower),
        passive=len(PASSIVE.findall(text)),
    )


def docstrings(path: Path) -> Iterator[str]:
    """Every docstring of a module, also those of attributes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def docstrings_of_functions() -> Iterator[tuple[Path, str]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
                yield path, text


def fragments() -> list[str]:
    """First lines of functions' docstrings that begin with a question word or a fragment instead of a verb."""
    return [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path, text in docstrings_of_functions()
        if re.match(rf"(?:{'|'.join(FRAGMENTS)})\b", text)
    ]


def in_pages() -> Count:
    return count("\n".join(prose(page.read_text()) for page in PAGES))


def in_docstrings() -> Count:
    return count("\n".join(prose(text) for path in SOURCES for text in docstrings(path)))


def faults() -> list[str]:
    """List the limits that pages or docstrings exceed, and docstrings with a wrong beginning."""
    pages = in_pages()
    found = fragments()
    for name, counted in (("pages", pages), ("docstrings", in_docstrings())):
        for habit, limit in (("what", MAX_WHAT), ("passive", MAX_PASSIVE)):
            if counted.per_thousand(habit) > limit:
                found.append(f"{name}: {habit} {counted.per_thousand(habit):.1f}, at most {limit}")
    if pages.per_thousand("you") < MIN_YOU:
        found.append(f"pages: you {pages.per_thousand('you'):.1f}, at least {MIN_YOU}")
    return found


def test_pages_and_docstrings_keep_the_limits() -> None:
    assert in_pages().words > 5_000
    assert in_docstrings().words > 5_000
    assert faults() == []


def test_code_tables_and_comments_are_no_prose() -> None:
    page = "You `what` see.\n\n```sh\nwhat\n```\n\n| what |\n<!-- what -->\n[what](what.md) was seen; it is not read."

    assert count(prose(page)) == Count(words=9, what=1, you=1, passive=2)


def table() -> str:
    """Write the table of all pages, then of all pages and all docstrings together."""
    rows = [(page.relative_to(ROOT).as_posix(), count(prose(page.read_text()))) for page in PAGES]
    rows += [("README and docs", in_pages()), ("docstrings", in_docstrings())]
    lines = [f"{'per 1,000 words':28} {'words':>7} {'what':>6} {'you':>6} {'passive':>8}"]
    for name, counted in rows:
        what, you, passive = (counted.per_thousand(habit) for habit in ("what", "you", "passive"))
        lines.append(f"{name:28} {counted.words:7,} {what:6.1f} {you:6.1f} {passive:8.1f}")
    total = sum(1 for _ in docstrings_of_functions())
    lines.append(f"docstrings of functions that begin with {', '.join(FRAGMENTS)}: {len(fragments())} of {total}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
    sys.exit("\n".join(faults()) or 0)
