"""Tensors kept under a hash of the content that they were computed from, bounded in bytes."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

from theworld.world.store import clip_key

if TYPE_CHECKING:  # the web page runs without the library for metrics
    from theworld.serving.metrics import Metrics

Kind = Literal["world", "picture", "keys"]
"""Features of a clip or of a picture, or keys and values of a prompt until the end of its last picture."""

Kept = tuple[Tensor, ...]


class ReuseCache:
    """Keeps computed tensors; the least recently used ones leave first. For the model thread alone.

    Args:
        max_bytes: most memory of the tensors, bytes; 0: nothing is kept.
        metrics: counts hits, misses and bytes.
    """

    def __init__(self, max_bytes: int, metrics: "Metrics") -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._metrics = metrics
        self._kept: OrderedDict[tuple[Kind, str], Kept] = OrderedDict()

    def collect(self, kind: Kind, names: Sequence[str], compute: Callable[[list[int]], Sequence[Kept]]) -> list[Kept]:
        """Return the tensors of each name: kept ones, and the others computed together, once for each name.

        Args:
            kind: of the tensors.
            names: hashes of everything that the tensors depend on besides the model.
            compute: takes the positions in `names` of the missing ones, and returns the tensors of each. They share
                no memory with others: a view would keep all of its batch alive.
        """
        values: dict[str, Kept] = {}  # of this batch, whatever the bound drops meanwhile
        missing: dict[str, int] = {}
        for position, name in enumerate(names):
            if (kept := self._kept.get((kind, name))) is not None:
                self._kept.move_to_end((kind, name))
                values[name] = kept
            else:
                missing.setdefault(name, position)
        num_missing = sum(name in missing for name in names)
        self._metrics.reuse_hits.labels(kind).inc(len(names) - num_missing)
        self._metrics.reuse_misses.labels(kind).inc(num_missing)
        if missing:
            for name, tensors in zip(missing, compute(list(missing.values())), strict=True):
                values[name] = tensors
                self._keep((kind, name), tensors)
        return [values[name] for name in names]

    def _keep(self, key: tuple[Kind, str], tensors: Kept) -> None:
        size = _size(tensors)
        if size > self.max_bytes:
            return
        self._kept[key] = tensors
        self.num_bytes += size
        while self.num_bytes > self.max_bytes:
            self.num_bytes -= _size(self._kept.popitem(last=False)[1])
        self._metrics.reuse_bytes.set(self.num_bytes)


def _size(tensors: Kept) -> int:
    return sum(tensor.nbytes for tensor in tensors)


class Content(NamedTuple):
    """Hashes of the pictures of a row: rows with equal hashes have equal bits there."""

    clips: tuple[str, ...]
    """Of each clip, with K."""
    pictures: tuple[str, ...]
    """Of each picture, as the vision tower gets it; none for pictures of any shape, which share one tensor."""
    prefix: str
    """Of all that the keys of the prefix depend on: its tokens, pictures and clips, and if the world is on."""
    prefix_length: int
    """Tokens until the end of the last picture; 0: the prompt has no prefix that others could share."""


def content_of(inputs: dict[str, Any], *, world: bool = True, prefix_length: int = 0) -> Content:
    """Hash the pictures and clips, and the prefix, in the processor's output for one row.

    The hash is SHA-256, so nobody can make another picture with the hash of one. Everything else that features depend
    on (weights, seed, frame rate, denoising steps) is the same for all requests to a server.

    Args:
        inputs: of the row.
        world: True if the world is on.
        prefix_length: tokens of the prefix.
    """
    clips = tuple(clip_key(clip, inputs["num_world_steps"]) for clip in inputs.get("world_pixels", ()))
    of_any_shape = "image_position_ids" in inputs or "image_grid_thw" in inputs
    pictures = () if of_any_shape else tuple(map(_hash, inputs.get("pixel_values", ())))
    ids = _hash(inputs["input_ids"][:, :prefix_length])
    prefix = hashlib.sha256("\n".join([str(world), ids, *clips, "pictures", *pictures]).encode()).hexdigest()
    return Content(clips, pictures, prefix, prefix_length)


def _hash(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.contiguous().numpy().reshape(-1).data)
    return digest.hexdigest()
