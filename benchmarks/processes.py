"""Two DDP processes of one thread over one process of one thread: samples per second on the tiny stack."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Ratio
from theworld.config import DataSettings, ModelSettings, TrainingConfig, loader
from theworld.config.world import WorldSettings
from theworld.training.metrics import read_metrics

STEPS, PAIRS = 30, 3


def samples_per_second(folder: Path, num_processes: int) -> float:
    """Measure the second half of a run, after all start-up work."""
    config = TrainingConfig(
        output_dir=folder / "run",
        num_steps=STEPS,
        batch_size=16,
        precision="fp32",
        logging_steps=STEPS // 2,
        save_steps=STEPS,
        log_to="none",
        num_workers=0,
        store_dir=folder / "features",
        peak_tflops=1.0,
        model=ModelSettings(
            gemma_model_name="tiny",
            dtype="float32",
            world_grid=4,
            freeze_gemma_language=False,
            attn_implementation="eager",
            world=WorldSettings(cosmos_model_name="tiny", image_size_px=64),
        ),
        data=DataSettings(
            tasks=("drop",), questions="future", image_size_px=64, num_train=512, drawn_dir=folder / "drawn"
        ),
    )
    file = folder / "run.json"
    loader.save(config, file)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    command = [sys.executable, *launcher, "-m", "theworld", "train", str(file)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return read_metrics(config.output_dir / "metrics.jsonl")[-1]["samples_per_second"]


def figures() -> Iterator[Figure]:
    """Return the median ratio over pairs of runs."""
    ratios = []
    for _ in range(PAIRS):
        speeds = []
        for num_processes in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                speeds.append(samples_per_second(Path(folder), num_processes))
        ratios.append(speeds[1] / speeds[0])
    yield Figure("two_processes_over_one", Ratio(ratios), 1.6, at_least=True)


if __name__ == "__main__":
    for figure in figures():
        print(figure.line())
