"""Bad input, whatever it is, gets one clear message and exit code 2 from the command line, never a traceback."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from theworld import tiny
from theworld.cli import main as cli
from theworld.world.store import FeatureStore

QUESTION = "Which bin?"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Path:
    """A working folder with a good picture and a good checkpoint in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save("good.png")
    shutil.copytree(checkpoint, "model")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message with which the command line refuses these arguments."""
    assert cli.main(list(arguments)) == cli.REFUSED
    said = capsys.readouterr()
    messages = [line for line in said.err.splitlines() if line.startswith(f"theworld {arguments[0]}: ")]
    assert len(messages) == 1, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    return messages[0]


def write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def save_picture(path: str, width: int, height: int) -> None:
    Image.new("RGB", (width, height)).save(path)


def cut_in_half(path: str) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


# What is wrong with the picture, and words of the message.
PICTURES: dict[str, tuple[Callable[[], object], str, str]] = {
    "missing": (lambda: None, "none.png", "none.png: no such file"),
    "a folder": (lambda: Path("folder.png").mkdir(), "folder.png", "folder.png: a folder, not a picture"),
    "of no bytes": (lambda: write("empty.png", b""), "empty.png", "not a readable picture"),
    "text": (lambda: write("text.png", b"hello"), "text.png", "not a readable picture"),
    "cut off": (lambda: cut_in_half("good.png"), "good.png", "not a readable picture"),
    "of one pixel": (lambda: save_picture("one.png", 1, 1), "one.png", "1 x 1 px"),
    "a line": (lambda: save_picture("line.png", 20000, 20), "line.png", "20000 x 20 px"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_that_is(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, name, words = PICTURES[case]
    prepare()

    assert words in refused(capsys, "ask", "tiny", name, QUESTION)


def test_a_future_that_the_tap_cannot_give(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "ask", "model", "good.png", QUESTION, "--num-world-steps", "4")

    assert "needs a tap that looks ahead" in message


def of_another_kind() -> None:
    Path("model/config.json").write_text('{"model_type": "bert"}')


def without_weights() -> None:
    Path("model/model.safetensors").unlink()


def without_a_tensor() -> None:
    tensors = load_file("model/model.safetensors")
    tensors.pop("world.markers")
    save_file(tensors, "model/model.safetensors")


def with_a_foreign_tensor() -> None:
    tensors = load_file("model/model.safetensors")
    save_file({**tensors, "world.extra": tensors["world.markers"].clone()}, "model/model.safetensors")


def of_another_base() -> None:
    tiny.build(Path("base"), seed=5)
    config = json.loads(Path("model/config.json").read_text())
    config["base_model_name"] = "base/gemma"
    Path("model/config.json").write_text(json.dumps(config))


def of_a_missing_base() -> None:
    config = json.loads(Path("model/config.json").read_text())
    config["base_model_name"] = str(Path("gone").absolute())
    Path("model/config.json").write_text(json.dumps(config))


MODELS: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: shutil.rmtree("model"), "model"),
    "an empty folder": (lambda: [path.unlink() for path in Path("model").iterdir()], "model"),
    "of another kind": (of_another_kind, "a model of type 'bert'"),
    "with a broken configuration": (lambda: cut_in_half("model/config.json"), "config.json"),
    "without weights": (without_weights, "no model.safetensors"),
    "with weights cut in half": (lambda: cut_in_half("model/model.safetensors"), "model.safetensors"),
    "without one of its tensors": (without_a_tensor, "missing tensors ['world.markers']"),
    "with a foreign tensor": (with_a_foreign_tensor, "foreign tensors ['world.extra']"),
    "trained on another base": (of_another_base, "holds other weights"),
    "trained on a base that is gone": (of_a_missing_base, "gone"),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("command", ["ask", "audit"])
def test_a_checkpoint_that_is(command: str, case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, words = MODELS[case]
    prepare()
    arguments = {"ask": ["ask", "./model", "good.png", QUESTION], "audit": ["audit", "model"]}[command]

    assert words in refused(capsys, *arguments)


@pytest.mark.parametrize("command", ["audit", "evaluate", "train"])
def test_a_checkpoint_that_is_not_there_is_not_looked_for_on_the_hub(
    command: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "audit": ["nowhere"],
        "evaluate": ["--checkpoint", "nowhere", "--output-dir", "out"],
        "train": ["--model.checkpoint", "nowhere", "--output-dir", "out"],
    }[command]

    assert "nowhere: no such folder, and no id on the hub; expected" in refused(capsys, command, *arguments)
    assert not Path("out").exists()


def test_a_download_that_cannot_be_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "google/gemma-3-4b-it" in refused(capsys, "ask", "google/gemma-3-4b-it", "good.png", QUESTION)


# --- training ------------------------------------------------------------------------------------------------


@pytest.fixture
def run_file(here: Path) -> Path:
    world = {"tap": "vae", "cosmos_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    settings = {
        "output_dir": "run",
        "num_steps": 1,
        "batch_size": 2,
        "precision": "fp32",
        "log_to": "none",
        "num_workers": 0,
        "store_dir": "store",
        "model": {"gemma_model_name": "tiny", "dtype": "float32", "world_grid": 4, "world": world},
        "data": {"questions": "future", "tasks": ["drop"], "image_size_px": 64, "num_train": 2, "num_validation": 2},
    }
    Path("run.json").write_text(json.dumps(settings))
    return Path("run.json")


def test_a_folder_that_holds_a_run(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(run_file)]) == cli.OK
    capsys.readouterr()

    assert "holds a run already" in refused(capsys, "train", str(run_file))


def test_a_checkpoint_to_resume_from_that_is_none(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "trainer_state.json is missing" in refused(capsys, "train", str(run_file), "--resume", "model")


def test_an_empty_data_set(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data.num-train: given 0" in refused(capsys, "train", str(run_file), "--data.num-train", "0")


def test_a_store_of_another_tap(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FeatureStore(Path("store"), "another-tap", create=True)

    message = refused(capsys, "train", str(run_file))

    assert "another-tap" in message


def test_a_damaged_store(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(run_file)]) == cli.OK
    capsys.readouterr()
    (shard,) = Path("store/shards").iterdir()
    cut_in_half(str(shard))

    assert shard.name in refused(capsys, "train", str(run_file), "--output-dir", "other")


def test_a_full_disk(run_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "store/shards")

    monkeypatch.setattr(FeatureStore, "put", full)

    assert "No space left on device" in refused(capsys, "train", str(run_file))


def test_a_transformer_block_that_is_not_there(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", str(run_file), "--model.world.tap", "dit", "--model.world.dit-block", "14")

    assert "dit_block=14" in message


def test_a_base_whose_weights_are_half_downloaded(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.build(Path("base"))
    cut_in_half("base/gemma/model.safetensors")

    message = refused(capsys, "train", str(run_file), "--model.gemma-model-name", "base/gemma")

    assert "base/gemma: files that are damaged, half-downloaded or not all there" in message


def test_a_world_whose_weights_are_half_downloaded(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.build(Path("base"))
    cut_in_half("base/cosmos/vae/diffusion_pytorch_model.safetensors")

    message = refused(capsys, "train", str(run_file), "--model.world.cosmos-model-name", "base/cosmos")

    assert "base/cosmos" in message


def test_a_grid_that_the_tap_cannot_be_brought_to(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "world_grid=3" in refused(capsys, "train", str(run_file), "--model.world-grid", "3")


def test_a_cosmos_folder_that_is_not_there(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", str(run_file), "--model.world.cosmos-model-name", "./none")

    assert "none" in message


def test_a_continuation_with_other_settings(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(run_file)]) == cli.OK
    capsys.readouterr()

    message = refused(capsys, "train", str(run_file), "--resume", "True", "--seed", "5")

    assert "seed: 0 there, 5 here" in message
