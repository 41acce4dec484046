"""A training run writes a folder that says everything, keeps secrets, and can be continued."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from theworld import settings
from theworld.config import TrainingConfig
from theworld.modeling import TheWorld
from theworld.training import run as training_run
from theworld.training.progress import read_metrics
from theworld.training.run import train
from theworld.training.trainer import NonFiniteLossError, TheWorldTrainer
from theworld.world.vae import VaeTap

MakeConfig = Callable[..., TrainingConfig]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def test_a_run_writes_its_settings_environment_metrics_checkpoints_and_model(make_config: MakeConfig) -> None:
    config = make_config()

    result = train(config)

    assert settings.load(TrainingConfig, config.output_dir / "config.json", []) == config
    assert json.loads((config.output_dir / "environment.json").read_text())["libraries"]["torch"] == version("torch")
    assert [row["step"] for row in read_metrics(config.output_dir / "metrics.jsonl")] == [1, 2, 3, 4]
    assert {path.name for path in config.output_dir.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    assert result["step"] == 4
    assert TheWorld.from_pretrained(result["model"]).config.trained_parts == ["world"]


def test_no_file_of_a_run_holds_a_token_or_pickled_arguments(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thissecretmustnotshow")
    config = make_config(num_steps=2)

    train(config)

    files = [path for path in config.output_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name == "training_args.bin"]
    assert not [path for path in files if b"thissecretmustnotshow" in path.read_bytes()]


def test_only_the_newest_checkpoints_are_kept(make_config: MakeConfig) -> None:
    config = make_config(save_steps=1, save_total_limit=2)

    train(config)

    assert {path.name for path in config.output_dir.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-4"}


def test_a_continued_run_has_the_losses_of_an_unbroken_one_bit_for_bit(make_config: MakeConfig) -> None:
    # The language side trains too: its keys are those that transformers' own Trainer would not find again.
    config = make_config("unbroken", model={"freeze_gemma_language": False})
    train(config)
    broken = make_config("broken", model={"freeze_gemma_language": False}, resume=True)
    shutil.copytree(config.output_dir, broken.output_dir)
    shutil.rmtree(broken.output_dir / "checkpoint-4")

    train(broken)

    assert losses(broken.output_dir) == losses(config.output_dir)
    assert len(losses(broken.output_dir)) == 4


def test_a_folder_that_holds_a_run_is_neither_overwritten_nor_silently_continued(make_config: MakeConfig) -> None:
    config = make_config(num_steps=2)
    train(config)

    with pytest.raises(ValueError, match="holds a run already: continue it with resume=true"):
        train(config)


def test_resuming_from_a_folder_that_is_no_checkpoint_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a checkpoint of a run \(trainer_state.json is missing\)"):
        train(make_config(resume=tmp_path))


def test_one_batch_of_eight_and_eight_batches_of_one_give_one_trajectory(make_config: MakeConfig) -> None:
    whole = make_config("whole", batch_size=8, gradient_accumulation_steps=1, num_steps=3)
    parts = make_config("parts", batch_size=1, gradient_accumulation_steps=8, num_steps=3)

    train(whole)
    train(parts)

    torch.testing.assert_close(losses(parts.output_dir), losses(whole.output_dir), rtol=1e-5, atol=1e-5)


def test_the_second_run_computes_no_feature_and_has_the_losses_of_the_first(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_config("first", store_dir=tmp_path / "store")
    train(first)

    def compute(*args: object) -> None:
        raise AssertionError("a stored feature was computed again")

    monkeypatch.setattr(VaeTap, "_read", compute)
    second = make_config("second", store_dir=tmp_path / "store")
    train(second)

    assert losses(second.output_dir) == losses(first.output_dir)


def test_stored_and_live_features_train_alike(make_config: MakeConfig, tmp_path: Path) -> None:
    live, stored = make_config("live"), make_config("stored", store_dir=tmp_path / "store")

    train(live)
    train(stored)

    torch.testing.assert_close(losses(stored.output_dir), losses(live.output_dir), rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    forward = TheWorld.forward

    def poisoned(self: TheWorld, *args: object, **kwargs: object) -> object:
        output = forward(self, *args, **kwargs)
        output.loss = output.loss * float("nan")
        return output

    monkeypatch.setattr(TheWorld, "forward", poisoned)

    with pytest.raises(NonFiniteLossError, match="loss nan at step 1"):
        train(config)

    report = json.loads((config.output_dir / "nonfinite_loss.json").read_text())
    assert report["step"] == 1
    assert len(report["sample_ids"]) == 4
    assert all(name.startswith("drop-train-") for name in report["sample_ids"])


def test_a_checkpoint_whose_writing_fails_leaves_no_half_of_it(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()

    def fail(self: TheWorldTrainer, folder: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(TheWorldTrainer, "_save_rng_state", fail)

    with pytest.raises(OSError, match="No space left"):
        train(config)

    assert not list(config.output_dir.glob("checkpoint-*"))


def test_every_shipped_setting_reaches_the_trainer(make_config: MakeConfig) -> None:
    config = make_config(gradient_accumulation_steps=3, gradient_checkpointing=True, save_total_limit=5, seed=7)

    arguments = training_run._arguments(config)

    assert (arguments.max_steps, arguments.per_device_train_batch_size) == (4, 4)
    assert arguments.gradient_accumulation_steps == 3
    assert arguments.gradient_checkpointing is True
    assert (arguments.save_steps, arguments.save_total_limit, arguments.seed) == (2, 5, 7)
    assert arguments.learning_rate == config.optim.learning_rate
