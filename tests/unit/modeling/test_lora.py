"""Adapters: nothing at first, trained beside a base that stays, saved alone, and merged without a difference."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from fixtures_model import picture
from theworld import TheWorld
from theworld.config import LoraSettings, ModelSettings
from theworld.datasets.collator import Collator
from theworld.datasets.sample import question
from theworld.evaluation.conditions import answering_formats, open_respondent
from theworld.evaluation.run import saved_config
from theworld.modeling import CheckpointError
from theworld.modeling.factory import describe_weights, open_model
from theworld.modeling.freezing import count_parameters, part_of

BOTH = LoraSettings(targets=("language", "vision"), rank=4, alpha=8)


def load(source: Any = "tiny", **settings: Any) -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained(source, **settings)


def batch_of(model: TheWorld) -> dict[str, Any]:
    asked = [question("one", [picture(1)], "Which bin?", "red"), question("two", [picture(2)], "Why?", "it falls")]
    return Collator(model.processor, supervise=True)(asked)


@torch.no_grad()
def logits_of(model: TheWorld) -> Tensor:
    return model.eval()(**{name: value for name, value in batch_of(model).items() if name != "labels"}).logits


def moved(model: TheWorld) -> TheWorld:
    """Stands for training: every trainable parameter moves."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def steps(model: TheWorld, num_steps: int) -> TheWorld:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
    for _ in range(num_steps):
        optimizer.zero_grad()
        model.train()(**batch_of(model)).loss.backward()
        optimizer.step()
    return model


def names_in(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return set(tensors.keys())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[TheWorld, Path]:
    """A model whose projector and adapters were trained, and where it was saved: not to be changed."""
    model = moved(load(world_grid=4, lora=BOTH))
    folder = tmp_path_factory.mktemp("adapted") / "model"
    model.save_pretrained(folder)
    return model, folder


def test_new_adapters_change_nothing() -> None:
    assert torch.equal(logits_of(load(lora=BOTH)), logits_of(load()))


@pytest.mark.parametrize("targets", [("language",), ("vision",), ("language", "vision")])
def test_training_moves_adapters_and_projector_and_leaves_the_base_bit_for_bit(targets: Any) -> None:
    model = load(lora={"targets": targets, "rank": 4})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    steps(model, 2)

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (part_of(name) not in ("world", "adapters")), name
    sides = {name.split(".")[1] for name in before if ".lora_" in name}
    assert sides == {{"language": "language_model", "vision": "vision_tower"}[target] for target in targets}


def test_adapters_are_counted_as_a_part_of_their_own() -> None:
    plain, model = load(), load(lora=BOTH)
    counts = count_parameters(model)

    assert counts["adapters"][0] == counts["adapters"][1] > 0
    assert {part: pair for part, pair in counts.items() if part != "adapters"} == count_parameters(plain)


def test_activations_computed_again_give_the_same_gradients() -> None:
    models = [moved(load(world_grid=4, lora=BOTH)) for _ in range(2)]
    models[1].activation_checkpointing_enable({"use_reentrant": False})
    assert [model.is_gradient_checkpointing for model in models] == [False, True]
    for model in models:
        model.train()(**batch_of(model)).loss.backward()

    for (name, one), two in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None) == (part_of(name) not in ("world", "adapters"))
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad)


def test_a_checkpoint_holds_adapters_and_projector_and_loads_to_the_same_model(adapted: tuple[TheWorld, Path]) -> None:
    model, folder = adapted
    again = TheWorld.from_pretrained(folder)

    assert {part_of(name) for name in names_in(folder)} == {"world", "adapters"}
    assert again.config.lora_settings() == BOTH
    assert torch.equal(logits_of(again), logits_of(model))
    assert not torch.equal(logits_of(again), logits_of(load(world_grid=4)))


def test_merged_adapters_say_the_same_and_are_saved_as_weights(adapted: tuple[TheWorld, Path], tmp_path: Path) -> None:
    model = TheWorld.from_pretrained(adapted[1])
    model.merge_lora()
    torch.testing.assert_close(logits_of(model), logits_of(adapted[0]), rtol=1e-5, atol=1e-5)
    assert not [name for name in model.state_dict() if "lora" in name or "base_layer" in name]

    model.save_pretrained(tmp_path / "merged")
    again = TheWorld.from_pretrained(tmp_path / "merged")

    assert again.config.lora is None
    assert again.config.trained_parts == ["world", "vision", "language"]
    assert torch.equal(logits_of(again), logits_of(model))
    with pytest.raises(ValueError, match="no adapters to merge"):
        again.merge_lora()


