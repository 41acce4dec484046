"""Keys and values of prefixes in batches: each row of a batch has those of its own prompt, of its own length."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from theworld.serving.reuse import Kept


def keys_of_rows(cache: DynamicCache, lengths: Sequence[int]) -> list[Kept]:
    """Split the keys and values of a batch that is padded on the left.

    Args:
        cache: of the batch.
        lengths: tokens of each row without its padding.

    Returns:
        For each row (1, H, P, d): keys and values of the first layer, of the second, ... A layer with a sliding window
        has the last ones alone.
    """
    layers: list[Any] = list(cache.layers)  # each with keys and values, once it has seen tokens
    return [
        tuple(
            tensor[row : row + 1, :, -length:].clone()  # a view would keep the whole batch alive
            for layer in layers
            for tensor in (layer.keys, layer.values)
        )
        for row, length in enumerate(lengths)
    ]


def joined_keys(config: Any, rows: Sequence[Kept], lengths: Sequence[int]) -> DynamicCache:
    """Join keys and values of rows, padded on the left to the longest; the reverse of `keys_of_rows`.

    Args:
        config: of the language model.
        rows: keys and values of each row.
        lengths: tokens of each row.
    """
    cache: Any = DynamicCache(config=config)
    for number, layer in enumerate(cache.layers):
        keys, values = (_padded([row[2 * number + which] for row in rows]) for which in (0, 1))
        layer.update(keys, values)
        if layer.is_sliding:
            layer.cumulative_length = max(lengths)  # also the tokens that left the window
    return cache


def _padded(tensors: Sequence[Tensor]) -> Tensor:
    length = max(tensor.shape[-2] for tensor in tensors)
    return torch.cat([F.pad(tensor, (0, 0, length - tensor.shape[-2], 0)) for tensor in tensors])


def two_parts(inputs: Sequence[dict[str, Any]], lengths: Sequence[int], pad_token_id: int) -> dict[str, Tensor]:
    """Join the tokens of rows, each part padded on the left, so that all prefixes end at the same place.

    ids     [pad, bos, IMG | pad, what, ...]
            [bos, IMG, IMG | who, is,   ...]

    Positions count the attention mask, so padding between the parts moves none.

    Args:
        inputs: of the rows.
        lengths: tokens of the prefix of each row.
        pad_token_id: id of padding.
    """
    rows = [row["input_ids"] for row in inputs]
    columns = zip(*(row.tensor_split([length], 1) for row, length in zip(rows, lengths, strict=True)), strict=True)
    ids, mask = [], []
    for parts in columns:
        most = max(part.shape[1] for part in parts)
        ids.append(torch.cat([F.pad(part, (most - part.shape[1], 0), value=pad_token_id) for part in parts]))
        mask.append(torch.cat([F.pad(torch.ones_like(part), (most - part.shape[1], 0)) for part in parts]))
    return {"input_ids": torch.cat(ids, 1), "attention_mask": torch.cat(mask, 1)}


def fits(sliding_window: int | None, sizes: Sequence[tuple[int, int]], num_new: int) -> bool:
    """Return True if rows can have padding between their prefixes and their questions.

    A sliding window counts places, not positions: beyond it the padding would hide tokens that a row alone sees.

    Args:
        sliding_window: of the language model; None: it has none.
        sizes: (tokens of the prefix, tokens after it) of each row.
        num_new: most tokens of an answer.
    """
    prefixes, rests = zip(*sizes, strict=True)
    return sliding_window is None or len(set(rests)) == 1 or max(prefixes) + max(rests) + num_new <= sliding_window
