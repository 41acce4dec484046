"""Sequence packing: several samples share a row, for less padding."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor

from theworld.constants import IGNORE_INDEX

NO_SAMPLE: Final = -1
"""Value of `packed_samples` at padding."""


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Assign samples to rows: each sample, the longest first, goes to the first row with room for it.

    Args:
        lengths: tokens of each sample.
        capacity: maximum tokens of a row.

    Returns:
        Sample numbers of each row.

    Raises:
        ValueError: for a sample that no row can hold.
    """
    if lengths and max(lengths) > capacity:
        raise ValueError(f"a sample of {max(lengths)} tokens for rows of {capacity}: raise max_length or drop it")
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        place = next((row for row, free in enumerate(room) if free >= lengths[number]), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(capacity)
        rows[place].append(number)
        room[place] -= lengths[number]
    return rows


def packed(
    batch: dict[str, Any], pictures: Sequence[int], clips: Sequence[int], pad_token_id: int, capacity: int | None = None
) -> dict[str, Any]:
    """Pack the samples of a batch into as few rows as first-fit decreasing finds.

        samples           a a a .      packed_samples    0  0  0  1  1 -1      position_ids   0  1  2  0  1  0
                          b b . .
                          c c c c                        0  0  0  0 -1 -1                     0  1  2  3  0  0
        (capacity 6)                   rows              a  a  a  b  b  .
                                                         c  c  c  c  .  .      (here without sorting)

    Pictures and clips follow their samples into row order.

    Args:
        batch: of the collator, a sample in each row.
        pictures: pictures of each sample, which are its rows of `pixel_values` and `teacher_pictures`.
        clips: clips of each sample, which are its rows of `world_pixels`, `world_features` or `teacher_features`.
        pad_token_id: id at padded positions.
        capacity: maximum tokens of a row; None: the length of the longest sample.

    Returns:
        The batch in fewer rows, with position_ids that start at 0 in each sample, and packed_samples: the number of a
        position's sample within its row, NO_SAMPLE at padding.

    Raises:
        ValueError: for a sample longer than `capacity`.
    """
    real = batch["attention_mask"].bool()
    lengths = real.sum(1).tolist()
    rows = first_fit_decreasing(lengths, max(lengths) if capacity is None else capacity)
    width = max(sum(lengths[number] for number in row) for row in rows)
    first, place = [0] * len(lengths), [0] * len(lengths)
    for number, row in enumerate(rows):
        starts = accumulate((lengths[sample] for sample in row), initial=number * width)
        for order, (sample, start) in enumerate(zip(row, starts, strict=False)):
            first[sample], place[sample] = start, order
    repeats = torch.tensor(lengths)
    position_ids = (real.cumsum(1) - 1)[real]
    target = torch.tensor(first).repeat_interleave(repeats) + position_ids  # of each token, in the order of `real`

    def spread(values: Tensor, padding: int) -> Tensor:
        spread = values.new_full((len(rows) * width,), padding)
        spread[target] = values
        return spread.view(len(rows), width)

    padding = {"input_ids": pad_token_id, "attention_mask": 0, "token_type_ids": 0, "labels": IGNORE_INDEX}
    result = {**batch, **{name: spread(batch[name][real], fill) for name, fill in padding.items() if name in batch}}
    result["position_ids"] = spread(position_ids, 0)
    result["packed_samples"] = spread(torch.tensor(place).repeat_interleave(repeats), NO_SAMPLE)
    order = [sample for row in rows for sample in row]
    of_pictures, of_clips = ("pixel_values", "teacher_pictures"), ("world_pixels", "world_features", "teacher_features")
    for names, counts in ((of_pictures, pictures), (of_clips, clips)):
        for name in names:
            if name in batch:
                groups = batch[name].split(list(counts))
                result[name] = torch.cat([groups[sample] for sample in order])
    return result
