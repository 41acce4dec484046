"""Held-out samples of data sets without a validation split: by picture or video, or by id as former versions did."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Int, UInt64

logger = logging.getLogger(__name__)
notes = logging.getLogger("theworld.notes")

Part = Literal["train", "validation"]

ONE_IN: Final = 100
"""Ratio of all samples to held-out ones where the id decides, and in large data sets."""

DEFAULT_SHARE: Final = 0.2
"""Share of the pictures that is held out of a small data set."""
MOST_ITEMS: Final = 1_000
"""Held-out samples of a data set of medium size, about: more would cost training data and tell little."""
FEW_ITEMS: Final = 50
"""With fewer held-out samples, an accuracy has an interval of 28 points or more."""

_announced: set[str] = set()


@dataclass(frozen=True)
class HeldOut:
    """Rule that divides a data set without a validation split."""

    by: Literal["picture", "id"] = "picture"
    """`picture`: all samples of a picture or video go to one side. `id`: one sample in a hundred, by the hash of its
    id."""
    share: float | None = None
    """Share of the pictures that is held out; None: a fifth, about 1,000 samples at most, but at least 1 %."""


BY_PICTURE: Final = HeldOut()


def warn_of_share(share: float | None, source: str) -> None:
    """Warn once of a share to hold out of a data set that has a validation split; earlier versions let it pass."""
    if share is None or source in _announced:
        return
    _announced.add(source)
    logger.warning("held_out_share=%g has no effect: %s has a validation split of its own", share, source)


def id_hash(id: str) -> int:
    """Hash an id, or the name of a picture, to 64 bits (BLAKE2b), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def id_hashes(ids: Iterable[str]) -> UInt64[np.ndarray, " N"]:
    """Hash several ids."""
    return np.fromiter((id_hash(id) for id in ids), np.uint64)


def places_by_id(hashes: UInt64[np.ndarray, " N"], part: Part | None) -> Int[np.ndarray, " M"]:
    """Return the indices of a part's samples, in order: `validation` has one id in a hundred; None: all.

    Samples of one id, such as several conversations about one picture, are in the same part.
    """
    if part is None:
        return np.arange(len(hashes))
    is_held_out = np.asarray(hashes) % np.uint64(ONE_IN) == 0
    return np.flatnonzero(is_held_out if part == "validation" else ~is_held_out)


def places_by_picture(
    hashes: UInt64[np.ndarray, " N"], part: Part | None, share: float | None, name: str, noun: str = "pictures"
) -> Int[np.ndarray, " M"]:
    """Return the indices of a part's samples, in order: `validation` has the pictures of the smallest hashes.

    The split depends on the names of the pictures alone, and neither on the machine nor on the order of the rows. It
    is announced once, with a warning where it gives few samples.

    Args:
        hashes: of each sample's picture.
        part: train or validation; None: all.
        share: as in `HeldOut`.
        name: of the data set, for messages.
        noun: of the pictures, for messages: pictures, or videos.
    """
    if part is None or not len(hashes):
        return np.arange(len(hashes))
    pictures = np.unique(hashes)
    wanted = round((usual_share(len(hashes)) if share is None else share) * len(pictures))
    num_pictures = min(max(wanted, 1), len(pictures) - 1)  # at least one picture stays on each side
    is_held_out = np.asarray(hashes) < pictures[num_pictures]
    num_items = int(is_held_out.sum())
    _announce(
        f"{name}: {len(hashes) - num_items:,} samples to train on; {num_items:,} held out to measure on"
        f" ({num_pictures:,} of {len(pictures):,} {noun})",
        num_items,
        name,
        noun,
    )
    return np.flatnonzero(is_held_out if part == "validation" else ~is_held_out)


def usual_share(num_samples: int) -> float:
    """Return the share to hold out of a data set of this size, if the settings give none."""
    return max(min(DEFAULT_SHARE, MOST_ITEMS / num_samples), 1 / ONE_IN)


def _announce(sentence: str, num_items: int, name: str, noun: str) -> None:
    if sentence in _announced:
        return
    _announced.add(sentence)
    notes.info("%s", sentence)
    if num_items < FEW_ITEMS:
        logger.warning(
            "%s: accuracies will rest on n = %d held-out samples, fewer than %d: expect wide intervals; add %s,"
            " or raise data.held_out_share",
            name,
            num_items,
            FEW_ITEMS,
            noun,
        )
