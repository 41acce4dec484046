"""Gemma 4 under the fusion: without the world it is Gemma 4, bit for bit; see `test_other_bases`, too."""

import pytest
import torch
from transformers import Gemma4ForConditionalGeneration, Gemma4Processor

from fixtures_model import encode, picture, user
from theworld import TheWorld

GREEDY = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}


def rows():
    """Three conversations: one picture, two pictures of unequal shapes, none."""
    return [
        [user("Which bin?", picture(1))],
        [user("Which bin is it, left or right, and why?", picture(2, width=96, height=48), picture(3))],
        [user("Hello?")],
    ]


@pytest.fixture(scope="module")
def batch(fused4):
    """`rows`, padded on the left."""
    return encode(fused4.processor, rows())


@pytest.fixture(scope="module", params=[False, True], ids=["causal", "bidirectional"])
def plain(request, gemma4, tmp_path_factory):
    """Gemma 4 itself, and its folder: with causal attention, and with attention both ways within a picture."""
    from theworld.tiny.gemma4 import write_gemma4

    folder = gemma4
    if request.param:
        folder = tmp_path_factory.mktemp("bidirectional")
        write_gemma4(folder, seed=0, bidirectional=True)
    return Gemma4ForConditionalGeneration.from_pretrained(folder).eval(), folder


@torch.no_grad()
def test_another_picture_changes_the_logits_of_gemma_4(plain):
    model, folder = plain
    processor = Gemma4Processor.from_pretrained(folder)
    first, second = (model(**encode(processor, [[user("Which bin?", picture(seed))]])).logits[:, -1] for seed in (1, 2))
    assert (first - second).abs().max() > 0.01


@torch.no_grad()
def test_world_off_equals_gemma_4_bit_for_bit(plain):
    model, folder = plain
    world_off = TheWorld.from_pretrained(folder, enable_world=False).eval()
    expected = encode(Gemma4Processor.from_pretrained(folder), rows())
    inputs = encode(world_off.processor, rows())
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
    assert torch.equal(world_off(**inputs).logits, model(**inputs).logits)
    answers = [one.generate(**inputs, **GREEDY, max_new_tokens=4) for one in (world_off, model)]
    assert torch.equal(answers[0].sequences, answers[1].sequences)
    assert torch.equal(torch.stack(answers[0].logits), torch.stack(answers[1].logits))


@torch.no_grad()
def test_a_world_token_has_the_inputs_of_padding_in_each_layer(fused4, batch):
    seen = []
    table = fused4.model.language_model.embed_tokens_per_layer
    hook = table.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    fused4(**batch)
    hook.remove()
    (ids,) = seen
    config = fused4.config
    world = (batch["input_ids"] >= config.sow_token_id) | (batch["input_ids"] == config.image_token_id)
    assert torch.equal(ids, torch.where(world, config.text.pad_token_id, batch["input_ids"]))
