"""A checkpoint with a missing, damaged or forged file is refused by the name of that file, before anything loads."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from theworld.config import TrainingConfig
from theworld.training.manifest import PENDING_NAME, check_whole
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]
FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "pending_metrics.json")


def flipped(path: Path) -> bytes:
    """Return a file of torch.save with one bit of its largest record changed."""
    with zipfile.ZipFile(path) as archive:
        record = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    content = bytearray(path.read_bytes())
    content[content.index(record) + len(record) // 2] ^= 1
    return bytes(content)


@pytest.fixture
def whole(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    config = make_config(num_steps=2)
    train(config)
    return config


def test_a_whole_checkpoint_is_accepted_and_every_damaged_file_is_named(whole: TrainingConfig, tmp_path: Path):
    checkpoint = whole.output_dir / "checkpoint-2"
    check_whole(checkpoint, PENDING_NAME)
    for name in FILES:
        content = (checkpoint / name).read_bytes()
        changes = {"missing": None, "empty": b"", "cut": content[: len(content) // 2], "pickled": b"\x80\x04N."}
        if name.endswith((".pt", ".pth")):
            changes["flipped"] = flipped(checkpoint / name)
        for change, bad in changes.items():
            if name.startswith("rng_state") and change == "missing":
                continue  # another number of processes: refused as such
            damaged = tmp_path / f"{name}-{change}" / "checkpoint-2"
            shutil.copytree(checkpoint, damaged)
            (damaged / name).unlink() if bad is None else (damaged / name).write_bytes(bad)
            with pytest.raises(ValueError, match=name.partition(".")[0]):
                check_whole(damaged, PENDING_NAME)


@pytest.mark.parametrize("step", [-1, 0, 3, 10**9, "2", None, True, 2.0])
def test_a_forged_step_is_refused(whole: TrainingConfig, step: object):
    path = whole.output_dir / "checkpoint-2" / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "global_step": step}))

    with pytest.raises(ValueError, match=rf"trainer_state\.json: global_step={step!r} in checkpoint-2"):
        train(dataclasses.replace(whole, resume=True))


def test_a_run_is_not_continued_without_its_optimizer(whole: TrainingConfig):
    (whole.output_dir / "checkpoint-2" / "optimizer.pt").unlink()

    with pytest.raises(ValueError, match="checkpoint-2: optimizer is missing; continue from another checkpoint"):
        train(dataclasses.replace(whole, resume=True))


def test_a_large_file_is_checked_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: TrainingConfig):
    monkeypatch.setattr("theworld.training.manifest._MOST_BYTES_READ", 10)
    path = whole.output_dir / "checkpoint-2" / "optimizer.pt"
    torch.save({"state": torch.zeros(1000)}, path)
    check_whole(path.parent)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"optimizer\.pt is damaged"):
        check_whole(path.parent)
