"""What was aligned on true futures can be given other futures of the same states, and nothing else."""

from pathlib import Path

import pytest
import torch

from theworld import TheWorld, tiny
from theworld.modeling.loading import CheckpointError


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("aligned") / "model"
    TheWorld.from_pretrained("tiny", world_tap="true-future", num_world_steps=4, world_grid=4).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "future",
    [
        {"world_tap": "rollout"},
        {"world_tap": "rollout", "num_rollouts": 4},
        {"world_tap": "vae", "world_repeat_current": True},
    ],
)
def test_another_future_keeps_every_weight(aligned, future):
    given = TheWorld.from_pretrained(aligned, transfer_tap=True, load_world=False, **future)
    before = TheWorld.from_pretrained(aligned, load_world=False)

    assert given.config.world_tap == future["world_tap"]
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), before.parameters(), strict=True))


def test_without_asking_for_it_another_tap_is_refused(aligned):
    with pytest.raises(CheckpointError, match="world_tap='rollout'"):
        TheWorld.from_pretrained(aligned, world_tap="rollout", load_world=False)


@pytest.mark.parametrize(
    "other",
    [
        {"world_tap": "zero", "world_control_of": "rollout"},
        {"world_tap": "dit"},
        {"world_tap": "siglip", "world_repeat_current": True},
        {"world_tap": "random", "world_control_of": "rollout"},
    ],
)
def test_other_states_are_refused(aligned, other):
    with pytest.raises(CheckpointError, match="only the source of the future can change"):
        TheWorld.from_pretrained(aligned, transfer_tap=True, load_world=False, **other)


def test_another_world_is_refused(aligned, tmp_path):
    other = tiny.build(tmp_path, seed=1) / "cosmos"

    with pytest.raises(CheckpointError, match="trained on a world of other weights"):
        TheWorld.from_pretrained(
            aligned, transfer_tap=True, load_world=False, world_tap="rollout", cosmos_model_name=str(other)
        )


def test_states_of_the_denoiser_can_come_from_its_own_denoising(tmp_path):
    settings = {"num_world_steps": 4, "dit_block": 1, "dit_noise_level": 0.803}
    model = TheWorld.from_pretrained("tiny", world_tap="true-future", world_control_of="dit", **settings)
    model.save_pretrained(tmp_path / "model")

    other = {"world_tap": "dit", "world_control_of": "vae", "load_world": False, "transfer_tap": True}
    denoised = TheWorld.from_pretrained(tmp_path / "model", dit_future="denoised", **other)
    noised = TheWorld.from_pretrained(tmp_path / "model", dit_noise_level=0.985, **other)

    assert [one.config.world_settings().reads for one in (denoised, noised)] == ["dit", "dit"]
    assert (denoised.config.dit_noise_level, noised.config.dit_noise_level) == (0.803, 0.985)
    with pytest.raises(CheckpointError, match="dit_block=2"):
        TheWorld.from_pretrained(tmp_path / "model", dit_block=2, **other)
