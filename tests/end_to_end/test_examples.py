"""The programs in examples/, and the targets of the Makefile that run them."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from fixtures_hub import HubStandIn, hub  # noqa: F401  # a fixture
from pages.notebook import page_of
from theworld import TheWorld
from theworld.config import TrainingConfig, loader
from theworld.datasets.foresight import FRAME_RATE_HZ, ForesightDataset
from theworld.report.figures import draw_sheet

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


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


def test_the_inference_leaves_a_sheet_and_an_animation_of_what_was_imagined(tmp_path: Path, embedded: Path) -> None:
    (scene,) = example("inference").main(tmp_path, num_scenes=1)

    assert scene.question.startswith("In which bin")
    assert (scene.without_world, scene.with_world, scene.answer) == ("blue", "red", "red")
    with Image.open(tmp_path / "imagined-0.gif") as animation:
        assert (animation.size, getattr(animation, "n_frames", 1)) == ((256, 256), 16)
    draw_sheet([scene], tmp_path / "readme.png", FRAME_RATE_HZ, side_px=192)  # as `make pages` does
    drawn, shown = (np.asarray(Image.open(path), float) for path in (tmp_path / "readme.png", IMAGES / "scene.png"))
    assert np.abs(drawn - shown).mean() < 1
    given = np.asarray(Image.open(IMAGES / "given.png"))
    assert (given == scene.given).all()
    assert 'says "blue", with it "red"; true is red](docs/images/scene.png)' in (ROOT / "README.md").read_text()


def test_a_model_of_the_hub_is_asked_about_a_picture_and_its_checkpoints_too(
    hub: HubStandIn,  # noqa: F811
    tmp_path: Path,
    embedded: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    TheWorld.from_pretrained("tiny-foresight", load_world=False).save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    hub.repositories["someone/foresight"] = files | {f"best/{name}": content for name, content in files.items()}
    hub.private["someone/foresight"] = True
    ForesightDataset("test", 1, 64, "future")[0].images[0].save(tmp_path / "scene.png")

    answers = example("load_from_hub").main("someone/foresight", tmp_path / "scene.png")

    assert answers == ["red", "green"]
    assert example("load_from_hub").main("someone/foresight", tmp_path / "scene.png", "best") == answers
    assert "tap dit, K = 4" in capsys.readouterr().out


def test_pictures_of_ones_own_are_trained_on_and_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arms = example("your_own_data").main(tmp_path, num_train=8, num_steps=2)

    assert {name: found["num_items"] for name, found in arms.items()} == {"world": 60, "gemma": 60, "majority": 60}
    assert (arms["world"]["world_read"], arms["gemma"]["world_read"]) == (60, 0)
    assert re.search(r"^majority: 55% right \[42%, 67%\]$", capsys.readouterr().out, re.MULTILINE)


def test_a_world_of_ones_own_is_fused_saved_and_loaded_again(tmp_path: Path) -> None:
    model = example("your_own_world").main(tmp_path)

    assert type(model.tap).__name__ == "VJepaTap"
    assert model.tap.clips_read == 1
    assert model.config.world_fingerprint == model.tap.fingerprint
    source = (ROOT / "examples" / "your_own_world.py").read_text()
    assert len(source[source.index("@register_tap") : source.index("def main")].splitlines()) < 60


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on the PATH")
def test_the_targets_of_the_makefile_run_programs_and_settings_that_exist() -> None:
    targets = ["smoke-test", "train-simple", "train-hf", "FLAGS=--num-steps 50"]
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=True)
    programs = re.findall(r"examples/\w+\.py", done.stdout)
    (given,) = re.findall(r"theworld train (.*)", done.stdout)

    assert programs == ["examples/smoke_test.py", "examples/simple_training.py"]
    assert all((ROOT / program).is_file() for program in programs)
    path, *flags = given.split()
    assert loader.load(TrainingConfig, ROOT / path, flags).num_steps == 50


@pytest.mark.slow
def test_the_notebook_goes_from_scenes_to_a_table_of_arms(tmp_path: Path) -> None:
    book = nbformat.read(ROOT / "examples" / "foresight.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "it is stored without outputs: each run makes its own"

    for cell in book.cells:  # fewer steps and questions
        cell.source = re.sub(r"\b(imitate_steps|align_steps|num_test|num_shuffled)=\d+", r"\1=10", cell.source)
        cell.source = cell.source.replace("num_aligned=320", "num_aligned=20")  # fills batches of each shape of clip
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(ROOT / "examples")}}).execute()

    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    said = "".join(output["text"] for output in outputs if output.output_type == "stream" and output.name == "stdout")
    shown = [kind for output in outputs for kind in output.get("data", {})]
    (table,) = [text for output in outputs if "| gemma |" in (text := output.get("data", {}).get("text/markdown", ""))]
    assert re.search(r"with the world: +red\ntrue: +red", said)
    assert (shown.count("image/png"), shown.count("image/gif")) == (1, 2)
    assert re.search(r"^\| rollout \| \d+\.\d \[\d+\.\d, \d+\.\d\] \|", table, re.MULTILINE)
    assert re.search(r"^rollout +\d+ of 10 right$", said, re.MULTILINE)


def test_the_page_of_the_notebook_shows_its_cells_and_their_outputs(tmp_path: Path) -> None:
    pictures = tmp_path / "images" / "notebook"
    pictures.mkdir(parents=True)
    book = nbformat.read(ROOT / "examples" / "foresight.ipynb", as_version=4)
    page = (ROOT / "docs" / "notebook.md").read_text()

    without_outputs = page_of(book, pictures)

    cells = [part for part in without_outputs.split("\n\n") if part]
    assert [part for part in cells if part not in page] == [], "the page is older than the notebook: run `make pages`"
    assert {path.suffix for path in (ROOT / "docs" / "images" / "notebook").iterdir()} == {".png", ".gif"}
    assert "| rollout |" in page
    output = nbformat.v4.new_output("display_data", data={"image/png": "aGVsbG8="})
    book.cells[1].outputs = [output, nbformat.v4.new_output("stream", name="stderr", text="a warning")]
    assert "![output](images/notebook/1.png)" in page_of(book, pictures)
    assert "a warning" not in page_of(book, pictures)
