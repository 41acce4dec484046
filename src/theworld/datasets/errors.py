"""Records that give no sample: named by cause, so that they can be left out, counted and listed."""

from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from theworld.datasets.images import ImageError, MissingImageError, to_image

Cause = Literal[
    "missing picture",
    "unreadable picture",
    "wrong region",
    "empty answer",
    "overlong",
    "malformed",
    "wrong checksum",
    "dead link",
]


class RecordError(ValueError):
    """A record of a data set that gives no sample. The others may.

    Args:
        cause: what records are counted by.
        message: which record, and what is wrong with it.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(cause, message)
        self.cause: Cause = cause
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.cause})"


@dataclass(frozen=True)
class LeftOut:
    """A record that gave no sample."""

    record: int | str
    """Its index in the data set, or its name where there are no indices."""
    cause: Cause
    """What records are counted by."""
    message: str
    """What is wrong with it."""
    num_absent: int = 0
    """Not 0: it stands for so many records that were lost before, of which none was read."""


def read_picture(source: Any, name: str) -> Image.Image:
    """The RGB picture of a record.

    Args:
        source: where it lies, or what `to_image` takes else; None for one that is not there.
        name: of the record, for messages.

    Raises:
        RecordError: missing picture, or unreadable picture (cut off, or of no known format).
    """
    if source is None:
        raise RecordError("missing picture", f"{name}: no picture")
    try:
        return to_image(source)
    except MissingImageError as error:
        raise RecordError("missing picture", f"{name}: {error}") from error
    except ImageError as error:
        raise RecordError("unreadable picture", f"{name}: {error}") from error
