"""StoredTap: every clip is computed at most once, and all that is served is what is stored."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from theworld.config import WorldSettings
from theworld.world.cached import StoredTap
from theworld.world.store import FeatureStore, MissingFeatureError, StoreMismatchError, clip_key
from theworld.world.tap import WorldTap, clip_seeds


class BatchTap(WorldTap):
    """Means of the pixels, plus digits that depend on the batch, as matrix products have them."""

    num_channels = 3
    stride_px = 8
    fingerprint = "batch"

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        self.seeds = list(seeds)
        num_slots = self.settings.num_slots(frames.shape[1], num_world_steps)
        means = frames.float().mean(dim=(1, 3, 4)) + 1e-4 * len(frames)
        return means[:, :, None, None, None].expand(-1, -1, num_slots, 2, 2)


SETTINGS = WorldSettings(tap="dit", image_size_px=16, seed=5)


def clips(*values: int, num_frames: int = 1) -> Tensor:
    return torch.stack([torch.full((num_frames, 3, 16, 16), value, dtype=torch.uint8) for value in values])


@pytest.fixture
def stored(tmp_path: Path) -> StoredTap:
    return StoredTap(BatchTap(SETTINGS), FeatureStore(tmp_path / "features", "batch", create=True))


def test_the_second_epoch_computes_nothing_and_gives_equal_bits(stored: StoredTap) -> None:
    first = [stored.read(clips(1, 2), 0), stored.read(clips(3), 0)]
    assert (stored.computed, stored.served) == (3, 0)
    second = stored.read(clips(3, 1, 2), 0)  # batched otherwise
    assert (stored.computed, stored.served) == (3, 3)
    assert stored.tap is not None
    assert stored.tap.clips_read == 3
    assert torch.equal(second, torch.cat(first)[[2, 0, 1]])
    live = stored.tap.read(clips(3, 1, 2), 0, [0, 0, 0])
    assert not torch.equal(live, second)  # the batch moves the tap's last digits,
    assert torch.allclose(live, second, atol=1e-3)  # and nothing but those


def test_a_clip_that_stands_twice_in_a_batch_is_computed_once(stored: StoredTap) -> None:
    features = stored.read(clips(4, 9, 4, 4), 0)
    assert (stored.computed, stored.served) == (2, 2)
    assert torch.equal(features[0], features[2])
    assert features[1, 0, 0, 0, 0].item() == pytest.approx(9, abs=1e-3)


def test_only_the_missing_clips_of_a_batch_are_computed_with_their_own_seeds(stored: StoredTap) -> None:
    stored.read(clips(1, 2), 0)
    stored.read(clips(2, 7, 1), 0)
    assert (stored.computed, stored.served) == (3, 2)
    assert isinstance(stored.tap, BatchTap)
    assert stored.tap.seeds == clip_seeds(clips(7), 5)


def test_the_same_pixels_with_another_future_are_another_feature(stored: StoredTap) -> None:
    assert stored.read(clips(1), 0).shape == (1, 3, 1, 2, 2)
    assert stored.read(clips(1), 2).shape == (1, 3, 3, 2, 2)
    assert stored.read(clips(1, num_frames=5), 0).shape == (1, 3, 2, 2, 2)
    assert stored.computed == 3


def test_what_another_writer_computed_meanwhile_is_served(stored: StoredTap) -> None:
    other = StoredTap(BatchTap(SETTINGS), FeatureStore(stored.store.folder, "batch"))
    theirs = other.read(clips(1, 2), 0)
    assert torch.equal(stored.read(clips(1), 0), theirs[:1])
    assert (stored.computed, stored.served) == (0, 1)


def test_a_process_overtaken_while_computing_serves_what_the_other_stored(
    stored: StoredTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = StoredTap(BatchTap(SETTINGS), FeatureStore(stored.store.folder, "batch"))
    assert stored.tap is not None
    read = stored.tap.read
    theirs: list[Tensor] = []

    def overtaken(*arguments):
        theirs.append(other.read(clips(1, 2, 3), 0))
        return read(*arguments)

    monkeypatch.setattr(stored.tap, "read", overtaken)
    assert torch.equal(stored.read(clips(1), 0), theirs[0][:1])
    assert stored.computed == 1


def test_without_a_tap_stored_clips_are_served_and_others_refused(stored: StoredTap) -> None:
    features = stored.read(clips(1, 2), 0)
    served_only = StoredTap(None, FeatureStore(stored.store.folder, "batch"))
    assert torch.equal(served_only.read(clips(2), 0), features[1:])
    with pytest.raises(MissingFeatureError, match="1 of 2 clips"):
        served_only.read(clips(2, 3), 0)
    assert (served_only.computed, served_only.served) == (0, 1)


def test_features_come_in_the_number_format_asked_for_and_stay_stored_in_theirs(stored: StoredTap) -> None:
    features = stored.read(clips(1), 0, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert features.dtype == torch.bfloat16
    assert stored.read(clips(1), 0).dtype == torch.float32


def test_a_store_of_another_tap_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features", "vae", create=True)
    with pytest.raises(StoreMismatchError, match="fingerprint vae, this run's tap has batch"):
        StoredTap(BatchTap(SETTINGS), store)


def test_clips_that_the_tap_refuses_are_not_stored(stored: StoredTap) -> None:
    with pytest.raises(ValueError, match="a clip of 6 frames"):
        stored.read(clips(1, num_frames=6), 0)
    assert len(stored.store) == 0
    assert stored.computed == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_feature_that_is_not_finite_is_neither_stored_nor_served(
    stored: StoredTap, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    assert stored.tap is not None
    monkeypatch.setattr(stored.tap, "read", lambda frames, *_: torch.full((len(frames), 3, 1, 2, 2), value))
    with pytest.raises(ValueError, match=r"NaN or infinity of 2 of 2 clips, computed: .*number format"):
        stored.read(clips(1, 2), 0)
    assert len(stored.store) == 0
    stored.store.put([clip_key(clips(1)[0], 0)], torch.full((1, 3, 1, 2, 2), value))
    with pytest.raises(ValueError, match=r"NaN or infinity of 1 of 1 clips, stored in"):
        stored.read(clips(1), 0)
