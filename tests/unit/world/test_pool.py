"""Features that are hidden states may be averaged over squares of cells before they are stored."""

from pathlib import Path

import pytest
import torch

from theworld import TheWorld
from theworld.config import WorldSettings
from theworld.world.cached import StoredTap
from theworld.world.factory import open_tap, tap_fingerprint
from theworld.world.store import FeatureStore
from theworld.world.tap import clip_seeds

TINY = {
    "cosmos_model_name": "tiny",
    "siglip_model_name": "tiny",
    "image_size_px": 64,
    "frame_rate_hz": 6.0,
    "dit_block": 2,
}


def settings_of(tap: str, pool: int, **more: str) -> WorldSettings:
    return WorldSettings(tap=tap, pool=pool, **TINY, **more)  # pyright: ignore[reportArgumentType]


def clips() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 5, 3, 64, 64), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("tap", "steps", "more"), [("dit", 2, {}), ("siglip", 0, {}), ("random", 0, {"control_of": "dit"})]
)
def test_a_pooled_feature_is_the_mean_of_its_cells(tap: str, steps: int, more: dict[str, str]) -> None:
    frames = clips()
    seeds = clip_seeds(frames, 0)
    whole = open_tap(settings_of(tap, 1, **more)).read(frames, steps, seeds)
    found = open_tap(settings_of(tap, 2, **more)).read(frames, steps, seeds)

    assert found.shape[-1] == whole.shape[-1] // 2
    cells = whole.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
    torch.testing.assert_close(found, cells.mean((-3, -1)))


def test_a_store_holds_a_quarter_and_serves_the_pooled_features(tmp_path: Path) -> None:
    sizes = []
    for pool in (1, 2):
        tap = open_tap(settings_of("dit", pool))
        stored = StoredTap(tap, FeatureStore(tmp_path / str(pool), tap.fingerprint, create=True))
        stored.read(clips(), 1)
        sizes.append(stored.store.bytes)
    assert sizes[0] == 4 * sizes[1]


def test_no_pool_leaves_fingerprints_as_they_were_and_a_pool_is_another_feature() -> None:
    plain, pooled = (tap_fingerprint(open_tap(settings_of("dit", pool)).on_disk) for pool in (1, 2))
    assert plain == tap_fingerprint(open_tap(WorldSettings(tap="dit", **TINY)).on_disk)
    assert plain != pooled


def test_a_model_reads_pooled_features_and_its_checkpoint_keeps_them(tmp_path: Path) -> None:
    model = TheWorld.from_pretrained("tiny", world_tap="dit", world_pool=2)
    assert (model.config.native_grid, model.config.world_stride_px) == (2, 32)
    model.save_pretrained(tmp_path / "saved")
    again = TheWorld.from_pretrained(tmp_path / "saved")
    assert again.config.world_pool == 2
    assert again.generate("docs/images/given.png", "What?", max_new_tokens=2) is not None


@pytest.mark.parametrize("tap", ["vae", "rollout", "zero"])
def test_latents_are_not_pooled(tap: str) -> None:
    with pytest.raises(ValueError, match=rf"pool=2 is for features that are hidden states \(dit, .*\), not '{tap}'"):
        settings_of(tap, 2)


def test_a_pool_that_does_not_divide_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="pool=3: dit has 4 cells a side: choose a divisor of 4"):
        open_tap(settings_of("dit", 3))
