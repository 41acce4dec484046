"""Inputs of `generate` for a batch of requests, with features of pictures and worlds that are computed once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from theworld.evaluation.generation import place
from theworld.modeling import TheWorld
from theworld.modeling.bases import SHARED_PREFIX
from theworld.modeling.cache_name import CACHE
from theworld.modeling.generation import prefix_keys
from theworld.serving.prefixes import fits, joined_keys, keys_of_rows, two_parts
from theworld.serving.reuse import Content, Kept, ReuseCache

if TYPE_CHECKING:  # the web page runs without the library for metrics
    from theworld.serving.metrics import Metrics

_PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
_PER_PICTURE = ("pixel_values", "image_position_ids", "image_grid_thw", "world_pixels")


class ReadRow(Protocol):
    """The part of a row that is read here."""

    inputs: dict[str, Any]
    prefix_length: int
    options: Any

    @property
    def content(self) -> Content:
        """Hashes of its pictures and clips, and of its prefix."""
        ...

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        ...


def joined(inputs: Sequence[dict[str, Any]], pad_token_id: int) -> dict[str, Any]:
    """Join the inputs of rows into one batch, padded on the left; pictures and clips follow the order of the rows.

    ids     [pad, pad, bos, what, ...]
            [bos, IMG, IMG, what, ...]
    """
    length = max(row["input_ids"].shape[1] for row in inputs)
    batch: dict[str, Any] = {}
    for name in _PER_TOKEN:
        if name in inputs[0]:
            padding = pad_token_id if name == "input_ids" else 0
            batch[name] = torch.cat(
                [F.pad(row[name], (length - row[name].shape[1], 0), value=padding) for row in inputs]
            )
    for name in _PER_PICTURE:
        pixels = [row[name] for row in inputs if name in row]
        if pixels:
            batch[name] = torch.cat(pixels)
    steps = {row["num_world_steps"] for row in inputs if "world_pixels" in row}
    assert len(steps) <= 1, steps
    if steps:
        batch["num_world_steps"] = steps.pop()
    return batch


class BatchReader:
    """Makes the inputs of `generate` for batches; call it in the model thread, without gradients.

    Pictures and worlds of a batch that no earlier request showed are read together, and kept.

    Args:
        model: the model.
        metrics: counts clips, and hits of kept features.
        max_kept_bytes: most memory of kept features, bytes.
    """

    def __init__(self, model: TheWorld, metrics: "Metrics", max_kept_bytes: int) -> None:
        self.model = model
        self.metrics = metrics
        self._kept = ReuseCache(max_kept_bytes, metrics)
        self._text = model.config.get_text_config()
        self._pad_token_id: int = model.processor.tokenizer.pad_token_id
        # Elsewhere pictures have grids of any shape.
        self._keeps_pictures = SHARED_PREFIX not in model.config.BASE.lacks

    def inputs(self, rows: Sequence[ReadRow]) -> dict[str, Any]:
        """Return the inputs of rows with the same `batch_key`, on the model's device.

        If all rows have a prefix, the model runs over the new prefixes here, in one batch, and all of them are kept.
        The result does not depend on `max_kept_bytes`.
        """
        if not self._share_prefixes(rows):
            return self._read(joined([row.inputs for row in rows], self._pad_token_id), [row.content for row in rows])
        names, lengths = [row.content.prefix for row in rows], [row.prefix_length for row in rows]
        keys = self._kept.collect("keys", names, lambda places: self._prefill([rows[place] for place in places]))
        tokens = two_parts([row.inputs for row in rows], lengths, self._pad_token_id)
        return {**place(self.model, tokens), CACHE: joined_keys(self._text, keys, lengths)}

    def _share_prefixes(self, rows: Sequence[ReadRow]) -> bool:
        sizes = [(row.prefix_length, row.num_prompt_tokens - row.prefix_length) for row in rows]
        num_new = max(row.options.max_new_tokens for row in rows)
        return all(length for length, _ in sizes) and fits(getattr(self._text, "sliding_window", None), sizes, num_new)

    def _prefill(self, rows: Sequence[ReadRow]) -> list[Kept]:
        """Run the model over the prefixes of rows, and return the keys and values of each."""
        prefixes = [
            {name: value[:, : row.prefix_length] if name in _PER_TOKEN else value for name, value in row.inputs.items()}
            for row in rows
        ]
        batch = self._read(joined(prefixes, self._pad_token_id), [row.content for row in rows])
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        return keys_of_rows(prefix_keys(self.model, batch), [row.prefix_length for row in rows])

    def world_inputs(self, row: ReadRow) -> dict[str, Any]:
        """Return the inputs of one row with features of its clips, and its pictures as pixels."""
        inputs = place(self.model, row.inputs)
        pixels = inputs.pop("world_pixels")
        return {**inputs, "world_features": self.world(pixels, row.content.clips, inputs["num_world_steps"])}

    def world(self, pixels: Tensor, names: Sequence[str], num_world_steps: int) -> Tensor:
        """Return the features of clips, (N, C, T, h, w); those of new ones are read in one batch."""

        def read(places: list[int]) -> list[Kept]:
            self.metrics.clips_read.inc(len(places))
            return [(feature.clone(),) for feature in self.model.read_world(pixels[places], num_world_steps)]

        return torch.stack([feature for (feature,) in self._kept.collect("world", names, read)])

    def _read(self, batch: dict[str, Any], contents: Sequence[Content]) -> dict[str, Any]:
        """Put features in the place of the pixels of a batch, and move it to the model's device."""
        if "world_pixels" in batch:
            names = [name for content in contents for name in content.clips]
            batch["world_features"] = self.world(batch.pop("world_pixels"), names, batch["num_world_steps"])
        placed = place(self.model, batch)
        if self._keeps_pictures and "pixel_values" in placed:
            names = [name for content in contents for name in content.pictures]
            placed["mm_encoder_outputs"] = {"image": self._pictures(placed.pop("pixel_values"), names)}
        return placed

    def _pictures(self, pixels: Tensor, names: Sequence[str]) -> BaseModelOutputWithPooling:
        """Return the output of `get_image_features`, without states of layers."""

        def encode(places: list[int]) -> list[Kept]:
            output: Any = self.model.get_image_features(pixels[places], return_dict=True)  # pyright: ignore[reportCallIssue]
            return [(feature.clone(),) for feature in output.pooler_output]

        features: Any = torch.stack([feature for (feature,) in self._kept.collect("picture", names, encode)])
        return BaseModelOutputWithPooling(pooler_output=features)
