"""Holding out: validation samples for data sets that are published without a validation split."""

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import numpy as np
from jaxtyping import Int, UInt64

ONE_IN: Final = 100
"""One in so many samples is held out, by the hash of its id."""

Part = Literal["train", "validation"]


def id_hash(id: str) -> int:
    """64 bits of an id, the same on every machine: BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def id_hashes(ids: Iterable[str]) -> UInt64[np.ndarray, " N"]:
    """Those of many."""
    return np.fromiter((id_hash(id) for id in ids), np.uint64)


def places_of(hashes: UInt64[np.ndarray, " N"], part: Part | None) -> Int[np.ndarray, " M"]:
    """Where the samples of a part stand, in order; None: all.

    Samples of one id, such as several conversations about one picture, are on the same side.
    """
    if part is None:
        return np.arange(len(hashes))
    held_out = np.asarray(hashes) % np.uint64(ONE_IN) == 0
    return np.flatnonzero(held_out if part == "validation" else ~held_out)
