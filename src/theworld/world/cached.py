"""StoredTap: a tap behind a feature store, so that no clip is computed twice."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.world.store import FeatureStore, StoreMismatchError, clip_key
from theworld.world.tap import WorldTap, clip_seeds


class StoredTap:
    """Serves features from a store, and computes and stores the missing ones if it has the tap.

    What it serves are always the stored bytes, also of a clip computed in the same call. The tap's last digits depend
    on which clips shared its batch, and a second process may have computed the same clip: with one stored
    feature per clip, both epochs, all processes, and evaluation see equal bits.
    """

    def __init__(self, tap: WorldTap | None, store: FeatureStore) -> None:
        """Put a store before a tap.

        Args:
            tap: computes what the store lacks; None serves what is stored only, and no world model is needed.
            store: features of that tap.

        Raises:
            StoreMismatchError: if the store belongs to another tap.
        """
        if tap is not None and tap.fingerprint != store.fingerprint:
            raise StoreMismatchError(store.folder, store.fingerprint, tap.fingerprint)
        self.tap = tap
        self.store = store
        self.computed = 0
        """Clips that the tap has computed."""
        self.served = 0
        """Clips that were asked for and cost no computation."""

    def read(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        """Features of N clips.

        Args:
            frames: pixels in 0..255, N at least 1, the current frame last.
            num_world_steps: K, future latent slots.
            device: where the features are wanted.
            dtype: number format wanted; None keeps the stored one.

        Raises:
            MissingFeatureError: if there is no tap and a clip is not in the store.
            StoreWriteError: if the disk does not take a computed feature.
            ValueError: for no clips, or clips that the tap refuses.
        """
        keys = [clip_key(clip, num_world_steps) for clip in frames]
        num_computed = self._compute_missing(frames, num_world_steps, keys)
        features = self.store.get(keys)
        self.computed += num_computed
        self.served += len(keys) - num_computed
        return features.to(device=device, dtype=dtype)

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
        self.store.put(list(first), features)
        return len(first)


def open_stored(tap: WorldTap | None, folder: Path) -> StoredTap:
    """A tap behind the store in a folder, which is made if need be.

    Raises:
        ValueError: without a tap: a world that trains with the model has no features to keep.
        StoreMismatchError: if the store belongs to another tap.
    """
    if tap is None:
        raise ValueError(f"{folder}: only a frozen world's features can be stored; leave the store out")
    return StoredTap(tap, FeatureStore(folder, tap.fingerprint, create=True))
