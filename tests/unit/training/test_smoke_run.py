"""The smoke test of a training run: its own sizes, two samples, one step, and the same answer after a reload."""

from pathlib import Path
from typing import Any

import pytest

from fixtures_hub import HubStandIn, hub  # noqa: F401
from theworld.config import loader
from theworld.config.commands import SmokeSettings
from theworld.config.strict_yaml import SettingsError
from theworld.training import smoke as smoke_test
from theworld.training.smoke import small, smoke

CONFIGS = Path(__file__).parents[3] / "configs"
TRAINING = ("foresight-4b.yaml", "foresight/1-projector.yaml", "foresight/3-language.yaml", "foresight/3-lora.yaml")
TINY = ["--model.gemma-model-name", "tiny", "--data.image-size-px", "64", "--model.world.num-inference-steps", "2"]


def settings(folder: Path, *flags: str) -> SmokeSettings:
    return loader.load(
        SmokeSettings, None, ["--output-dir", str(folder / "run"), "--data.tasks", "drop", *TINY, *flags]
    )


@pytest.mark.parametrize("name", TRAINING)
def test_a_shipped_run_keeps_its_model_and_formats(name: str) -> None:
    given = loader.load(SmokeSettings, CONFIGS / name, ["--optim.warmup-steps", "0"])
    run = small(given)
    assert (run.model, run.precision, run.compile, run.packing) == (
        given.model,
        given.precision,
        given.compile,
        given.packing,
    )
    assert (run.num_steps, run.batch_size, run.gradient_accumulation_steps, run.data.num_train) == (1, 1, 2, 2)
    assert run.output_dir.name == f"{given.output_dir.name}-smoke"
    assert not run.hub.is_pushed


@pytest.mark.parametrize(
    "flags", [(), ("--store-dir", "features", "--model.num-world-steps", "1")], ids=["plain", "store"]
)
def test_the_reloaded_model_answers_as_the_trained_one(tmp_path: Path, flags: tuple[str, ...]) -> None:
    result = smoke(settings(tmp_path, *flags))
    assert result["answer"] is not None
    assert result["loss"] > 0
    assert not (tmp_path / "run-smoke").exists()
    assert not Path("features").exists()


def test_a_pushed_model_is_loaded_back(hub: HubStandIn, tmp_path: Path) -> None:  # noqa: F811
    result = smoke(settings(tmp_path, "--push", "--hub.repo-id", "some-one/smoke"))
    assert result["pushed"] == "some-one/smoke"
    assert "model.safetensors" in hub.repositories["some-one/smoke"]
    with pytest.raises(SettingsError, match="push=True without a repository"):
        settings(tmp_path, "--push")


def test_another_answer_after_reloading_fails_and_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["left", "right"])
    monkeypatch.setattr(smoke_test, "_answer", lambda *_: next(answers))
    with pytest.raises(ValueError, match="the trained model answered 'left', reloaded it answers 'right'"):
        smoke(settings(tmp_path))
    with pytest.raises(FileExistsError, match="run-smoke: left by an earlier smoke test"):
        smoke(settings(tmp_path))


def test_the_command_prints_the_answer(tmp_path: Path, capsys: Any) -> None:
    from theworld.cli.main import OK, main

    words = ["smoke", "--output-dir", str(tmp_path / "run"), "--data.tasks", "drop", *TINY]
    assert main(words) == OK
    assert "answer" in capsys.readouterr().out
