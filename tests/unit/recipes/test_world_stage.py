"""The stage world: phases on growing pools, on latents of the finished autoencoder, kept as a running average."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recipes import pools, world
from recipes.build import run
from recipes.settings import TinySettings, VaePhase, VaeRecipe, WorldPhase, WorldRecipe
from recipes.trainer import read_curves
from recipes.world import LatentPool, WorldObjective, tiny_transformer

SIZE_PX = 32


def phase(num_clips: int, num_steps: int, log_sigma: float) -> WorldPhase:
    return WorldPhase(
        num_clips=num_clips,
        num_steps=num_steps,
        log_sigma=log_sigma,
        matrix_learning_rate=1e-3,
        learning_rate=1e-3,
    )


def small(folder: Path, stage: str, *phases: WorldPhase, **changes: Any) -> TinySettings:
    one = VaePhase(num_frames=5, batch_size=2, num_steps=1, learning_rate=1e-3)
    return TinySettings(
        action="build",
        stage=stage,  # pyright: ignore[reportArgumentType]
        output_dir=folder,
        image_size_px=SIZE_PX,
        num_threads=1,
        vae=VaeRecipe(num_clips=2, phases=(one,), warmup_steps=0, num_held_out=1),
        world=WorldRecipe(phases=phases, batch_size=2, warmup_steps=0, num_held_out=2, measure_steps=1, **changes),
    )


PHASES = (phase(4, 2, 1.0), phase(6, 1, 1.6))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        for pool in (pools, world):
            patch.setattr(pool, "CLIPS_PER_PIECE", 2)
        for stage in ("vae", "world"):
            run(small(folder, stage, *PHASES, doses=(1 / 3, 2 / 3)))
        yield folder


def test_each_phase_has_its_curves_on_as_many_clips_as_it_says(built):
    measured = [[row["step"] for row in read_curves(built / "world" / name) if "loss_at_0.9" in row] for name in "12"]
    assert measured == [[1, 2], [1]]
    assert sorted(path.stem for path in (built / "latents").glob("*.npy")) == ["000000000", "000000002", "000000004"]


def test_a_phase_that_is_added_leaves_the_finished_ones_as_they_are(built):
    finished = built / "world" / "1" / "checkpoint-2" / "model.safetensors"
    written = finished.stat().st_mtime_ns
    run(small(built, "world", *PHASES, phase(6, 1, 1.6)))
    assert finished.stat().st_mtime_ns == written
    assert (built / "world" / "3" / "checkpoint-1").is_dir()


def test_a_dose_is_the_average_after_its_share_of_all_steps(built):
    doses = built / "world" / "doses"
    assert sorted(path.name for path in doses.iterdir()) == ["1-3", "2-3"]
    tensors = load_file(doses / "2-3" / "transformer" / "diffusion_pytorch_model.safetensors")
    at_step_2 = load_file(built / "world" / "1" / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(tensor, at_step_2[f"average.module.{name}"].half()) for name, tensor in tensors.items())
    before = load_file(doses / "1-3" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert not all(torch.equal(before[name], tensor) for name, tensor in tensors.items())


def test_a_dose_that_training_has_passed_is_refused(built):
    with pytest.raises(ValueError, match=r"doses/1-5: not saved at their step, and training is at step \d"):
        run(small(built, "world", *PHASES, doses=(1 / 5,)))


def test_a_dose_of_another_length_of_training_is_refused(built):
    longer = (*PHASES, phase(6, 3, 1.6))  # two thirds of its steps are more than those of the saved dose
    with pytest.raises(ValueError, match=r"doses/2-3: not saved"):
        run(small(built, "world", *longer, doses=(2 / 3,)))


def test_a_share_of_the_clips_is_another_recipe_on_fewer_clips(built, monkeypatch):
    with pytest.raises(ValueError, match=r"belongs to another run \(clip_share: .*0\.5 here"):
        run(small(built, "world", *PHASES, clip_share=0.5))
    sizes: list[int] = []

    def trained(objective: object, pool: LatentPool, *rest: object, **more: object) -> None:
        sizes.append(len(pool))

    monkeypatch.setattr(world, "train_on_cpu", trained)
    monkeypatch.setattr(world, "_save", lambda *given: None)
    run(small(built, "world", *PHASES, clip_share=0.5))
    assert sizes == [2, 3]


def test_the_recipe_of_a_whole_pool_has_the_identity_that_it_always_had(built):
    recipe = json.loads((built / "world" / "1" / "recipe.json").read_text())
    assert not {"doses", "clip_share", "first_phase"} & recipe.keys()
    assert "moving_weight" not in recipe["phases"][0]


def test_a_later_first_phase_continues_from_the_build_that_has_the_others_behind_it(built, tmp_path, monkeypatch):
    run(small(tmp_path, "vae"))
    settings = small(tmp_path, "world", *PHASES, first_phase=2)
    with pytest.raises(ValueError, match="first_phase=2: expected start_from"):
        run(settings)
    with pytest.raises(ValueError, match="first_phase=3: expected at most 2"):
        run(replace(settings, start_from=built, world=replace(settings.world, first_phase=3)))
    with pytest.raises(ValueError, match="and no doses"):
        run(replace(settings, start_from=built, world=replace(settings.world, doses=(0.5,))))
    for pool in (pools, world):
        monkeypatch.setattr(pool, "CLIPS_PER_PIECE", 2)
    run(replace(settings, start_from=built))
    assert [path.name for path in (tmp_path / "world").iterdir() if path.is_dir()] == ["2"]
    assert json.loads((tmp_path / "world" / "2" / "recipe.json").read_text())["first_phase"] == 2


def test_a_place_moves_if_its_latents_change_after_the_given_slots():
    latents = torch.zeros(3, 16, 5, 2, 2)
    latents[0, :, 0, 0, 0] = 9.0  # the given slot alone differs
    latents[1, :, 3:, 0, 1] = 1.0
    latents[2, :, 2:, 1, 1] = 1.0  # all slots that are not given are alike
    moves = world.moving_places(latents, torch.tensor([1, 1, 2]))
    assert moves.shape == (3, 1, 1, 2, 2)
    assert moves.nonzero().tolist() == [[1, 0, 0, 0, 1]]


def test_a_phase_of_moving_places_has_a_larger_loss(monkeypatch):
    clips, given = torch.zeros(2, 16, 2, 4, 4), torch.ones(2, dtype=torch.long)
    objective = WorldObjective(tiny_transformer(), (clips, given), average_decay=0.9)
    monkeypatch.setattr(world, "moving_places", lambda *_: torch.ones(2, 1, 1, 4, 4, dtype=torch.bool))
    losses = []
    for weight in (1.0, 5.0):
        objective.moving_weight = weight
        torch.manual_seed(0)
        losses.append(objective(clips, given)["loss"].item())
    assert losses[1] == pytest.approx(5 * losses[0], rel=1e-4)


def test_an_error_counts_as_often_as_its_place_weighs():
    def network(hidden_states: Tensor, **_: object) -> tuple[Tensor]:
        return (torch.zeros_like(hidden_states),)

    latents, noise, given = torch.zeros(1, 16, 2, 1, 2), torch.zeros(1, 16, 2, 1, 2), torch.tensor([1])
    noise[..., 1] = 1.0  # the network is wrong at the second place alone
    level = torch.tensor([0.5])
    plain = world.velocity_loss(network, latents, given, level, noise)
    weighed = world.velocity_loss(network, latents, given, level, noise, torch.tensor([[[[[1.0, 5.0]]]]]))
    assert plain.item() == pytest.approx(0.5)
    assert weighed.item() == pytest.approx(2.5)


def test_latents_of_another_autoencoder_are_refused(built, tmp_path):
    pool = LatentPool(built / "latents", built / "cosmos" / "vae", 4, SIZE_PX)
    assert pool[0]["latents"].shape == (16, 5, 4, 4)
    assert pool.num_given.tolist() == [1, 1, 1, 2]  # drop, topple, roll: a picture; collide: five frames
    run(replace(small(tmp_path, "vae"), seed=1))
    with pytest.raises(ValueError, match=r"belongs to another run \(autoencoder:"):
        LatentPool(built / "latents", tmp_path / "cosmos" / "vae", 4, SIZE_PX)


def test_noise_is_drawn_around_the_level_of_the_phase(monkeypatch):
    levels: list[float] = []

    def loss(transformer: object, latents: Tensor, given: Tensor, level: Tensor, noise: Tensor, none: None) -> Tensor:
        levels.extend(level.logit().tolist())
        return torch.zeros(())

    monkeypatch.setattr(world, "velocity_loss", loss)
    clips, given = torch.zeros(4_000, 16, 1, 1, 1), torch.ones(4_000, dtype=torch.long)
    WorldObjective(tiny_transformer(), (clips, given), average_decay=0.9, log_sigma=1.6)(clips, given)
    assert sum(levels) / len(levels) == pytest.approx(1.6, abs=0.1)
    assert max(levels) == pytest.approx(4.5, abs=1e-3)
