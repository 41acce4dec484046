"""The programs in examples/, and the targets of the Makefile that run them."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from theworld import TheWorld, settings
from theworld.config import TrainingConfig

ROOT = Path(__file__).parents[2]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_simple_training_learns_its_scenes_and_leaves_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    losses = example("simple_training").main(tmp_path / "model", num_epochs=2)

    assert len(losses) == 8
    assert sum(losses[-4:]) < sum(losses[:4])
    assert TheWorld.from_pretrained(tmp_path / "model", load_world=False).config.world_tap == "dit"
    assert "(true: " in capsys.readouterr().out


def test_the_smoke_test_passes_and_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("of a run before")

    example("smoke_test").main(tmp_path / "run")

    assert re.findall(r"^passed in \d+ s: losses", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on the PATH")
def test_the_targets_of_the_makefile_run_programs_and_settings_that_exist() -> None:
    targets = ["smoke-test", "train-simple", "train-hf", "FLAGS=--num-steps 50"]
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=True)
    programs = re.findall(r"examples/\w+\.py", done.stdout)
    (given,) = re.findall(r"theworld train (.*)", done.stdout)

    assert programs == ["examples/smoke_test.py", "examples/simple_training.py"]
    assert all((ROOT / program).is_file() for program in programs)
    path, *flags = given.split()
    assert settings.load(TrainingConfig, ROOT / path, flags).num_steps == 50
