"""The Makefile: each variable does something or is refused, and nothing deletes runs without a question."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
VARIABLES = ("MODEL", "CHECKPOINT", "CONFIG", "K", "FILES", "FLAGS")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, an environment that counts as ready, and a trained model."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    locks = ("constraints.txt", "tests/constraints-lmms-eval.txt")
    for name in (*locks, "pyproject.toml", ".venv/.ready", "src/__pycache__/a.pyc", "site/index.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "runs" / "a" / "model").mkdir(parents=True)
    (tmp_path / "demo").mkdir()
    return tmp_path


def make(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, input=stdin, capture_output=True, text=True)


def commands(folder: Path, *words: str) -> str:
    done = make(folder, "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["eval-blink", "eval-gemma"])
@pytest.mark.parametrize("name", ["MODEL", "CHECKPOINT"])
def test_the_named_model_is_evaluated_and_has_results_of_its_own(checkout: Path, target: str, name: str) -> None:
    shown = commands(checkout, target, f"{name}=username/theworld-datacomp")

    assert '--checkpoint "username/theworld-datacomp"' in shown
    assert "runs/blink/username--theworld-datacomp" in shown
    assert "tiny-foresight" not in shown


def test_without_a_model_the_embedded_one_is_evaluated(checkout: Path) -> None:
    assert '--checkpoint "tiny-foresight"' in commands(checkout, "eval-blink")


def test_two_names_of_the_model_that_differ_are_refused(checkout: Path) -> None:
    done = make(checkout, "--dry-run", "eval-blink", "MODEL=a", "CHECKPOINT=b")

    assert done.returncode != 0
    assert "MODEL=a and CHECKPOINT=b are two names of one thing" in done.stderr


@pytest.mark.parametrize("k", ["0,4", "0 4"])
def test_numbers_of_future_slots_are_asked_for(checkout: Path, k: str) -> None:
    assert "--num-world-steps 0 4" in commands(checkout, "eval-blink", f"K={k}")


def test_a_training_reads_the_named_file(checkout: Path) -> None:
    assert "theworld train my.json --num-steps 3" in commands(
        checkout, "train-hf", "CONFIG=my.json", "FLAGS=--num-steps 3"
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*VARIABLES, "NUM_STEPS"])
def test_a_variable_changes_the_commands_or_is_refused(checkout: Path, target: str, name: str) -> None:
    usual = commands(checkout, target)

    done = make(checkout, "--dry-run", target, f"{name}=x1y2")

    if done.returncode == 0:
        assert "x1y2" in done.stdout
        assert done.stdout != usual
    else:
        assert f"{name}=x1y2: `make {target}` reads no such variable" in done.stderr


def test_results_that_lie_in_runs_are_compared(checkout: Path) -> None:
    files = [
        "runs/blink/o--n/predictions/world.jsonl",
        "runs/blink/o--n-gemma/predictions/gemma.jsonl",
    ]
    for file in files:
        (checkout / file).parent.mkdir(parents=True)
        (checkout / file).touch()

    shown = commands(checkout, "compare-results")

    assert all(file in shown for file in files)
    assert "theworld compare a.jsonl b.jsonl" in commands(checkout, "compare-results", "FILES=a.jsonl b.jsonl")


def test_without_results_one_line_says_how_to_make_them(checkout: Path) -> None:
    done = make(checkout, "compare-results")

    assert done.returncode != 0
    assert done.stderr.startswith("no predictions in runs/blink/: run `make eval-blink`")


def test_cleaning_leaves_runs_and_results(checkout: Path) -> None:
    assert make(checkout, "clean").returncode == 0

    assert {path.name for path in checkout.iterdir()} == {
        "Makefile", "pyproject.toml", "constraints.txt", "runs", "demo", "src", "tests",
    }  # fmt: skip
    assert (checkout / "runs" / "a" / "model").is_dir()
    assert list((checkout / "src").iterdir()) == []


@pytest.mark.parametrize(("answer", "stay"), [("y\n", False), ("n\n", True), ("\n", True), ("", True)])
def test_runs_are_removed_only_after_a_yes(checkout: Path, answer: str, stay: bool) -> None:
    done = make(checkout, "clean-runs", stdin=answer)

    assert "Remove runs/ and demo/" in done.stdout
    assert (checkout / "runs").exists() is stay
    assert (checkout / "demo").exists() is stay
