"""Distillation: Gemma learns a world's states in training, and its checkpoint answers without a world."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures_model import features, picture
from theworld import TheWorld
from theworld.config import TrainingConfig
from theworld.config.commands import FillSettings
from theworld.config.model import DistillationSettings, LoraSettings
from theworld.config.strict_yaml import SettingsError
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Turn, question
from theworld.evaluation.generation import Answerer
from theworld.modeling.config_files import CheckpointError
from theworld.modeling.native import compile_layers
from theworld.training import dataloading
from theworld.training.distillation import HEAD_NAME, Distiller, StateHead, layer_of, resampled
from theworld.training.feature_cache import fill
from theworld.training.flops import WorkCounter
from theworld.training.metrics import read_metrics
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]
LORA = {"targets": ("language",), "rank": 4, "alpha": 8}


@pytest.fixture
def distilling(make_config: MakeConfig, tmp_path) -> MakeConfig:
    """Settings of a run that distils `vae` features into adapters of the language model."""

    def make(name: str = "run", **changes: Any) -> TrainingConfig:
        model = {"enable_world": False, "lora": LoraSettings(**LORA), **changes.pop("model", {})}
        given = {"distillation": DistillationSettings(weight=1.0), "store_dir": tmp_path / "store"}
        return make_config(name, model=model, **{**given, **changes})

    return make


@pytest.fixture(scope="module")
def student() -> TheWorld:
    """A model without a world whose language model has adapters."""
    return TheWorld.from_pretrained("tiny", enable_world=False, lora=LORA)


def head_of(width: int = 128, num_slots: int = 1) -> StateHead:
    return StateHead(width, torch.zeros(16), torch.ones(16), num_slots)


def batch_of(model: TheWorld, samples: list[Sample], packing: bool = False) -> dict[str, Any]:
    """A batch whose teacher's features say which clip they are of: the mean of its last frame."""

    def read(frames: Tensor, steps: int) -> Tensor:
        means = frames[:, -1].float().mean((1, 2, 3))
        return means[:, None, None, None, None].expand(-1, 16, frames.shape[1] + steps, 8, 8) / 255

    return Collator(model.processor, supervise=True, read_teacher=read, packing=packing)(samples)


def rows(config: TrainingConfig) -> list[dict[str, Any]]:
    return read_metrics(config.output_dir / "metrics.jsonl")


# --- what is learnt ------------------------------------------------------------------------------------------


def test_a_new_head_predicts_the_mean_and_leaves_the_whole_variance_unexplained() -> None:
    values = features(64)
    spread, mean = torch.std_mean(resampled(values, 4).flatten(0, 2), 0)
    head = StateHead(128, mean, spread, num_slots=1)

    assert head(torch.randn(64, 16, 128), values).item() == pytest.approx(1, abs=0.02)


def test_pooling_keeps_the_place_and_the_slot_of_a_feature() -> None:
    values = torch.zeros(1, 2, 3, 8, 8)
    values[0, 1, 2, :2, 6:] = 1.0  # channel 1 of slot 2, top right

    result = resampled(values, 4)

    assert result.shape == (1, 16, 3, 2)
    assert int(result.flatten().argmax()) == (3 * 3 + 2) * 2 + 1  # place 3, slot 2, channel 1


def test_a_run_learns_to_predict_the_world_and_to_answer(distilling: MakeConfig) -> None:
    config = distilling(num_steps=24, logging_steps=6, save_steps=24)
    config = replace(config, optim=replace(config.optim, learning_rate=2e-2), data=replace(config.data, num_train=4))

    train(config)

    first, *_, last = rows(config)
    assert last["unexplained"] < 0.7 * first["unexplained"]
    assert last["loss"] - last["unexplained"] < first["loss"] - first["unexplained"], "the answers' part"


def test_a_true_future_can_be_the_teacher(distilling: MakeConfig) -> None:
    config = distilling(num_steps=2)
    world = replace(config.model.world, tap="true-future")
    config = replace(config, model=replace(config.model, num_world_steps=4, world=world))

    train(config)

    assert rows(config)[-1]["unexplained"] > 0


