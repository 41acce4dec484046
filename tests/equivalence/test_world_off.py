"""Without its world the model is Gemma 3, bit for bit; with it, Gemma's weights are Gemma's."""

import shutil
import sys

import pytest
import torch

from fixtures_model import encode, mixed_rows, picture, user
from theworld import TheWorld

GREEDY = {"do_sample": False, "max_new_tokens": 5, "return_dict_in_generate": True, "output_logits": True}


@torch.no_grad()
def test_another_picture_changes_the_logits_of_gemma(gemma, gemma_processor):
    first, second = (
        gemma(**encode(gemma_processor, [[user("Which bin?", picture(seed))]])).logits[:, -1] for seed in (1, 2)
    )
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize(
    "conversations",
    [[[user("Which bin?")]], [[user("Which bin?", picture(1))]], mixed_rows()],
    ids=["text", "picture", "left-padded batch"],
)
@torch.no_grad()
def test_world_off_equals_gemma_bit_for_bit(gemma, gemma_processor, world_off, conversations):
    expected_inputs = encode(gemma_processor, conversations)
    inputs = encode(world_off.processor, conversations)
    assert inputs.keys() == expected_inputs.keys()
    assert all(torch.equal(inputs[name], expected_inputs[name]) for name in inputs)
    assert torch.equal(world_off(**inputs).logits, gemma(**inputs).logits)
    output, expected = world_off.generate(**inputs, **GREEDY), gemma.generate(**inputs, **GREEDY)
    assert torch.equal(output.sequences, expected.sequences)
    assert torch.equal(torch.stack(output.logits), torch.stack(expected.logits))


def test_world_off_has_the_loss_and_gradients_of_gemma(gemma, world_off, gemma_processor):
    inputs = encode(gemma_processor, [[user("Which bin?", picture(1))]])
    weight = "model.language_model.layers.0.mlp.up_proj.weight"
    losses, gradients = [], []
    for model in (gemma, world_off):
        parameter = model.get_parameter(weight)
        trains, parameter.requires_grad = parameter.requires_grad, True
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, parameter)[0])
        parameter.requires_grad = trains
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=0)


def test_world_off_loads_no_world_code(monkeypatch):
    for name in ("loading", "taps", "vae", "dit", "rollout"):
        monkeypatch.setitem(sys.modules, f"theworld.world.{name}", None)  # importing it would raise
    model = TheWorld.from_pretrained("tiny", enable_world=False)
    assert model.tap is None
    assert not hasattr(model, "world")


def test_loading_leaves_every_weight_of_gemma_as_it_is(gemma, fused):
    own = fused.state_dict()
    for name, tensor in gemma.state_dict().items():
        assert torch.equal(own[name], tensor), name
    assert {name.split(".")[0] for name in own.keys() - gemma.state_dict().keys()} == {"world"}


@pytest.mark.parametrize("fusion", ["tokens", "residual"])
def test_loading_reports_exactly_our_own_parameters_as_missing(fusion):
    model, report = TheWorld.from_pretrained("tiny", world_fusion=fusion, load_world=False, output_loading_info=True)
    assert set(report["missing_keys"]) == {f"world.{name}" for name, _ in model.world.named_parameters()}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_loading_needs_no_tokenizer_in_the_folder(stack, tmp_path, fused):
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        shutil.copy(stack / "gemma" / name, tmp_path)
    assert TheWorld.from_pretrained(tmp_path, enable_world=False).config.enable_world is False
    ids = {name: getattr(fused.config, name) for name in ("sow_token_id", "eow_token_id", "world_token_id")}
    model = TheWorld.from_pretrained(tmp_path, cosmos_model_name="tiny", world_image_size=64, **ids)
    assert model.config.base_fingerprint == fused.config.base_fingerprint
