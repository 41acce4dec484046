"""A sample as a model is trained on it, readable: its text, and which of it is supervised."""

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
    """Control tokens spelt out; four or more equal tokens in a row, as placeholders and padding are, once with their
    number: `<world_soft_token>×64`."""
    supervised: bool
    """Whether the loss is taken on it."""


def spans(input_ids: Int[Tensor, " L"], labels: Int[Tensor, " L"], tokenizer: Any) -> list[Span]:
    """Cut a row of a batch where supervision begins and ends.

    Args:
        input_ids: one row.
        labels: what is to be predicted at each position, not shifted; -100 where nothing is.
        tokenizer: of the processor that made the ids.

    Raises:
        ValueError: for labels that are neither -100 nor the id at their place.
    """
    ids, supervised = input_ids.tolist(), (labels != IGNORE_INDEX).tolist()
    if other := ((labels != IGNORE_INDEX) & (labels != input_ids)).nonzero().flatten().tolist():
        raise ValueError(
            f"labels at {other[:5]} are not the ids there: expected labels as the collator makes them, not shifted"
        )
    return [
        Span("".join(_decoded([ids[place] for place in places], tokenizer)), is_supervised)
        for is_supervised, places in groupby(range(len(ids)), key=lambda place: supervised[place])
    ]


def supervised_text(input_ids: Int[Tensor, " L"], labels: Int[Tensor, " L"], tokenizer: Any) -> str:
    """A row of a batch as one text, what is supervised between `⟦` and `⟧`; arguments as `spans`.

    `<bos><start_of_turn>user\\nIn which bin?<end_of_turn>\\n<start_of_turn>model\\n⟦red<end_of_turn>⟧\\n`
    """
    return "".join(f"⟦{span.text}⟧" if span.supervised else span.text for span in spans(input_ids, labels, tokenizer))


def _decoded(ids: Sequence[int], tokenizer: Any) -> Iterator[str]:
    """Texts of the ids, what repeats itself shortened; ids between repetitions are decoded together."""
    between: list[int] = []
    for one, run in groupby(ids):
        same = list(run)
        if len(same) < _MANY:
            between += same
            continue
        yield tokenizer.decode(between) + f"{tokenizer.decode([one])}×{len(same)}"
        between = []
    yield tokenizer.decode(between)
