"""Calls of the native model inside the fusion, as trainers with losses of their own make them."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch

from fixtures_model import encode, picture, user
from theworld import TheWorld, TheWorldProcessor
from theworld.modeling.direct_calls import DirectCalls


@pytest.fixture
def batch(processor: TheWorldProcessor) -> dict[str, Any]:
    return encode(processor, [[user("Which bin?", picture(1))], [user("Which bin, left or right?", picture(2))]])


def states(model: TheWorld, batch: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model.base_model(**batch).last_hidden_state


def test_a_direct_call_reads_the_same_world_as_forward(fused: TheWorld, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        expected = fused(**batch, output_hidden_states=True).hidden_states[-1]

    assert torch.equal(states(fused, batch), expected)
    other = batch | {"world_pixels": 255 - batch["world_pixels"]}
    assert (states(fused, other) - expected).abs().max() > 0.01


def test_a_direct_call_reads_the_world_of_residual_fusion(residual: TheWorld) -> None:
    batch = encode(residual.processor, [[user("Which bin?", picture(1))]])
    torch.nn.init.ones_(residual.world.gate)
    try:
        with torch.no_grad():
            expected = residual(**batch, output_hidden_states=True).hidden_states[-1]
        assert torch.equal(states(residual, batch), expected)
    finally:
        torch.nn.init.zeros_(residual.world.gate)
    batch.pop("world_pixels")
    with pytest.raises(ValueError, match="pictures without a world"):
        states(residual, batch)


def test_a_direct_call_without_the_world_of_its_placeholders_is_refused(fused: TheWorld, batch: dict[str, Any]) -> None:
    batch.pop("world_pixels")

    with pytest.raises(ValueError, match="128 world placeholders but 0 features"):
        states(fused, batch)


def test_a_direct_call_with_the_world_switched_off_is_that_of_gemma(fused: TheWorld) -> None:
    with fused.without_world():
        batch = encode(fused.processor, [[user("Which bin?", picture(1))]])
        assert states(fused, batch).isfinite().all()


def test_inputs_without_names_beside_a_world_are_refused(fused: TheWorld, batch: dict[str, Any]) -> None:
    ids, pixels = batch.pop("input_ids"), batch.pop("pixel_values")
    inputs = batch | {"pixel_values": pixels}

    with torch.no_grad():
        output = fused.base_model(ids, **inputs)
    assert torch.equal(output.last_hidden_state, states(fused, inputs | {"input_ids": ids}))
    with pytest.raises(ValueError, match="2 inputs without names beside a world"):
        fused.base_model(ids, pixels, **batch)


def test_a_copy_of_a_model_fuses_with_its_own_layers(model: TheWorld, batch: dict[str, Any]) -> None:
    twin = copy.deepcopy(model)
    before = states(model, batch)
    torch.nn.init.zeros_(twin.world.scale)

    assert torch.equal(states(model, batch), before)
    assert not torch.equal(states(twin, batch), before)


def test_the_hook_does_not_keep_a_deleted_model_in_memory() -> None:
    class Owner:
        config = None

    owner = Owner()
    hook, watch = DirectCalls(owner), weakref.ref(owner)  # pyright: ignore[reportArgumentType]
    gc.disable()
    try:
        del owner
        assert watch() is None
    finally:
        gc.enable()
    assert hook(None, (), {}) is None
