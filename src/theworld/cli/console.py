"""Results of commands: tables on a terminal, Markdown in a pipe, one line of JSON for a program."""

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

OK, FAULT, REFUSED, STOPPED, INTERRUPTED, UNREAD = 0, 1, 2, 75, 130, 141
"""Exit codes.

Success; a fault that `doctor` found, or a bug of this program; refused input, with one message; stopped by a signal,
saved and ready to resume (EX_TEMPFAIL of sysexits.h); interrupted (128 + SIGINT); closed output (128 + SIGPIPE).
"""


class Result(NamedTuple):
    """The result of a command, for a program and for a reader."""

    values: dict[str, Any]
    """JSON-like."""
    markdown: str = ""
    """The same for a reader; empty: `values`, name by name."""
    code: int = OK
    """Exit code of the process."""
    is_file: bool = False
    """Whether `markdown` is the content of a file, which is printed as it is."""


def print_result(result: Result, as_json: bool) -> None:
    """Write a result to standard output.

    Raises:
        ValueError: for JSON that holds NaN or infinity.
    """
    if as_json:
        text = json.dumps(result.values, allow_nan=False, default=str) + "\n"
    elif result.markdown:
        if sys.stdout.isatty() and not result.is_file:
            _typeset(result.markdown)
            return
        text = result.markdown.rstrip("\n") + "\n"
    else:
        text = facts(result.values)
    sys.stdout.write(text)
    sys.stdout.flush()


def announce(text: str) -> None:
    """Print a line at once, such as the address of a server."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def facts(values: dict[str, Any]) -> str:
    """Return a line for each value, its name first; texts of several lines follow as they are."""
    pairs = list(_named("", values))
    width = max((len(name) for name, text in pairs if "\n" not in text), default=0)
    lines = [f"{name:<{width}}  {text}".rstrip() for name, text in pairs if "\n" not in text]
    texts = [text.rstrip("\n") for _, text in pairs if "\n" in text]
    return "".join(f"{part}\n" for part in (*lines, *texts))


def _named(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        for number, item in enumerate(value):
            yield from _named(f"{name}.{number}", item)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(_shown, value))
    else:
        yield name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def close_bars() -> None:
    """Close every progress bar that an interruption left open."""
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(getattr(tqdm, "tqdm", None), "_instances", ())):
        bar.close()


def _typeset(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown, TableElement
    from rich.theme import Theme

    class Folded(TableElement):
        """A table that wraps long cells instead of cutting them off."""

        def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
            for table in super().__rich_console__(console, options):
                for column in getattr(table, "columns", ()):
                    column.overflow = "fold"
                yield table

    class Set(Markdown):
        elements = {**Markdown.elements, "table_open": Folded}  # noqa: RUF012

    styles = {"h1": "bold", "h2": "bold", "code": "bold", "table.border": "dim", "table.header": "bold"}
    theme = Theme({f"markdown.{name}": style for name, style in styles.items()})
    Console(theme=theme, highlight=False).print(Set(markdown))
