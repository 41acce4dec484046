"""A training run writes a folder that says everything, keeps secrets, and can be continued."""

import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from theworld.config import ModelSettings, TrainingConfig, WorldSettings, loader
from theworld.datasets.collator import Collator
from theworld.datasets.sample import question
from theworld.modeling import TheWorld
from theworld.modeling.processor import TheWorldProcessor
from theworld.training import run as training_run
from theworld.training.callbacks import NonFiniteLossError
from theworld.training.feature_cache import fill_store
from theworld.training.metrics import METRICS_NAME, read_metrics
from theworld.training.run import train
from theworld.training.trainer import TheWorldTrainer
from theworld.world.cached import open_stored
from theworld.world.factory import open_tap
from theworld.world.store_identity import stored_dtype
from theworld.world.vae import VaeTap

MakeConfig = Callable[..., TrainingConfig]


TOKEN = "hf_thissecretmustnotshow"


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def trained(config_in: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingConfig, dict[str, Any]]:
    """A finished run, begun with a token in the environment, and its result: not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        config = config_in(tmp_path_factory.mktemp("trained"))
        return config, train(config)


@pytest.fixture
def finished(trained: tuple[TrainingConfig, dict[str, Any]], make_config: MakeConfig) -> TrainingConfig:
    """A copy of that run in a folder of its own."""
    config = make_config("finished")
    shutil.copytree(trained[0].output_dir, config.output_dir)
    loader.save(config, config.output_dir / "config.json")
    return config


def test_a_run_writes_its_settings_environment_metrics_checkpoints_and_model(
    trained: tuple[TrainingConfig, dict[str, Any]],
) -> None:
    config, result = trained

    assert loader.load(TrainingConfig, config.output_dir / "config.json", []) == config
    environment = json.loads((config.output_dir / "environment.json").read_text())
    assert environment["libraries"]["torch"] == version("torch")
    saved = json.loads((config.output_dir / "model" / "config.json").read_text())
    gemma, world = environment["models"]["gemma"], environment["models"]["world"]
    assert (gemma["name"], gemma["fingerprint"]) == ("tiny", saved["base_fingerprint"])
    assert (world["name"], world["fingerprint"]) == ("tiny", saved["world_fingerprint"])
    assert [row["step"] for row in read_metrics(config.output_dir / "metrics.jsonl")] == [1, 2, 3, 4]
    assert {path.name for path in config.output_dir.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    assert result["step"] == 4
    saved = TheWorld.from_pretrained(result["model"]).config
    assert saved.trained_parts == ["world"]
    assert saved.trained_on == ["Foresight (simulated scenes)"]


def test_no_file_of_a_run_holds_a_token_or_pickled_arguments(trained: tuple[TrainingConfig, dict[str, Any]]) -> None:
    files = [path for path in trained[0].output_dir.rglob("*") if path.is_file()]

    assert len(files) > 10
    assert not [path for path in files if path.name == "training_args.bin"]
    assert not [path for path in files if TOKEN.removeprefix("hf_").encode() in path.read_bytes()]


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


@pytest.mark.parametrize(("save_steps", "logging_steps"), [(3, 4), (2, 5), (4, 3)])
def test_a_run_continued_between_two_rows_has_the_rows_of_an_unbroken_one(
    make_config: MakeConfig, save_steps: int, logging_steps: int
) -> None:
    pace = {"num_steps": 2 * max(save_steps, logging_steps), "save_steps": save_steps, "logging_steps": logging_steps}
    config = make_config("unbroken", save_total_limit=None, **pace)
    train(config)
    broken = make_config("broken", resume=True, save_total_limit=None, **pace)
    shutil.copytree(config.output_dir, broken.output_dir)
    for checkpoint in broken.output_dir.glob("checkpoint-*"):
        if checkpoint.name != f"checkpoint-{save_steps}":
            shutil.rmtree(checkpoint)

    train(broken)

    rows, expected = (
        [(row["step"], row["loss"]) for row in read_metrics(run / "metrics.jsonl")]
        for run in (broken.output_dir, config.output_dir)
    )
    assert rows == expected
    assert len(rows) >= 2


def test_a_run_is_not_continued_with_the_settings_of_another(finished: TrainingConfig) -> None:
    optim = dataclasses.replace(finished.optim, learning_rate=1e-2)
    other = dataclasses.replace(finished, resume=True, num_steps=6, seed=3, optim=optim)

    with pytest.raises(ValueError, match="belongs to another run") as caught:
        train(other)

    said = str(caught.value)
    for difference in (
        "num_steps: 4 there, 6 here",
        "seed: 0 there, 3 here",
        "optim.learning_rate: 0.001 there, 0.01 here",
    ):
        assert difference in said
    assert loader.load(TrainingConfig, finished.output_dir / "config.json", []) == finished


def test_a_checkpoint_of_a_run_with_other_settings_is_not_continued_elsewhere(
    finished: TrainingConfig, make_config: MakeConfig
) -> None:
    with pytest.raises(ValueError, match="batch_size: 4 there, 2 here"):
        train(make_config("elsewhere", batch_size=2, resume=finished.output_dir / "checkpoint-2"))


def test_a_checkpoint_without_the_settings_of_its_run_is_refused(finished: TrainingConfig) -> None:
    (finished.output_dir / "config.json").unlink()

    with pytest.raises(ValueError, match=r"config\.json is missing"):
        train(dataclasses.replace(finished, resume=True))


def test_what_does_not_change_the_result_may_differ_in_a_continuation(
    finished: TrainingConfig, make_config: MakeConfig, tmp_path: Path
) -> None:
    train(
        make_config(
            "elsewhere",
            resume=finished.output_dir / "checkpoint-2",
            save_steps=4,
            save_total_limit=1,
            logging_steps=2,
            store_dir=tmp_path / "store",
            log_to="tensorboard",
        )
    )

    assert [row["step"] for row in read_metrics(tmp_path / "elsewhere" / "metrics.jsonl")] == [4]


def test_a_finished_run_that_is_continued_trains_no_further_step_and_writes_its_model_again(
    finished: TrainingConfig,
) -> None:
    model, rows = finished.output_dir / "model" / "model.safetensors", read_metrics(finished.output_dir / METRICS_NAME)
    before = model.read_bytes()
    model.unlink()

    result = train(dataclasses.replace(finished, resume=True))

    assert model.read_bytes() == before
    assert read_metrics(finished.output_dir / METRICS_NAME) == rows
    assert result["step"] == 4
    assert not (finished.output_dir / "checkpoint-5").exists()


def test_a_folder_that_holds_a_run_is_neither_overwritten_nor_silently_continued(finished: TrainingConfig) -> None:
    with pytest.raises(ValueError, match="holds a run already: continue it with resume=true"):
        train(finished)


def test_a_run_is_not_continued_by_another_number_of_processes(finished: TrainingConfig) -> None:
    checkpoint = finished.output_dir / "checkpoint-4"
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    (checkpoint / "rng_state_1.pth").write_bytes(b"")

    with pytest.raises(ValueError, match=r"checkpoint-4 was made by 2 processes, and here there is 1, .* with 2, or"):
        train(dataclasses.replace(finished, resume=True))


def test_the_last_steps_have_a_row_whatever_the_pace_of_logging(make_config: MakeConfig) -> None:
    config = make_config(num_steps=3, logging_steps=2)

    assert train(config)["step"] == 3
    assert [row["step"] for row in read_metrics(config.output_dir / "metrics.jsonl")] == [2, 3]


def test_resuming_from_a_folder_that_is_no_checkpoint_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a checkpoint of a run \(trainer_state.json is missing\)"):
        train(make_config(resume=tmp_path))


def test_a_mistyped_folder_is_no_name_of_a_repository(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(ValueError, match=r"resume=runs/nope: not a checkpoint of a run"):
        train(make_config(resume=Path("runs/nope")))


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


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 2e-2), ("int8", 2e-2)])
def test_stored_and_live_features_train_alike(
    trained: tuple[TrainingConfig, dict[str, Any]],
    make_config: MakeConfig,
    tmp_path: Path,
    dtype: str,
    tolerance: float,
) -> None:
    live, _ = trained
    stored = make_config("stored", store_dir=tmp_path / "store", store_dtype=dtype)

    train(stored)

    assert stored_dtype(tmp_path / "store") == dtype
    torch.testing.assert_close(losses(stored.output_dir), losses(live.output_dir), rtol=tolerance, atol=tolerance)


def test_a_run_does_not_go_on_with_features_that_are_rounded_in_another_way(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(num_steps=2, store_dir=tmp_path / "store")
    train(config)

    for changes, other in (({"store_dir": None}, "float32"), ({"store_dtype": "int8"}, "int8")):
        with pytest.raises(ValueError, match=f"the run read world features in bfloat16, and would go on in {other}"):
            train(dataclasses.replace(config, resume=True, **changes))


def test_a_new_store_is_in_bfloat16(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config("new", num_steps=1, store_dir=tmp_path / "fresh"))

    assert stored_dtype(tmp_path / "fresh") == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_run_takes_an_existing_store_as_it_is(make_config: MakeConfig, tmp_path: Path, dtype: str) -> None:
    train(make_config("first", num_steps=1, store_dir=tmp_path / "store", store_dtype=dtype))
    second = make_config("second", num_steps=1, store_dir=tmp_path / "store")
    train(second)
    assert json.loads((second.output_dir / "config.json").read_text())["store_dtype"] == dtype


def test_a_run_of_a_former_version_goes_on_with_the_format_of_its_store(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(num_steps=2, store_dir=tmp_path / "store", store_dtype="float32")
    train(config)
    for path, name in (
        (config.output_dir / "config.json", "store_dtype"),
        (tmp_path / "store" / "store.json", "dtype"),
    ):
        content = json.loads(path.read_text())
        del content[name]
        path.write_text(json.dumps(content))

    train(dataclasses.replace(config, resume=True, store_dtype=None))

    with pytest.raises(ValueError, match="in float32, and would go on in bfloat16"):
        train(dataclasses.replace(config, resume=True, store_dtype="bfloat16"))


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

    arguments = training_run._arguments(config, num_steps=4)

    assert (arguments.max_steps, arguments.per_device_train_batch_size) == (4, 4)
    assert arguments.gradient_accumulation_steps == 3
    assert arguments.gradient_checkpointing is True
    assert (arguments.save_steps, arguments.save_total_limit, arguments.seed) == (2, 5, 7)
    assert arguments.learning_rate == config.optim.learning_rate


def test_a_checkpoint_that_was_trained_with_the_true_future_is_trained_on_with_it(make_config: MakeConfig) -> None:
    world = WorldSettings(tap="true-future", cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
    model = ModelSettings(gemma_model_name="tiny", dtype="float32", world_grid=4, num_world_steps=1, world=world)
    first = train(make_config("first", num_steps=1, settings_of_model=model))

    onward = ModelSettings(gemma_model_name="tiny", dtype="float32", checkpoint=Path(first["model"]))
    second = train(make_config("second", num_steps=1, settings_of_model=onward))

    assert TheWorld.from_pretrained(second["model"]).config.world_tap == "true-future"


class OpenedError(Exception):
    """Ends a run where its world is opened."""


@pytest.mark.parametrize("with_store", [False, True])
def test_the_world_is_opened_on_the_device_of_the_process(
    with_store: bool, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Any] = []

    def opened(world: WorldSettings, device: Any) -> None:
        places.append(device)
        raise OpenedError

    class OnMeta(training_run.PartialState):
        @property
        def device(self) -> torch.device:
            return torch.device("meta", 1)

    monkeypatch.setattr(training_run, "PartialState", OnMeta)
    monkeypatch.setattr("theworld.world.factory.open_tap", opened)
    monkeypatch.setattr("theworld.training.feature_cache.open_tap", opened)

    with pytest.raises(OpenedError):
        train(make_config(store_dir=tmp_path / "store" if with_store else None))

    assert places == [torch.device("meta", 1)]


def test_curves_in_wandb_need_wandb(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = make_config(log_to="wandb")

    with pytest.raises(ValueError, match=r"theworld\[wandb\]"):
        train(config)

    assert not config.output_dir.exists()


def fail_in_torch(*args: object) -> None:
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # what torch.save says


def fail_in_safetensors(*args: object, **kwargs: object) -> None:
    save_file({"weight": torch.zeros(1)}, "/no/such/folder/model.safetensors")


@pytest.mark.parametrize(
    ("method", "fail"),
    [("_save_rng_state", fail_in_torch), ("_save_optimizer_and_scheduler", fail_in_safetensors)],
)
def test_a_disk_that_refuses_a_checkpoint_is_named_as_such(
    method: str, fail: Callable[..., None], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    monkeypatch.setattr(TheWorldTrainer, method, fail)

    with pytest.raises(OSError, match="no space left or folder not writable") as caught:
        train(config)

    assert caught.value.filename == str(config.output_dir / "checkpoint-2")
    assert not list(config.output_dir.glob("checkpoint-*"))


def test_a_disk_that_refuses_the_trained_model_is_named_as_such(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(num_steps=1)
    save = TheWorld.save_pretrained

    def save_checkpoints_alone(self: TheWorld, folder: str, **options: Any) -> None:
        (fail_in_safetensors if Path(folder).name == "model" else save)(self, folder, **options)

    monkeypatch.setattr(TheWorld, "save_pretrained", save_checkpoints_alone)

    with pytest.raises(OSError, match="no space left or folder not writable") as caught:
        train(config)

    assert caught.value.filename == str(config.output_dir / "model")


def test_another_fault_while_saving_keeps_its_name(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a tensor of another shape")

    monkeypatch.setattr(TheWorldTrainer, "_save_rng_state", fail)

    with pytest.raises(RuntimeError, match="a tensor of another shape"):
        train(make_config())


def filled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, process_index: int, num_processes: int
) -> tuple[list[tuple[int, ...]], list[str]]:
    """Shapes of the clips that a feature store is filled with, and how often this process waited for the others."""
    shapes: list[tuple[int, ...]] = []
    waited: list[str] = []
    process = SimpleNamespace(
        process_index=process_index, num_processes=num_processes, wait_for_everyone=lambda: waited.append("waited")
    )
    monkeypatch.setattr("theworld.training.feature_cache.PartialState", lambda: process)

    def encode(self: Collator, samples: Sequence[Any]) -> None:
        raise AssertionError("text and pictures were prepared for Gemma")

    monkeypatch.setattr(Collator, "__call__", encode)
    stored = open_stored(open_tap(WorldSettings(cosmos_model_name="tiny", image_size_px=64)), folder)
    monkeypatch.setattr(stored, "read", lambda frames, num_world_steps: shapes.append(tuple(frames.shape)))
    picture = np.zeros((64, 64, 3), np.uint8)
    samples = [question(str(index), [picture], "What falls?", "the ball") for index in range(3)]
    fill_store(stored, TheWorldProcessor.from_pretrained("tiny"), samples, batch_size=2)
    return shapes, waited


def test_a_store_is_filled_from_world_frames_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, _ = filled(tmp_path, monkeypatch, process_index=0, num_processes=1)

    assert shapes == [(2, 1, 3, 64, 64), (1, 1, 3, 64, 64)]


@pytest.mark.parametrize(("process_index", "num_clips"), [(0, 2), (1, 1)])
def test_each_process_fills_its_share_of_the_store_and_waits_for_the_others(
    process_index: int, num_clips: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, waited = filled(tmp_path, monkeypatch, process_index=process_index, num_processes=2)

    assert shapes == [(num_clips, 1, 3, 64, 64)]
    assert waited == ["waited"]
