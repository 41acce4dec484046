"""transformers' own Trainer trains a TheWorld; peft's own functions add, save, load and merge adapters of it."""

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from fixtures_model import encode, picture, user
from theworld import TheWorld
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Turn

LANGUAGE = r"model\.language_model\.layers\.\d+\.self_attn\.[qv]_proj"


@pytest.fixture(scope="module")
def small() -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny", world_grid=2).eval()


@pytest.fixture
def model(small: TheWorld) -> TheWorld:
    return copy.deepcopy(small)


def samples() -> list[Sample]:
    return [
        Sample(str(seed), (Turn("user", "Which bin?"), Turn("assistant", answer)), (picture(seed),))
        for seed, answer in enumerate(("red", "green"))
    ]


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(**encode(model.processor, [[user("Which bin?", picture(3))]])).logits


def test_a_plain_trainer_trains_saves_and_resumes_the_projector(model: TheWorld, tmp_path: Path) -> None:
    options: Any = {"learning_rate": 1e-2, "per_device_train_batch_size": 2, "save_steps": 1}
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, remove_unused_columns=False, report_to="none", use_cpu=True, **options
    )
    data: Any = samples()
    before, first = copy.deepcopy(model), copy.deepcopy(model)

    Trainer(first, arguments, Collator(model.processor, supervise=True), data).train()
    Trainer(model, arguments, Collator(model.processor, supervise=True), data).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-1")
    )

    assert not torch.equal(logits(first.eval()), logits(before))
    assert torch.equal(logits(model.eval()), logits(first))
    saved = TheWorld.from_pretrained(tmp_path / "checkpoint-2").eval()
    assert torch.equal(logits(saved), logits(first))


def with_adapters(model: TheWorld, **options: Any) -> Any:
    """The model in peft's own class, its adapters changed as training would."""
    settings = peft.LoraConfig(r=2, target_modules=LANGUAGE, **options)
    wrapped = peft.get_peft_model(model, settings).eval()  # pyright: ignore[reportArgumentType]
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return wrapped


def test_adapters_of_peft_are_saved_loaded_and_merged_with_the_same_logits(
    small: TheWorld, model: TheWorld, tmp_path: Path
) -> None:
    wrapped = with_adapters(model)
    trained = logits(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")

    loaded: Any = peft.PeftModel.from_pretrained(copy.deepcopy(small), tmp_path / "adapter").eval()  # pyright: ignore[reportArgumentType]
    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")

    assert not torch.equal(trained, logits(small))
    assert isinstance(merged, TheWorld)
    assert torch.allclose(logits(merged), trained, atol=1e-5)
    assert torch.equal(logits(TheWorld.from_pretrained(tmp_path / "merged").eval()), logits(merged))


def test_a_world_in_modules_to_save_trains_beside_the_adapters_and_is_saved_with_them(
    small: TheWorld, model: TheWorld, tmp_path: Path
) -> None:
    wrapped = with_adapters(model, modules_to_save=["world"])
    wrapped.train()
    wrapped(**Collator(small.processor, supervise=True)(samples())).loss.backward()
    torch.optim.SGD([weight for weight in wrapped.parameters() if weight.requires_grad], lr=0.1).step()
    trained = logits(wrapped.eval())
    wrapped.save_pretrained(tmp_path / "adapter")

    loaded: Any = peft.PeftModel.from_pretrained(copy.deepcopy(small), tmp_path / "adapter").eval()  # pyright: ignore[reportArgumentType]

    assert torch.equal(logits(loaded), trained)
    merged = loaded.merge_and_unload()
    assert torch.allclose(logits(merged), trained, atol=1e-5)
    assert not torch.equal(merged.world.scale, small.world.scale)


def test_our_own_adapters_are_layers_of_peft_and_merge_with_the_same_logits(tmp_path: Path) -> None:
    model = TheWorld.from_pretrained("tiny", world_grid=2, lora={"targets": ("language",), "rank": 2}).eval()
    plain = logits(model)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    trained = logits(model)
    model.save_pretrained(tmp_path)

    assert (trained - plain).abs().max() > 1e-2
    assert any(isinstance(module, peft.tuners.lora.LoraLayer) for module in model.modules())
    loaded = TheWorld.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded), trained)
    loaded.merge_lora()
    assert torch.allclose(logits(loaded), trained, atol=1e-4)  # sums are rounded
