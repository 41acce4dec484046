"""JSONL files that survive a kill at any byte, continue at their end, and refuse rows of another run."""

import json
import logging
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from theworld.io import check_same_run, unique_names, write_whole

logger = logging.getLogger(__name__)

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_CONSTANT = re.compile(rb"-?(?:NaN|Infinity)")


RowType = TypeVar("RowType", bound=Any)
"""A pydantic dataclass with `sample_id`, and with `error`: `TypeName: message`, or None without an error."""
IdentityType = TypeVar("IdentityType", bound=Any)
WriterType = TypeVar("WriterType")
"""RowWriter or a subclass: beartype does not accept `Self` in a single method."""


class RowFormat(Generic[RowType, IdentityType]):
    """Classes of the rows of a file and of the identity of their run.

    Args:
        row: class of the rows, a pydantic dataclass.
        identity: class of the run's identity, a pydantic dataclass.
        noun: plural name of the rows: predictions, verdicts.
        keeps_errors: keep error rows when the file is opened again, because they record a cost; a new attempt may
            follow them.
    """

    def __init__(
        self, row: type[RowType], identity: type[IdentityType], noun: str, *, keeps_errors: bool = False
    ) -> None:
        self.row = TypeAdapter(row)
        self.identity = TypeAdapter(identity)
        self.noun = noun
        self.keeps_errors = keeps_errors

    def identity_path(self, path: Path) -> Path:
        """Return the path of the run identity beside `name.jsonl`: `name.run.json`.

        Raises:
            ValueError: if the name does not end in `.jsonl`.
        """
        path = Path(path)
        if path.suffix != ".jsonl":
            raise ValueError(f"{path}: files of {self.noun} are named *.jsonl")
        return path.with_suffix(".run.json")

    def read_identity(self, path: Path) -> IdentityType:
        """Read the identity of the run that wrote the rows at `path`.

        Raises:
            FileNotFoundError: if there is no `name.run.json`.
            ValueError: if it cannot be parsed.
        """
        file = self.identity_path(path)
        return _validated(self.identity.validate_json, file.read_bytes().removeprefix(BOM_UTF8), str(file))

    def read(self, path: Path) -> list[RowType]:
        """Read all rows of a file, error rows included, in the order of writing.

        Raises:
            ValueError: names the file and line of a row that is damaged, cut off or repeated.
        """
        rows, torn = self.whole_rows(Path(path))
        if torn:
            raise ValueError(
                f"{path}, line {len(rows) + 1}: cut off in the middle: the run is still writing, or was killed;"
                " start it again, it goes on where it stopped"
            )
        return rows

    def whole_rows(self, path: Path) -> tuple[list[RowType], int]:
        """Read the rows of complete lines; return them and the number of bytes after the last line end."""
        *lines, tail = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
        rows: list[RowType] = []
        line_of: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            row = _validated(self.row.validate_json, line, f"{path}, line {number}")
            if row.sample_id in line_of:
                raise ValueError(
                    f"{path}, line {number}: sample {row.sample_id!r} is in line {line_of[row.sample_id]} already"
                )
            if row.error is None or not self.keeps_errors:
                line_of[row.sample_id] = number
            rows.append(row)
        return rows, len(tail)

    def line(self, row: RowType) -> bytes:
        """Return a row as a line of a file."""
        return self.row.dump_json(row) + b"\n"

    def check(self, path: Path, identity: IdentityType) -> None:
        """Refuse a file of another run; nothing is written.

        Raises:
            ValueError: if the file belongs to another run or has no identity.
        """
        beside = self.identity_path(path)
        if not path.exists() or path.stat().st_size == 0:  # an identity alone: that run failed before its first row
            return
        if not beside.exists():
            raise ValueError(f"{path} holds {self.noun}, but no {beside.name} says of which run; choose another name")
        expected, saved = asdict(identity), asdict(self.read_identity(path))
        if saved.get("dtype", ...) is None:  # files of earlier versions do not name the number format
            saved["dtype"] = expected["dtype"]
        check_same_run(path, expected, saved, f"choose another output_dir, or remove {path.name} and {beside.name}")

    def claim(self, path: Path, identity: IdentityType) -> None:
        """Write the identity beside a new file, and refuse a file of another run.

        Raises:
            ValueError: as `check`.
        """
        self.check(path, identity)
        if not path.exists() or path.stat().st_size == 0:
            text = json.dumps(self.identity.dump_python(identity), indent=2, sort_keys=True)
            write_whole(self.identity_path(path), text + "\n")


class RowWriter(Generic[RowType, IdentityType]):
    """Appends rows to a file; after a kill, it continues at the end of the file.

    Opening removes an incomplete last line and, unless the format keeps them, the error rows: both are done again.
    Each row goes to the operating system at once, so a killed process loses at most the row that it was writing.

    ```
    file     {row a}\\n{row b: error}\\n{row c}\\n{"sample_id": "d", "que
    opened   {row a}\\n{row c}\\n                                          done() = {a, c}
    ```
    """

    def __init__(self, path: Path, identity: IdentityType, form: RowFormat[RowType, IdentityType]) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run, has no identity, or is damaged before its last line.
        """
        self.path = Path(path)
        self._form = form
        form.claim(self.path, identity)
        rows, num_torn_bytes = form.whole_rows(self.path) if self.path.exists() else ([], 0)
        whole = [row for row in rows if row.error is None]
        kept = rows if form.keeps_errors else whole
        if num_torn_bytes or len(whole) < len(rows):
            logger.warning(
                "%s: doing %d error rows and an incomplete line of %d bytes again",
                self.path,
                len(rows) - len(whole),
                num_torn_bytes,
            )
        if num_torn_bytes or len(kept) < len(rows):
            write_whole(self.path, b"".join(map(form.line, kept)))
        self._done = {row.sample_id for row in whole}
        self._stream = self.path.open("ab")
        self._written = self._place()

    def done(self) -> frozenset[str]:
        """Return the ids of the rows in the file, except for error rows that the format keeps."""
        return frozenset(self._done)

    def append(self, rows: Iterable[RowType]) -> None:
        """Write rows at the end of the file.

        Raises:
            ValueError: if an id is in the file already.
            RuntimeError: if another process has written to the file.
        """
        for row in rows:
            if row.sample_id in self._done:
                raise ValueError(f"{self.path}: sample {row.sample_id!r} is in the file already")
            if self._place() != self._written:
                raise RuntimeError(
                    f"{self.path}: another process writes to this file; end one of the two and start again"
                )
            if row.error is None or not self._form.keeps_errors:
                self._done.add(row.sample_id)
            self._stream.write(self._form.line(row))
            self._stream.flush()
            self._written = self._place()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self: WriterType) -> WriterType:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_ino, status.st_size


def error_text(error: BaseException) -> str:
    """Format an exception for a row: `TypeName: message`."""
    return f"{type(error).__name__}: {error}"


def _validated(validate: Callable[[bytes], Any], text: bytes, place: str) -> Any:
    has_constant = _CONSTANT.search(text)
    if has_constant and (constant := _CONSTANT.search(_STRING.sub(b"", text))):  # pydantic accepts them as numbers
        raise ValueError(f"{place}: {constant[0].decode()} is not JSON; write null")
    try:
        value = validate(text)
        json.loads(text, object_pairs_hook=unique_names)  # pydantic takes the last of two values of one name
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, reason['loc'])) or 'row'}: {reason['msg']}" for reason in error.errors()[:3]
        )
        raise ValueError(f"{place}: {reasons}") from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    return value
