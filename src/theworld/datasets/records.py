"""Records that give no sample: named by cause, so that they can be left out, counted and listed."""

from typing import Literal

Cause = Literal[
    "missing picture", "unreadable picture", "wrong region", "empty answer", "overlong", "malformed", "wrong checksum"
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
