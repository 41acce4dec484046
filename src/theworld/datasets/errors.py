"""Records without a sample, by cause, so that a run can skip, count and list them."""

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


def read_picture(source: Any, name: str) -> Image.Image:
    """Read the RGB picture of a record.

    Args:
        source: a path, or any other form that `to_image` accepts; None: the record has no picture.
        name: of the record, for messages.

    Raises:
        RecordError: missing picture, or unreadable picture (truncated, or of an unknown format).
    """
    if source is None:
        raise RecordError("missing picture", f"{name}: no picture")
    try:
        return to_image(source)
    except MissingImageError as error:
        raise RecordError("missing picture", f"{name}: {error}") from error
    except ImageError as error:
        raise RecordError("unreadable picture", f"{name}: {error}") from error
