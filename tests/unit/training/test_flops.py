"""The formula of a step's operations agrees with what torch counts while the step is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fixtures_model import picture
from theworld import TheWorld
from theworld.datasets.collator import Collator
from theworld.datasets.packing import packed
from theworld.datasets.sample import Sample, Turn
from theworld.training.flops import WorkCounter, measured_peak


def opened(**settings: Any) -> TheWorld:
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", world_grid=4, attn_implementation="eager", dtype=torch.float32, **settings)
    return model.train()


def batch_of(model: TheWorld, num_samples: int = 3) -> dict[str, Any]:
    samples = [
        Sample(
            id=str(index),
            images=(picture(index),),
            turns=(Turn("user", "In which bin does it come to rest?"), Turn("assistant", "red")),
        )
        for index in range(num_samples)
    ]
    return Collator(model.processor, supervise=True)(samples)


def counted(model: TheWorld, batch: dict[str, Any]) -> float:
    """What torch counts of a step, the world's own reading included."""
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze_gemma_vision": False},
        {"freeze_gemma_language": False},
        {"freeze_gemma_vision": False, "freeze_gemma_language": False},
        {"freeze_cosmos_vae": False},
        {"world_fusion": "residual"},
        {"enable_world": False, "freeze_gemma_language": False},
    ],
    ids=str,
)
def test_the_formula_is_what_torch_counts(settings: dict[str, Any]) -> None:
    model = opened(**settings)
    batch = batch_of(model)

    assert WorkCounter(model)(batch).total == pytest.approx(counted(model, batch), rel=0.03)


@pytest.mark.parametrize("settings", [{}, {"freeze_gemma_vision": False, "freeze_gemma_language": False}], ids=str)
def test_the_formula_is_what_torch_counts_on_every_base(
    settings: dict[str, Any], other_base: Path, small_world: dict[str, Any]
) -> None:
    options = {**small_world, "attn_implementation": "eager", "dtype": torch.float32}
    model = TheWorld.from_pretrained(other_base, **options, **settings).train()
    batch = batch_of(model)

    assert WorkCounter(model)(batch).total == pytest.approx(counted(model, batch), rel=0.03)


def test_frozen_towers_are_counted_apart_and_in_the_forward_pass_alone() -> None:
    frozen, trained = opened(), opened(freeze_gemma_vision=False)
    batch = batch_of(frozen)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        frozen.get_image_features(batch["pixel_values"], return_dict=True)
        frozen.read_world(batch["world_pixels"], batch["num_world_steps"])
        towers = counter.get_total_flops()
        frozen.read_world(batch["world_pixels"], batch["num_world_steps"])
        world = counter.get_total_flops() - towers

    assert WorkCounter(frozen)(batch).frozen == pytest.approx(towers, rel=0.03)
    assert WorkCounter(trained)(batch).frozen == pytest.approx(world, rel=0.03)


def test_stored_features_cost_no_reading() -> None:
    model = opened()
    live = batch_of(model)
    stored = dict(live)
    pixels = stored.pop("world_pixels")
    stored["world_features"] = model.read_world(pixels, stored["num_world_steps"])

    assert WorkCounter(model)(stored).total < WorkCounter(model)(live).total


def test_samples_that_share_rows_ask_for_as_much_as_in_rows_of_their_own() -> None:
    model = opened()
    batch = batch_of(model)
    ones, capacity = [1] * 3, 2 * batch["input_ids"].shape[1]

    assert WorkCounter(model)(packed(batch, ones, ones, 0, capacity)) == WorkCounter(model)(batch)


def test_counting_leaves_the_random_numbers_alone() -> None:
    model = opened()
    batch = batch_of(model)
    torch.manual_seed(1)
    expected = torch.rand(3)

    torch.manual_seed(1)
    WorkCounter(model)(batch)

    assert torch.equal(torch.rand(3), expected)


def test_the_peak_is_measured_in_the_format_of_the_forward_pass() -> None:
    assert measured_peak(torch.device("cpu"), "fp32") > 1e9
