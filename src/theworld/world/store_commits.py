"""Commits of the feature store: numbered files that make the items of a shard valid."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.world.store_files import StoreDamagedError, StoreError, checksum, opened
from theworld.world.store_formats import FORMATS, item_bytes

logger = logging.getLogger(__name__)

_MOST_LOST: Final = 10_000
"""Absent numbers below a commit that can be deleted commits; more of them, and the commit is a stray file."""

_Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(config=STRICT, frozen=True)
class Commit:
    """Items of one number format and shape, side by side in a shard, in the order of `keys`."""

    shard: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.shard$")]
    """Name of the shard file; never a path, which could leave the store."""
    offset: Annotated[int, Field(ge=0)]
    """Bytes before the first item."""
    dtype: str
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    """Shape of one item."""
    item_bytes: int
    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    checksums: tuple[_Checksum, ...]

    @model_validator(mode="after")
    def _check(self) -> "Commit":
        if self.dtype not in FORMATS:
            raise ValueError(f"dtype: expected {', '.join(FORMATS)}")
        if not self.shape or self.item_bytes != item_bytes(self.dtype, self.shape):
            raise ValueError("item_bytes: expected the size of an item of this shape and number format")
        if len(self.keys) != len(self.checksums):
            raise ValueError("checksums: expected one per key")
        return self

    @property
    def end(self) -> int:
        """Bytes of the shard up to and including the last item."""
        return self.offset + len(self.keys) * self.item_bytes

    def encode(self) -> bytes:
        """Encode a commit file: the checksum of the second line, and the second line."""
        body = json.dumps(asdict(self), separators=(",", ":")).encode()
        return checksum(body).encode() + b"\n" + body

    @classmethod
    def read(cls, file: Path) -> "Commit":
        """Read a commit file.

        Raises:
            FileNotFoundError: if there is no such file.
            StoreDamagedError: if its content does not match its checksum, or is not a commit's.
            StoreError: if it is not readable.
        """
        with opened(file) as stream:
            stated, _, body = stream.read().partition(b"\n")
        if checksum(body).encode() != stated:
            raise StoreDamagedError([file])
        try:
            return _COMMIT.validate_json(body)
        except (ValidationError, OverflowError) as error:
            raise StoreDamagedError([file]) from error


_COMMIT: Final = TypeAdapter(Commit)


def commit_file(folder: Path, number: int) -> Path:
    """Return the file of a commit in the folder of all commits."""
    return folder / f"{number:08d}.json"


def num_commits(folder: Path) -> int:
    """Return one more than the largest number of a commit on disk; files of other names are left alone.

    While others write, a listing may lack a number below its largest one: only the largest counts.

    Raises:
        StoreError: if the folder is missing or not readable, or a file has a number far beyond the others.
    """
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        raise StoreError(
            f"{folder}: {error.strerror}; expected the commits of the feature store. Copy the whole store anew, or"
            " give another store folder"
        ) from error
    strays = [name for name in names if name.endswith(".json") and _number(name) is None]
    if strays:
        logger.warning("%s: not a commit of the feature store; the file is ignored", folder / strays[0])
    numbers = sorted(number for name in names if (number := _number(name)) is not None)
    for before, number in pairwise((-1, *numbers)):
        if number - before > _MOST_LOST:
            raise StoreError(
                f"{commit_file(folder, number)}: {number - before - 1:,} commits before it are absent, so it is not"
                " of this feature store. Move the file to another folder, and run again"
            )
    return numbers[-1] + 1 if numbers else 0


def _number(name: str) -> int | None:
    """Return the number of a commit file's name; None for another file."""
    digits = name.removesuffix(".json")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        return None
    number = int(digits)
    return number if name == f"{number:08d}.json" else None


def read_commits(folder: Path, numbers: range) -> Iterator[Commit]:
    """Yield commits, without those whose files are gone: you delete a damaged one.

    Raises:
        StoreDamagedError: names all damaged files, after the last commit.
    """
    damaged: list[Path] = []
    lost: list[Path] = []
    for number in numbers:
        file = commit_file(folder, number)
        try:
            yield Commit.read(file)
        except FileNotFoundError:
            lost.append(file)
        except StoreDamagedError as error:
            damaged += error.files
    if damaged:
        raise StoreDamagedError(damaged)
    if lost:
        others = f" and {len(lost) - 1:,} more commits" if len(lost) > 1 else ""
        logger.warning("%s%s: gone; the features count as not stored", lost[0], others)
