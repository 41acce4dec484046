"""Every shipped settings file trains: two steps on small files in the formats of its data, with the tiny model."""

import math
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import open_spatial_row, write_llava, write_open_spatial, write_vsr
from fixtures_shards import write_shards
from theworld.config import TrainingConfig, loader
from theworld.training.metrics import read_metrics
from theworld.training.run import train

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = sorted(
    path
    for path in CONFIGS.rglob("*")
    if path.suffix in (".json", ".yaml") and path.parent.name not in ("foresight", "accelerate", "blink")
)
"""The stages of configs/foresight are run after each other by a test of their own; configs/blink evaluates."""

SHORT: dict[str, Any] = {
    "num-steps": 2,
    "batch-size": 2,
    "gradient-accumulation-steps": 1,
    "save-steps": 2,
    "logging-steps": 1,
    "optim.warmup-steps": 0,
    "log-to": "none",
    "num-workers": 0,
    "precision": "fp32",
    "model.dtype": "float32",
}
TINY = {
    "model.gemma-model-name": "tiny",
    "model.world.cosmos-model-name": "tiny",
    "model.world.image-size-px": 64,
    "model.world.num-inference-steps": 2,
    "model.world.dtype": "float32",
}


def files_of(config: TrainingConfig, folder: Path) -> dict[str, Any]:
    """Small files in the format of a run's data, and the flags that name them."""
    dataset = config.data.dataset
    if dataset == "foresight":
        return {"data.image-size-px": 64, "data.num-train": 4, "data.tasks": "drop"}
    if dataset == "datacomp":
        write_shards(folder, num_shards=1, num_records=4)
        return {"data.source": folder, "data.min-clip-score": 0.0, "data.min-side-px": 1}
    if dataset == "vsr":
        source, images = write_vsr(folder, [1, 0, 1, 0], split="train")
    elif dataset == "llava":
        source, images = write_llava(folder)
    else:
        assert dataset == "open-spatial"
        source, images = write_open_spatial(folder, [open_spatial_row(f"{number:016x}") for number in range(4)])
    return {"data.source": source, "data.image-dir": images}


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_shipped_settings_file_trains(path: Path, tmp_path: Path, checkpoint: Path) -> None:
    shipped = loader.load(TrainingConfig, path, [])
    small = {**SHORT, **files_of(shipped, tmp_path), "output-dir": tmp_path / "run"}
    if shipped.model.checkpoint is not None:
        small["model.checkpoint"] = checkpoint
    else:
        small |= TINY | ({} if shipped.model.world_grid is None else {"model.world-grid": 4})
    if shipped.store_dir is not None:
        small["store-dir"] = tmp_path / "store"
    flags = [word for name, value in small.items() for word in (f"--{name}", str(value))]

    train(loader.load(TrainingConfig, path, flags))

    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