def test_dropout_of_adapters_is_off_in_a_loaded_model() -> None:
    model = TheWorld.from_pretrained("tiny", lora={"targets": ["language"], "dropout": 0.5})
    moved(model)
    inputs = {name: value for name, value in batch_of(model).items() if name != "labels"}

    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, model(**inputs).logits)


def test_adapters_train_in_float32_beside_a_base_of_half_the_bits() -> None:
    model = TheWorld.from_pretrained("tiny", dtype=torch.bfloat16, lora=BOTH)

    formats = {part_of(name): parameter.dtype for name, parameter in model.named_parameters()}
    assert formats["adapters"] == torch.float32
    assert formats["language"] == torch.bfloat16


# --- stages ------------------------------------------------------------------------------------------------


def test_adapters_come_beside_weights_that_an_earlier_stage_trained(tmp_path: Path) -> None:
    first = moved(load(world_grid=4, freeze_gemma_language=False))
    first.save_pretrained(tmp_path / "first")
    settings = ModelSettings(
        gemma_model_name="tiny",
        checkpoint=tmp_path / "first",
        dtype="float32",
        lora=LoraSettings(targets=("language",), rank=4),
    )

    second = open_model(settings)
    assert torch.equal(logits_of(second), logits_of(first))
    moved(second).save_pretrained(tmp_path / "second")

    third = TheWorld.from_pretrained(tmp_path / "second")
    assert third.config.trained_parts == ["world", "language", "adapters"]
    assert names_in(tmp_path / "second") > names_in(tmp_path / "first")
    assert torch.equal(logits_of(third), logits_of(second))


def test_a_later_stage_goes_on_with_the_adapters_of_its_checkpoint(adapted: tuple[TheWorld, Path]) -> None:
    model, folder = adapted
    again = open_model(ModelSettings(gemma_model_name="tiny", checkpoint=folder, dtype="float32"))

    assert torch.equal(logits_of(again), logits_of(model))
    assert count_parameters(again)["adapters"][0] > 0
    with pytest.raises(CheckpointError, match=r"lora=.*'rank': 2.*: its weights were trained otherwise"):
        TheWorld.from_pretrained(folder, lora={"targets": ["language"], "rank": 2})
    with pytest.raises(CheckpointError, match="belongs to another model: lora"):
        load(world_grid=4).load_checkpoint(folder)


def test_adapters_and_full_training_of_the_same_layers_are_refused(adapted: tuple[TheWorld, Path]) -> None:
    with pytest.raises(ValueError, match="freeze_gemma_language=False: adapters need frozen layers"):
        ModelSettings(freeze_gemma_language=False, lora=BOTH)
    with pytest.raises(ValueError, match="freeze_gemma_vision=False: adapters need frozen layers"):
        TheWorld.from_pretrained(adapted[1], freeze_gemma_vision=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"rank": 8}, "not used without targets"), ({"targets": ("vision", "vision")}, "contains a target twice")],
)
def test_settings_of_adapters_that_mean_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LoraSettings(**given)


# --- evaluation --------------------------------------------------------------------------------------------


def test_the_arm_gemma_is_the_base_without_adapters(adapted: tuple[TheWorld, Path], world_off: TheWorld) -> None:
    folder = adapted[1]
    saved = saved_config(folder)
    formats = answering_formats(saved, "auto", None)
    gemma = open_respondent(folder, "gemma", saved, formats).model
    trained = open_respondent(folder, "no-world-tokens", saved, formats).model

    assert torch.equal(logits_of(gemma), logits_of(world_off))
    assert not torch.equal(logits_of(trained), logits_of(world_off))
    assert trained.config.lora_settings() == BOTH


def test_other_adapters_are_other_weights_to_predictions(adapted: tuple[TheWorld, Path], tmp_path: Path) -> None:
    other = TheWorld.from_pretrained(adapted[1])
    with torch.no_grad():
        next(p for name, p in other.named_parameters() if ".lora_B." in name).add_(0.01)
    other.save_pretrained(tmp_path / "other")

    loaded = [TheWorld.from_pretrained(folder) for folder in (adapted[1], tmp_path / "other")]

    assert describe_weights(loaded[0]) != describe_weights(loaded[1])
