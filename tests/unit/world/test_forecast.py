"""Errors of imagined futures by slot: zero for the true one, and those of the baselines."""

import pytest
import torch

from theworld.config import WorldSettings
from theworld.world.factory import open_tap
from theworld.world.forecast import errors_of, psnr, slot_errors


def latents(*slots: float) -> torch.Tensor:
    """One clip whose slots hold one value each."""
    return torch.tensor(slots, dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 2, -1, 3, 3).clone()


def test_the_true_future_has_no_error_and_the_baselines_theirs():
    true, still = latents(0, 1, 2, 4), latents(0, 1, 1.5, 1.5)
    errors = slot_errors(true, true, still, num_given=2)
    assert errors.imagined.tolist() == [[0, 0]]
    assert errors.still.tolist() == [[0.5, 2.5]]
    assert errors.repeated.tolist() == [[1, 3]]
    assert errors.extrapolated is not None
    assert errors.extrapolated.tolist() == [[0, 1]]  # the last step was 1: 2 and 3
    assert errors.relative.tolist() == [[0, 0]]


def test_a_future_that_stays_still_has_the_relative_error_1():
    errors = slot_errors(latents(1, 3, 3), latents(1, 5, 7), latents(1, 3, 3), num_given=1)
    assert errors.relative.tolist() == [[1, 1]]
    assert errors.extrapolated is None


def test_only_slots_with_a_truth_are_compared():
    errors = slot_errors(latents(0, 1, 2, 3), latents(0, 1), latents(0, 0), num_given=1)
    assert errors.imagined.shape == (1, 1)


@pytest.mark.parametrize(("imagined", "num_given"), [(latents(0, 1), 2), (latents(0, 1), 0), (latents(0), 1)])
def test_nothing_to_compare_is_refused(imagined: torch.Tensor, num_given: int):
    with pytest.raises(ValueError, match="at least one slot after the given ones"):
        slot_errors(imagined, latents(0, 1), latents(0, 0), num_given)


def test_a_clip_without_motion_has_a_still_future_of_no_error():
    tap = open_tap(WorldSettings(tap="rollout", cosmos_model_name="tiny", image_size_px=64))
    frame = torch.randint(256, (1, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = frame.repeat(1, 13, 1, 1, 1)
    imagined = tap.read(frames[:, :5].contiguous(), 2, [0])
    errors = errors_of(tap.pipeline.vae, imagined, frames, 5)
    assert errors.imagined.shape == (1, 2)
    assert errors.still.max() < 1e-6
    assert errors.imagined.min() > 0


def test_the_ratio_of_pixels_counts_in_decibels():
    true = torch.zeros(2, 4, 2, 2, 3, dtype=torch.uint8)
    pictures = true.clone()
    pictures[1] += 51  # a fifth of 255
    assert psnr(pictures, true).tolist() == pytest.approx([100.0, 13.979], abs=1e-3)
