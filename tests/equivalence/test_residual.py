"""Residual fusion: Gemma 3 bit for bit until its gate opens, and the world in its image tokens afterwards."""

import copy

import pytest
import torch

from fixtures_model import encode, features, mixed_rows, row_of, user

GENERATE = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}


@pytest.fixture(scope="module")
def opened(residual):
    """The model with its gate half open."""
    model = copy.deepcopy(residual)
    with torch.no_grad():
        model.world.gate.fill_(0.5)
    return model


@pytest.fixture
def batch(residual):
    return encode(residual.processor, mixed_rows())


@torch.no_grad()
def test_at_the_first_step_it_equals_gemma_bit_for_bit_with_the_world_on(residual, gemma, batch):
    plain = {name: value for name, value in batch.items() if name not in ("world_pixels", "num_world_steps")}
    before = residual.tap.clips_read
    assert torch.equal(residual(**batch).logits, gemma(**plain).logits)
    assert residual.tap.clips_read == before + 3
    output = residual.generate(**batch, **GENERATE, max_new_tokens=4)
    expected = gemma.generate(**plain, **GENERATE, max_new_tokens=4)
    assert torch.equal(torch.stack(output.logits), torch.stack(expected.logits))


@torch.no_grad()
def test_behind_an_open_gate_another_world_gives_other_logits(opened, batch):
    other = {**batch, "world_pixels": 255 - batch["world_pixels"]}
    change = (opened(**batch).logits - opened(**other).logits)[:, -1].abs().amax(-1)
    assert (change[:2] > 0.01).all()
    assert change[2] == 0  # no picture, nothing to add to
    first, second = (opened.generate(**inputs, **GENERATE, max_new_tokens=1).logits[0] for inputs in (batch, other))
    assert ((first - second).abs().amax(-1)[:2] > 0.01).all()


@torch.no_grad()
def test_generation_equals_the_plain_forward_also_with_beams(opened, batch):
    plain = opened(**batch).logits[:, -1]
    for beams in (1, 2):
        first = opened.generate(**batch, **GENERATE, max_new_tokens=1, num_beams=beams).logits[0]
        torch.testing.assert_close(first, plain.repeat_interleave(beams, dim=0), atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_equal_themselves_alone(opened, batch):
    logits = opened(**batch).logits[:, -1]
    for row, pictures in enumerate([[0], [1, 2], []]):
        alone = opened(**row_of(batch, row, pictures)).logits[0, -1]
        torch.testing.assert_close(logits[row], alone, atol=1e-5, rtol=0)


def test_it_needs_a_picture_for_each_clip(residual, batch):
    text = encode(residual.processor, [[user("Which bin?")]])
    with pytest.raises(ValueError, match="0 pictures, 1 clips"):
        residual(**text, world_features=features(1))
    with pytest.raises(ValueError, match="3 pictures, 2 clips"):
        residual(**{**batch, "world_pixels": batch["world_pixels"][:2]})
    with pytest.raises(ValueError, match="0 pictures, 1 clips"):
        residual.generate(**text, world_features=features(1))


def test_pictures_without_their_world_are_refused(residual, batch):
    inputs = {name: value for name, value in batch.items() if name not in ("world_pixels", "num_world_steps")}

    with pytest.raises(ValueError, match="pictures without a world"):
        residual(**inputs)
    with pytest.raises(ValueError, match="pictures without a world"):
        residual.generate(**inputs, max_new_tokens=1)