def test_gradients_reach_the_adapters_before_the_states_and_no_frozen_weight(student: TheWorld) -> None:
    distiller = Distiller(student, head_of(student.config.text.hidden_size), DistillationSettings(weight=1.0, layer=1))
    torch.nn.init.normal_(distiller.head.linear.weight)
    for name, weight in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    batch = batch_of(student, [question(str(seed), [picture(seed)], "What?", "that") for seed in range(2)])

    output = distiller(**batch)
    answers = student(**{name: value for name, value in batch.items() if not name.startswith("teacher")}).loss
    (output.loss - answers).backward()

    moved = {name for name, weight in student.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert moved
    assert all(".layers.0." in name and ".lora_" in name for name in moved)
    student.zero_grad()


# --- which picture, which clip -------------------------------------------------------------------------------


def test_of_several_pictures_of_a_clip_the_last_one_predicts(student: TheWorld) -> None:
    shown = [picture(seed) for seed in range(3)]
    one = Sample("one", (Turn("user", "What?"), Turn("assistant", "that")), tuple(shown), clips=(shown[-1:],))
    two = question("two", shown[:2], "What?", "that")  # two clips of one frame

    none = Sample("none", one.turns, (picture(3),), clips=())

    batch = batch_of(student, [one, none, two])

    assert batch["teacher_pictures"].tolist() == [False, False, True, False, True, True]
    assert batch["teacher_features"].shape == (3, 16, 1, 8, 8)


def test_packed_rows_have_the_loss_of_rows_of_their_own(student: TheWorld) -> None:
    distiller = Distiller(student, head_of(student.config.text.hidden_size), DistillationSettings(weight=1.0))
    torch.nn.init.normal_(distiller.head.linear.weight, generator=torch.Generator().manual_seed(0))
    samples = [
        question("short", [picture(0)], "What?", "that"),
        question("long", [picture(1), picture(2)], "What is it that you see? " * 8, "that"),
        question("text", [], "What?", "this"),
    ]

    with torch.no_grad():
        apart, together = (distiller(**batch_of(student, samples, packing)).loss for packing in (False, True))

    assert together.item() == pytest.approx(apart.item(), abs=1e-5)


def test_clips_with_unequal_numbers_of_pictures_are_refused(student: TheWorld) -> None:
    clips = ([picture(0)], [picture(1)])
    odd = Sample("odd", (Turn("user", "What?"), Turn("assistant", "that")), (picture(0),) * 3, clips=clips)

    with pytest.raises(ValueError, match="sample 'odd': 3 pictures of 2 clips: distillation needs as many"):
        batch_of(student, [odd])


def test_text_alone_trains_too(distilling: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [question("seen", [picture()], "What?", "that"), question("read", [], "Why?", "so")] * 4
    monkeypatch.setattr(dataloading, "open_training", lambda *given, **named: samples)

    config = distilling(num_steps=4, batch_size=1, save_steps=4)
    train(config)

    assert 0 < len([row for row in rows(config) if "unexplained" in row]) < 4


# --- checkpoints ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if any network of the world is loaded."""
    for name in ("open_tap", "tap_fingerprint"):
        monkeypatch.setattr(f"theworld.world.factory.{name}", lambda *given: pytest.fail("a world was loaded"))
    monkeypatch.setattr("theworld.world.loading.load_vae", lambda *given: pytest.fail("a world was loaded"))


def test_the_trained_model_holds_adapters_alone_and_answers_without_a_world(
    distilling: MakeConfig, request: pytest.FixtureRequest
) -> None:
    config = distilling(num_steps=2)
    train(config)
    request.getfixturevalue("no_world")

    model = TheWorld.from_pretrained(config.output_dir / "model")
    reply = Answerer(model)([question("asked", [picture()], "What?")])[0]

    assert model.config.trained_parts == ["adapters"]
    assert not model.config.enable_world
    assert model.tap is None
    assert reply.error is None
    assert {path.name for path in (config.output_dir / "model").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }


def test_a_continued_run_has_the_losses_of_an_unbroken_one(distilling: MakeConfig) -> None:
    config = distilling(num_steps=4, gradient_accumulation_steps=2, batch_size=2)
    train(config)
    unbroken = rows(config)

    train(replace(config, resume=config.output_dir / "checkpoint-2"))

    losses = [[(row["loss"], row["unexplained"]) for row in each] for each in (unbroken, rows(config))]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


def test_a_checkpoint_without_its_head_is_refused(distilling: MakeConfig) -> None:
    config = distilling()
    train(config)
    checkpoint = config.output_dir / "checkpoint-2"
    (checkpoint / HEAD_NAME).unlink()
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"].pop(HEAD_NAME)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises((CheckpointError, ValueError), match=HEAD_NAME):
        train(replace(config, resume=checkpoint))


def test_a_second_stage_goes_on_from_the_adapters_of_the_first(distilling: MakeConfig) -> None:
    first = distilling("first", num_steps=2)
    train(first)

    second = distilling("second", num_steps=2)
    train(replace(second, model=replace(second.model, checkpoint=first.output_dir / "model")))

    assert TheWorld.from_pretrained(second.output_dir / "model").config.trained_parts == ["adapters"]


def test_recomputed_activations_give_the_same_losses(distilling: MakeConfig) -> None:
    plain, recomputed = (distilling(f"again-{again}", gradient_checkpointing=again) for again in (False, True))
    for config in (plain, recomputed):
        train(config)

    assert [row["loss"] for row in rows(recomputed)] == pytest.approx([row["loss"] for row in rows(plain)], abs=1e-5)


def test_the_layer_that_the_head_reads_is_not_compiled() -> None:
    model = TheWorld.from_pretrained("tiny", enable_world=False)

    compile_layers(model, except_for=layer_of(model.config, DistillationSettings(weight=1.0)))

    layers: Any = model.model.language_model.layers
    assert [layer._compiled_call_impl is None for layer in layers] == [index == 2 for index in range(6)]


def test_a_store_is_filled_beforehand_for_the_teacher(distilling: MakeConfig) -> None:
    config = distilling(num_steps=1)
    fields = {name: getattr(config, name) for name in TrainingConfig.__dataclass_fields__}

    result = fill(FillSettings(**fields))

    assert (result["samples"], result["computed"]) == (8, 8)
    assert fill(FillSettings(**fields))["computed"] == 0


def test_the_operations_of_the_head_count(student: TheWorld) -> None:
    batch = batch_of(student, [question("seen", [picture()], "What?", "that")])
    head = head_of(student.config.text.hidden_size)

    more = WorkCounter(student, head)(batch).total - WorkCounter(student)(batch).total

    assert more == 6 * 16 * student.config.text.hidden_size * 16  # at 16 image tokens, for 16 channels


# --- refusals ------------------------------------------------------------------------------------------------


def test_settings_that_contradict_distillation_are_refused_in_one_line(distilling: MakeConfig) -> None:
    with pytest.raises(SettingsError, match=r"weight=1 with model.enable_world=True, a model that reads the world"):
        distilling(model={"enable_world": True})
    with pytest.raises(SettingsError, match=r"reads the teacher's states from a feature store: set store_dir"):
        distilling(store_dir=None)
    with pytest.raises(SettingsError, match="layer=2 is not used at weight=0"):
        DistillationSettings(layer=2)
    with pytest.raises(SettingsError, match="nothing to train"):
        distilling(model={"lora": LoraSettings()})
    with pytest.raises(SettingsError, match="needs a tap that looks ahead"):
        distilling(model={"num_world_steps": 4})  # of the tap `vae`


def test_a_layer_beyond_the_last_is_refused_before_weights_load(distilling: MakeConfig, no_world: None) -> None:
    with pytest.raises(ValueError, match=r"distillation.layer=99: expected 1 to \d+, all layers"):
        train(distilling(distillation=DistillationSettings(weight=1.0, layer=99)))
