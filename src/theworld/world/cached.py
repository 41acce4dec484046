"""StoredTap: a tap with a feature store in front, so that no clip is computed twice."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.world.store import FeatureStore, StoreMismatchError, clip_key
from theworld.world.tap import WorldTap, clip_seeds


class StoredTap:
    """Serves features from a store; with a tap it computes and stores the missing ones.

    It always serves the stored bytes, also of a clip that it has just computed. The last digits of a feature depend on
    the other clips of its batch, and a second process may compute the same clip. With one stored feature per clip, all
    epochs, all processes and evaluation see equal bits.
    """

    def __init__(self, tap: WorldTap | None, store: FeatureStore) -> None:
        """Put a store in front of a tap.

        Args:
            tap: computes missing features; None: only stored features are served, and no world model is needed.
            store: features of that tap.

        Raises:
            StoreMismatchError: if the store belongs to another tap.
        """
        if tap is not None and tap.fingerprint != store.fingerprint:
            raise StoreMismatchError(store.folder, store.fingerprint, tap.fingerprint)
        self.tap = tap
        self.store = store
        self.computed = 0
        """Clips that the tap computed."""
        self.served = 0
        """Clips that came from the store."""

    def read(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        """Return the features of N clips.

        Args:
            frames: pixels in 0..255, N at least 1, the current frame last.
            num_world_steps: K, future latent slots.
            device: of the returned features.
            dtype: of the returned features; None: float32, as the tap's own.

        Raises:
            MissingFeatureError: if there is no tap and a clip is not in the store.
            StoreWriteError: if a computed feature cannot be written to disk.
            StoreDamagedError: if a stored feature has changed.
            ValueError: for no clips, clips that the tap does not accept, or features that are not finite.
        """
        keys = [clip_key(clip, num_world_steps) for clip in frames]
        num_computed = self._compute_missing(frames, num_world_steps, keys)
        features = self.store.get(keys)
        _check_finite(features, f"stored in {self.store.folder}: give another store folder")
        self.computed += num_computed
        self.served += len(keys) - num_computed
        return features.to(device=device, dtype=dtype or torch.float32)

    def _compute_missing(self, frames: Tensor, num_world_steps: int, keys: Sequence[str]) -> int:
        if self.store.missing(keys):
            self.store.refresh()
        first: dict[str, int] = {}
        for position in self.store.missing(keys):
            first.setdefault(keys[position], position)
        if self.tap is None or not first:
            return 0
        clips = frames[list(first.values())]
        features = self.tap.read(clips, num_world_steps, clip_seeds(clips, self.tap.settings.seed))
        _check_finite(features, "computed: give the world model another number format, such as float32")
        self.store.put(list(first), features)
        return len(first)


def _check_finite(features: Tensor, origin: str) -> None:
    if torch.isfinite(features.sum(dtype=torch.float32)):  # one pass; NaN and infinity stay in a sum
        return
    if count := sum(not bool(feature.isfinite().all()) for feature in features):
        raise ValueError(f"features with NaN or infinity of {count} of {len(features)} clips, {origin}")


def open_stored(tap: WorldTap | None, folder: Path, dtype: str | None = None) -> StoredTap:
    """Put the store in a folder in front of a tap; a missing store is created.

    Args:
        tap: frozen.
        folder: of the store.
        dtype: number format that the store must have; None: float32 in a new store, its own in an existing one.

    Raises:
        ValueError: without a tap: features of a world that trains with the model cannot be stored.
        StoreMismatchError: if the store belongs to another tap.
        StoreFormatError: if it has another number format.
    """
    if tap is None:
        raise ValueError(f"{folder}: only a frozen world's features can be stored; leave the store out")
    return StoredTap(tap, FeatureStore(folder, tap.fingerprint, create=True, dtype=dtype))
