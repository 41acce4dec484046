"""The loss: made at supervised positions only, and equal to the one that is made everywhere."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma3TextConfig, SiglipVisionConfig

from fixtures_model import features, picture
from theworld import TheWorld, TheWorldConfig
from theworld.constants import IGNORE_INDEX
from theworld.datasets import Sample, Turn
from theworld.datasets.collator import Collator

SAMPLES = [
    Sample("one", (Turn("user", "Which bin?"), Turn("assistant", "red")), (picture(1),)),
    Sample(
        "two",
        (Turn("user", "Left, right?"), Turn("assistant", "left it is"), Turn("user", "Why?"), Turn("assistant", "so")),
        (picture(2), picture(3)),
    ),
    Sample("three", (Turn("user", "Hello?"), Turn("assistant", "Hello to you"))),
    Sample("four", (Turn("user", "Where?"), Turn("assistant", "there")), (picture(4),)),
]


@pytest.fixture(scope="module")
def batch(processor):
    return Collator(processor, supervise=True)(SAMPLES)


@pytest.fixture(scope="module")
def text_batch(processor):
    return Collator(processor, supervise=True)([SAMPLES[2]])


def world_gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_loss_equals_the_one_over_all_logits(fused, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    everywhere = torch.nn.functional.cross_entropy(
        fused(**inputs).logits[:, :-1].flatten(0, 1).double(), batch["labels"][:, 1:].flatten()
    )
    output = fused(**batch)
    assert output.logits.shape == ((batch["labels"] != IGNORE_INDEX).sum(), fused.config.text.vocab_size)
    expected = everywhere.float().item()  # the loss is float32, whose steps at this size are 1e-6 wide
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)


def test_so_do_its_gradients(model, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    model(**batch).loss.backward()
    supervised = copy.deepcopy(world_gradients(model))
    model.zero_grad()
    torch.nn.functional.cross_entropy(
        model(**inputs).logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    ).backward()
    assert len(supervised) == 8
    for name, gradient in world_gradients(model).items():
        torch.testing.assert_close(supervised[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 2], [3, 1]])
def test_micro_batches_add_up_to_the_loss_of_the_batch(fused, processor, batch, sizes):
    total = int((batch["labels"] != IGNORE_INDEX).sum())
    collate, samples, losses = Collator(processor, supervise=True), iter(SAMPLES), []
    for size in sizes:
        micro = collate([next(samples) for _ in range(size)])
        losses.append(fused(**micro, num_items_in_batch=total).loss.item())
    assert sum(losses) == pytest.approx(fused(**batch).loss.item(), rel=1e-6)


@pytest.mark.parametrize("num_items", [None, 7])
def test_a_batch_without_a_supervised_token_has_a_loss_and_gradients_of_zero(model, batch, num_items):
    silent = {**batch, "labels": torch.full_like(batch["labels"], IGNORE_INDEX)}
    options = {} if num_items is None else {"num_items_in_batch": num_items}
    loss = model.train()(**silent, **options).loss
    assert loss.item() == 0.0
    loss.backward()
    assert all(gradient is not None and not gradient.any() for gradient in world_gradients(model).values())


@pytest.mark.parametrize("fusion", ["tokens", "residual"])
def test_a_batch_of_text_alone_trains_though_only_the_world_is_trainable(model, residual, text_batch, fusion):
    model = (model if fusion == "tokens" else copy.deepcopy(residual)).train()
    loss = model(**text_batch).loss
    with torch.no_grad():
        assert loss.item() == model.eval()(**text_batch).loss.item() > 0
    loss.backward()
    assert all(gradient is not None and not gradient.any() for gradient in world_gradients(model).values())


def test_a_batch_of_text_alone_has_the_loss_of_gemma(fused, gemma, text_batch):
    assert fused(**text_batch).loss.item() == pytest.approx(gemma(**text_batch).loss.item(), abs=1e-6)


@pytest.mark.parametrize("fusion", ["tokens", "residual"])
def test_gradient_checkpointing_gives_the_same_gradients(model, residual, batch, fusion):
    model = (model if fusion == "tokens" else copy.deepcopy(residual)).train()
    model.freeze(gemma_vision=False, gemma_language=False)
    model(**batch).loss.backward()
    expected = copy.deepcopy(world_gradients(model))
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": False})
    model(**batch).loss.backward()
    for name, gradient in world_gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=0, msg=name)


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


def test_no_logits_are_made_where_nothing_is_supervised():
    """Gemma 3's vocabulary, 2,000 positions, 40 of them supervised: (B, L, V) would take 4 GB twice over."""
    vocabulary, length, supervised = 262_208, 2_000, 40
    config = TheWorldConfig(
        text_config=Gemma3TextConfig(
            vocab_size=vocabulary,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=56
        ),
        world_image_size=64,
    )
    model = TheWorld(config).train()
    ids = torch.randint(10, 200_000, (2, length))
    block = [config.sow_token_id, *[config.world_token_id] * 64, config.eow_token_id]
    ids[:, 1 : 1 + len(block)] = torch.tensor(block)
    labels = torch.full_like(ids, IGNORE_INDEX)
    labels[:, -supervised // 2 :] = ids[:, -supervised // 2 :]
    with LargestTensor() as largest:
        loss = model(input_ids=ids, labels=labels, world_features=features(2), num_world_steps=0).loss
        loss.backward()
    assert loss.item() == pytest.approx(12.5, abs=0.5)  # log V
    assert largest.elements <= supervised * vocabulary < 2 * length * vocabulary / 90
