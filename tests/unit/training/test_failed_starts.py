"""A start that fails before its first step costs nothing, and leaves its folder free for other settings."""

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theworld.config import TrainingConfig
from theworld.locks import in_use
from theworld.training import feature_cache
from theworld.training.manifest import MANIFEST_NAME, PENDING_NAME, TRAINER_STATE, check_manifest, check_whole
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]


def test_shapes_that_fill_no_batch_are_refused_before_features_and_the_folder_stays_free(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fill(*_: object) -> None:
        pytest.fail("the store is filled")

    config = make_config(store_dir=tmp_path / "store", num_steps=1)
    data = dataclasses.replace(config.data, tasks=("drop", "hide"))
    with monkeypatch.context() as patched:
        patched.setattr(feature_cache, "fill_store", fill)
        with pytest.raises(ValueError, match="none fills a batch of 8"):
            train(dataclasses.replace(config, data=data, batch_size=8))
    for resume in (False, True):
        with pytest.raises(ValueError, match="none fills a batch of 7"):
            train(dataclasses.replace(config, data=data, batch_size=7, resume=resume))
    train(config)

    with pytest.raises(ValueError, match="holds a run already"):
        train(config)


def test_a_folder_of_other_settings_is_not_written_into(make_config: MakeConfig):
    config = make_config()
    config.output_dir.mkdir()
    (config.output_dir / "config.json").write_text('{"model_type": "theworld"}')

    with pytest.raises(ValueError, match=r"config\.json holds no settings of a training run"):
        train(config)


def test_a_run_in_a_folder_in_use_is_refused_before_anything_loads(make_config: MakeConfig):
    config = make_config()
    with in_use(config.output_dir), pytest.raises(ValueError, match="run is in use: process"):
        train(config)


@pytest.mark.parametrize("key", [None, "bad"])
def test_wandb_without_a_valid_key_is_refused_before_anything_is_written(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str | None
):
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    config = make_config(log_to="wandb")

    with pytest.raises(ValueError, match=r"^log_to='wandb': .*; set WANDB_API_KEY, log in"):
        train(config)
    assert not config.output_dir.exists()


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_named_with_its_extra(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, logger: str
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == logger else find(name, *rest))
    config = make_config(log_to=logger)

    with pytest.raises(
        ValueError, match=rf"^log_to='{logger}': {logger} is not installed; pip install 'theworld\[{logger}\]'"
    ):
        train(config)
    assert not config.output_dir.exists()


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["", "two", "1.5"])
def test_a_launcher_variable_that_is_no_number_is_named(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"^{name}='{value}' in the environment: expected a whole number"):
        train(make_config())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's JSON files, with the smallest archives beside them."""
    import torch
    from transformers import TrainerState

    folder = tmp_path_factory.mktemp("run") / "checkpoint-2"
    folder.mkdir()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({}, folder / name)
    TrainerState(global_step=2, max_steps=4, epoch=0.5).save_to_json(str(folder / TRAINER_STATE))
    pending = {"metrics": {"tokens": 3}, "bad_records": {"num_drawn": 1, "num_bad": 0, "counts": {}}, "losses": [1.5]}
    (folder / PENDING_NAME).write_text(json.dumps(pending))
    check_whole(folder, PENDING_NAME)
    return folder


JUNK = st.sampled_from([-1, 10**400, "text", True, [], {}, [None], {"a": "b"}, 0.5, -0.5]) | st.text(max_size=3)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), JUNK)
def test_a_forged_field_passes_as_its_type_or_is_refused_by_the_name_of_its_file(
    checkpoint: Path, data: Any, value: Any
):
    path = checkpoint / data.draw(st.sampled_from([TRAINER_STATE, PENDING_NAME]))
    before = path.read_text()
    content = json.loads(before)
    name = data.draw(st.sampled_from([*content, "unknown"]))
    path.write_text(json.dumps({**content, name: value}))
    refusal = None
    try:
        check_whole(checkpoint, PENDING_NAME)
    except ValueError as error:
        refusal = str(error)
    finally:
        path.write_text(before)
    if refusal is None:
        assert value in ([], {}) or name not in ("global_step", "unknown", "metrics", "losses", "bad_records")
    else:
        assert path.name in refusal
        assert "\n" not in refusal


def test_a_bit_in_any_file_of_a_checkpoint_is_noticed(make_config: MakeConfig):
    config = make_config(num_steps=2)
    train(config)
    folder = config.output_dir / "checkpoint-2"
    check_manifest(folder)
    names = {path.name for path in folder.iterdir()} - {MANIFEST_NAME}
    assert {"model.safetensors", "config.json", TRAINER_STATE, "optimizer.pt"} <= names
    for name in names:
        content = (folder / name).read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(ValueError, match=rf"{name} is damaged: its bytes are not those"):
            check_manifest(folder)
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        train(dataclasses.replace(config, resume=True))
