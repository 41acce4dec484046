"""Records without a sample, by cause; separate because every data set raises them and a run lists them."""

from dataclasses import dataclass
from typing import Literal

Cause = Literal[
    "missing picture",
    "unreadable picture",
    "missing video",
    "unreadable video",
    "wrong region",
    "empty answer",
    "overlong",
    "malformed",
    "wrong checksum",
    "dead link",
]


class RecordError(ValueError):
    """A record of a data set that gives no sample; others may give one.

    Args:
        cause: category for counts.
        message: the record and its fault.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(cause, message)
        self.cause: Cause = cause
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.cause})"


class ImageError(ValueError):
    """An object that is no picture, or one that cannot be read."""


class MissingImageError(ImageError):
    """A path without a file."""


class VideoError(ImageError):
    """An object that is no video, or one that cannot be read."""


@dataclass(frozen=True)
class LeftOut:
    """A skipped record."""

    record: int | str
    """Its index in the data set, or its name if there are no indices."""
    cause: Cause
    """Category for counts."""
    message: str
    """Its fault."""
    num_absent: int = 0
    """Not 0: this entry represents this number of records that were lost earlier, and none was read."""
