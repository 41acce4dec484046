"""What a command found, told: set as tables on a terminal, Markdown in a pipe, one line of JSON for a program."""

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

OK, FAULT, REFUSED, STOPPED, INTERRUPTED, UNREAD = 0, 1, 2, 75, 130, 141
"""Exit codes.

Done; `doctor` found a fault, or this program has one; the input was refused, with one message; told to stop, saved, and
to be resumed (EX_TEMPFAIL of sysexits.h); interrupted (128 + SIGINT); nobody reads the output (128 + SIGPIPE).
"""


class Told(NamedTuple):
    """What a command found, for a program and for a reader."""

    found: dict[str, Any]
    """JSON-like."""
    markdown: str = ""
    """The same for a reader; empty: `found`, name by name."""
    code: int = OK
    """What the process ends with."""


def tell(told: Told, as_json: bool) -> None:
    """Write what was found to standard output.

    Raises:
        ValueError: for JSON that holds NaN or infinity.
    """
    if as_json:
        text = json.dumps(told.found, allow_nan=False, default=str) + "\n"
    elif told.markdown:
        if sys.stdout.isatty():
            _typeset(told.markdown)
            return
        text = told.markdown.rstrip("\n") + "\n"
    else:
        text = facts(told.found)
    sys.stdout.write(text)
    sys.stdout.flush()


def announce(text: str) -> None:
    """Say at once what a reader waits for, such as the address of a server."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def facts(found: dict[str, Any]) -> str:
    """A line for each value, with its name before it; a text of several lines stands as it is, under the others."""
    pairs = list(_named("", found))
    width = max((len(name) for name, text in pairs if "\n" not in text), default=0)
    lines = [f"{name:<{width}}  {text}".rstrip() for name, text in pairs if "\n" not in text]
    texts = [text.rstrip("\n") for _, text in pairs if "\n" in text]
    return "".join(f"{part}\n" for part in (*lines, *texts))


def _named(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _named(f"{name}.{inner}" if name else str(inner), one)
    elif isinstance(value, list | tuple) and any(isinstance(one, dict | list | tuple) for one in value):
        for number, one in enumerate(value):
            yield from _named(f"{name}.{number}", one)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(_shown, value))
    else:
        yield name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def close_bars() -> None:
    """End the line of every progress bar that an interruption has left open."""
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(getattr(tqdm, "tqdm", None), "_instances", ())):
        bar.close()


def _typeset(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown, TableElement
    from rich.theme import Theme

    class Folded(TableElement):
        """A table that breaks its cells where they are too long, and never cuts them off."""

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
