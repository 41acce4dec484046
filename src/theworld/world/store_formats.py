"""Number formats of the feature store, separate from its files: how features become bytes, and bytes features again."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FLOATS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INT8: Final = "int8"
"""Whole numbers of -127 to 127, with one float32 scale for each channel of an item, before its numbers."""
FORMATS: Final = (*FLOATS, INT8)

_SCALE_BYTES: Final = 4
_LARGEST: Final = 127


def item_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the size of one item, whose first axis is its channels."""
    if dtype == INT8:
        return math.prod(shape) + _SCALE_BYTES * shape[0]
    return math.prod(shape) * FLOATS[dtype].itemsize


def encode(features: Float[Tensor, "N C ..."], dtype: str) -> UInt8[np.ndarray, "N bytes"]:
    """Return the bytes of each item.

    bfloat16 keeps 8 significant bits of a float32, so an error is at most 1/256 of a value; int8 rounds to a 254th of
    the range of the item's channel.
    """
    if dtype != INT8:
        numbers = features.to(FLOATS[dtype]).contiguous()
        return numbers.view(len(features), -1).view(torch.uint8).numpy()
    rows = features.float().flatten(2)
    scales = rows.abs().amax(-1) / _LARGEST
    steps = torch.where(scales > 0, scales, 1).unsqueeze(-1)
    whole = (rows / steps).round().to(torch.int8)
    parts = scales.contiguous().view(torch.uint8), whole.view(torch.uint8).flatten(1)
    return torch.cat(parts, dim=1).numpy()


def decode(rows: UInt8[np.ndarray, "N bytes"], dtype: str, shape: Sequence[int]) -> Float[Tensor, "N C ..."]:
    """Return the features of items: floats as they are stored, int8 as float32."""
    content = torch.from_numpy(rows)
    if dtype != INT8:
        return content.view(FLOATS[dtype]).view(len(rows), *shape)
    end = _SCALE_BYTES * shape[0]
    scales = content[:, :end].flatten().view(torch.float32)
    whole = content[:, end:].flatten().view(torch.int8).view(len(rows), *shape)
    return whole.float().mul_(scales.view(len(rows), shape[0], *[1] * (len(shape) - 1)))
