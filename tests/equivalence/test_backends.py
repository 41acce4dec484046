"""However it is computed, it is the same model: attention by sdpa or plain, compiled or not, in shorter formats."""

import copy
import shutil
from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest
import torch

from fixtures_model import encode, mixed_rows, picture, user
from theworld import TheWorld

CLOSE = {"atol": 1e-5, "rtol": 0}
FUSIONS = ["tokens", "residual"]


@pytest.fixture(params=FUSIONS)
def world_on(request) -> TheWorld:
    """A model whose world reaches the logits: the gate of a residual stands half open."""
    model = copy.deepcopy(request.getfixturevalue("fused" if request.param == "tokens" else "residual"))
    if request.param == "residual":
        with torch.no_grad():
            model.world.gate.fill_(0.5)
    return model


@pytest.fixture
def batch(world_on: TheWorld) -> dict[str, Any]:
    """Rows of one, two and no pictures, padded on the left."""
    return encode(world_on.processor, mixed_rows())


def logits_of(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Where there is no padding."""
    with torch.no_grad():
        return model(**batch).logits[batch["attention_mask"].bool()]


def loss_and_gradients(model: Any, of: TheWorld, batch: dict[str, Any]) -> list[torch.Tensor]:
    """Of a training step, for the layers that train."""
    of.zero_grad()
    labels = batch["input_ids"].clone()
    labels[:, :-4] = -100
    loss = model(**batch, labels=labels).loss
    loss.backward()
    return [loss.detach(), *(weight.grad.clone() for weight in of.world.parameters() if weight.grad is not None)]


def test_attention_by_sdpa_and_plain_attention_give_equal_logits_and_gradients(world_on, batch):
    found = {}
    for attention in ("sdpa", "eager"):
        world_on.set_attn_implementation(attention)
        assert world_on.model.language_model.config._attn_implementation == attention
        found[attention] = [logits_of(world_on, batch), *loss_and_gradients(world_on, world_on, batch)]
    for fused, plain in zip(*found.values(), strict=True):
        torch.testing.assert_close(fused, plain, **CLOSE)
    assert not torch.equal(found["sdpa"][0], found["eager"][0])  # not one kernel under two names


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shapes that tests have and users do not: they would be compiled, too."""
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def thin(world_on: TheWorld) -> TheWorld:
    """One layer of each kind, sliding and full attention: compiling takes as long as there are layers."""
    language, vision = world_on.model.language_model, world_on.model.vision_tower
    language.layers = language.layers[-2:]
    language.config.layer_types = [layer.self_attn.layer_type for layer in language.layers]
    assert language.config.layer_types == ["sliding_attention", "full_attention"]
    for number, layer in enumerate(language.layers):
        layer.self_attn.layer_idx = number
    vision.encoder.layers = vision.encoder.layers[:1]
    return world_on


@pytest.fixture
def stored(world_on: TheWorld) -> dict[str, Any]:
    """A row with features: the frozen world is compiled by nobody."""
    one = encode(world_on.processor, [[user("Which bin?", picture(1))]])
    one["world_features"] = world_on.read_world(one.pop("world_pixels"))
    return one


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_model_gives_equal_logits_and_gradients(thin, stored):
    compiled = torch.compile(thin, backend="aot_eager")  # graphs and their derivatives, run by torch's own kernels
    expected = loss_and_gradients(thin, thin, stored)
    for own, plain in zip(loss_and_gradients(compiled, thin, stored), expected, strict=True):
        torch.testing.assert_close(own, plain, **CLOSE)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("world_on", ["tokens"], indirect=True)
def test_kernels_of_a_compiled_model_give_equal_logits(thin, stored):
    compiled = torch.compile(thin)
    torch.testing.assert_close(logits_of(compiled, stored), logits_of(thin, stored), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_shorter_formats_answer_on_a_cpu_nearly_as_float32_does(fused, residual, fusion, dtype):
    exact = fused if fusion == "tokens" else residual
    torch.manual_seed(0)
    short = TheWorld.from_pretrained("tiny", world_fusion=fusion, dtype=dtype).eval()
    assert short.get_input_embeddings().weight.dtype == dtype
    batch = encode(exact.processor, [[user("Which bin?", picture(1))]])
    logits = logits_of(exact, batch)
    own = logits_of(short, {**batch, "pixel_values": batch["pixel_values"].to(dtype)})
    assert own.dtype == dtype
    # 8 bits of a bfloat16 number count, 11 of a float16.
    torch.testing.assert_close(
        own.float(), logits, atol=logits.std().item() * (0.1 if dtype == torch.bfloat16 else 0.01), rtol=0
    )
    assert isinstance(short.generate(picture(1), "Which bin?", max_new_tokens=4), str)
    assert isinstance(short.look(picture(1)).ask("Which bin?", max_new_tokens=4), str)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_training_step_in_bfloat16_moves_what_trains_and_lowers_the_loss(fusion):
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", world_fusion=fusion, dtype=torch.bfloat16)
    batch = encode(model.processor, [[user("Which bin?", picture(1))]])
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(4):
        loss = model(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(weight, first) for weight, first in zip(trained, before, strict=True))
