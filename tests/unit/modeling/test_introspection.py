"""Attention of the position that chooses the first word: what plain attention over the whole prompt gives."""

import pytest
import torch

from fixtures_model import IMAGE_TOKENS, WORLD_TOKENS, encode, picture, user
from theworld import TheWorld
from theworld.modeling.introspection import first_attention


def plain(model: TheWorld, inputs: dict) -> torch.Tensor:
    """The last position's attention to each token, from one plain forward over all of them."""
    language = model.model.language_model
    before = language.config._attn_implementation
    language.set_attn_implementation("eager")
    with torch.no_grad():
        layers = model(**inputs, output_attentions=True).attentions
    language.set_attn_implementation(before)
    return torch.stack([layer[0, :, -1].mean(0) for layer in layers]).mean(0)


@pytest.fixture
def inputs(fused: TheWorld) -> dict:
    return encode(fused.processor, [[user("Which bin?", picture(1))]])


def test_shares_are_those_of_one_forward_over_the_whole_prompt(fused: TheWorld, inputs: dict):
    found, shares = first_attention(fused.look(picture(1)), "Which bin?"), plain(fused, inputs)
    ids = inputs["input_ids"][0]
    torch.testing.assert_close(found.image, shares[ids == fused.config.image_token_id], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.world[0], shares[ids == fused.config.world_token_id], atol=1e-5, rtol=1e-4)
    assert found.image.shape == (IMAGE_TOKENS,)
    assert found.world.shape == (1, WORLD_TOKENS)
    assert 0 < float(found.image.sum() + found.world.sum()) < 1


def test_the_model_attends_as_before_when_it_is_done(fused: TheWorld):
    before = fused.model.language_model.config._attn_implementation
    first_attention(fused.look(picture(1)), "Which bin?")
    assert fused.model.language_model.config._attn_implementation == before != "eager"


def test_without_world_tokens_there_are_no_slots(world_off: TheWorld, residual: TheWorld):
    for model in (world_off, residual):
        found = first_attention(model.look(picture(1)), "Which bin?")
        assert found.image.shape == (IMAGE_TOKENS,)
        assert len(found.world) == 0


def test_what_has_left_a_sliding_window_gets_nothing(inputs: dict):
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny").eval()
    text = model.config.get_text_config()
    text.sliding_window = 8
    text.layer_types = ["sliding_attention"] * text.num_hidden_layers
    found = first_attention(model.look(picture(1)), "Which bin?")
    assert float(found.image.sum()) == float(found.world.sum()) == 0
