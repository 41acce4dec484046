"""Readable view of a training row: its text, with the supervised tokens marked."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from theworld.constants import IGNORE_INDEX

_MANY = 4


class Span(NamedTuple):
    """A stretch of a row of ids, decoded."""

    text: str
    """With control tokens; four or more equal tokens in a row, such as placeholders and padding, appear once with
    their number: `<world_soft_token>×64`."""
    supervised: bool
    """Whether it counts in the loss."""


def spans(input_ids: Int[Tensor, " L"], labels: Int[Tensor, " L"], tokenizer: Any) -> list[Span]:
    """Split a row of a batch into supervised and other spans.

    Args:
        input_ids: one row.
        labels: target of each position, not shifted; -100 for none.
        tokenizer: of the processor of the ids.

    Raises:
        ValueError: for labels other than -100 and the id at their position.
    """
    ids, supervised = input_ids.tolist(), (labels != IGNORE_INDEX).tolist()
    if wrong := ((labels != IGNORE_INDEX) & (labels != input_ids)).nonzero().flatten().tolist():
        raise ValueError(
            f"labels at {wrong[:5]} differ from the ids there: expected the collator's labels, not shifted"
        )
    return [
        Span("".join(_decoded([ids[place] for place in places], tokenizer)), is_supervised)
        for is_supervised, places in groupby(range(len(ids)), key=lambda place: supervised[place])
    ]


def supervised_text(input_ids: Int[Tensor, " L"], labels: Int[Tensor, " L"], tokenizer: Any) -> str:
    """Return a row of a batch as text, supervised spans between `⟦` and `⟧`; arguments as for `spans`.

    `<bos><start_of_turn>user\\nIn which bin?<end_of_turn>\\n<start_of_turn>model\\n⟦red<end_of_turn>⟧\\n`
    """
    return "".join(f"⟦{span.text}⟧" if span.supervised else span.text for span in spans(input_ids, labels, tokenizer))


def _decoded(ids: Sequence[int], tokenizer: Any) -> Iterator[str]:
    """Texts of the ids with repetitions shortened; ids between repetitions are decoded together."""
    between: list[int] = []
    for id, run in groupby(ids):
        same = list(run)
        if len(same) < _MANY:
            between += same
            continue
        yield tokenizer.decode(between) + f"{tokenizer.decode([id])}×{len(same)}"
        between = []
    yield tokenizer.decode(between)
