"""Verdicts: what a judge said about each reply, in a file that keeps what failed calls cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from theworld.evaluation.rows import RowFormat, RowWriter

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class Verdict:
    """What a judge said about one reply, and what that took, in one run.

    Raises:
        ValueError: (pydantic's) unless there is either a reply that can be used or an error.
    """

    sample_id: str
    """Id of the item; a file may hold several rows of it, of which the last may be no error."""

    category: str
    """Category of the question."""

    reply: str | None
    """The judge's last reply as it is; beside an error, one that cannot be used."""

    error: str | None = None
    """`TypeName: message` of what stood in the way; an error is never a verdict."""

    num_calls: int
    """Calls that were made, those that failed included."""

    num_prompt_tokens: int = 0
    """Tokens of prompts, as the judge counts them."""

    num_completion_tokens: int = 0
    """Tokens of replies, as the judge counts them."""

    num_uncounted: int = 0
    """Replies of which the judge did not tell the tokens."""

    seconds: float
    """Wall time of the calls, pauses left out."""

    @model_validator(mode="after")
    def _check(self) -> "Verdict":
        if self.error is None and self.reply is None:
            raise ValueError(f"sample {self.sample_id!r}: expected a reply or an error")
        return self


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class JudgingIdentity:
    """Which run a file of verdicts belongs to: this judge, asked in these words, about these replies."""

    judge: str
    """Endpoint and model, or checkpoint and fingerprint."""

    settings_hash: str
    """Hash of what the judge's replies depend on besides: decoding, format."""

    prompts: str
    """Fingerprint of all prompts."""

    replies: str
    """Fingerprint of the items and the replies to them."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version, for a judge on this machine."""


FORMAT: RowFormat[Verdict, JudgingIdentity] = RowFormat(Verdict, JudgingIdentity, "verdicts", keeps_errors=True)


class VerdictWriter(RowWriter[Verdict, JudgingIdentity]):
    """Appends verdicts to a file; see `RowWriter`. Error rows stay, and their items are judged again."""

    def __init__(self, path: Path, identity: JudgingIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run or to none, or holds a damaged row before its last line.
        """
        super().__init__(path, identity, FORMAT)


def read_verdicts(path: Path) -> list[Verdict]:
    """All rows of a file, error rows and items that were judged again included.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off, or behind a verdict on the same item.
    """
    return FORMAT.read(path)


@plain_dataclass(frozen=True)
class Cost:
    """What verdicts took, over all runs that wrote to their file."""

    num_calls: int
    num_retries: int
    """Calls beyond the first for an item in a run, and those for items that an earlier run had failed at."""
    num_prompt_tokens: int
    num_completion_tokens: int
    num_uncounted: int
    """Replies of which the judge did not tell the tokens."""
    seconds: float
    """Sum over the calls, which may have run side by side."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def cost(rows: Sequence[Verdict]) -> Cost:
    """Add up what rows took."""
    num_calls = sum(row.num_calls for row in rows)
    return Cost(
        num_calls=num_calls,
        num_retries=num_calls - len({row.sample_id for row in rows if row.num_calls}),
        num_prompt_tokens=sum(row.num_prompt_tokens for row in rows),
        num_completion_tokens=sum(row.num_completion_tokens for row in rows),
        num_uncounted=sum(row.num_uncounted for row in rows),
        seconds=sum(row.seconds for row in rows),
    )
