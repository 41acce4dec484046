"""Two processes that fill one feature store over one process of one thread: clips per second on the tiny stack."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Ratio
from theworld.config import DataSettings, ModelSettings, loader
from theworld.config.commands import FillSettings
from theworld.config.world import WorldSettings

NUM_ITEMS, PAIRS = 384, 3


def clips_per_second(folder: Path, drawn: Path, num_processes: int) -> float:
    """Fill a new store with pictures that are drawn already; loading the model does not count."""
    config = FillSettings(
        output_dir=folder / "run",
        store_dir=folder / "features",
        model=ModelSettings(
            gemma_model_name="tiny",
            dtype="float32",
            world_grid=4,
            world=WorldSettings(cosmos_model_name="tiny", image_size_px=224),
        ),
        data=DataSettings(tasks=("drop",), questions="future", image_size_px=224, num_train=NUM_ITEMS, drawn_dir=drawn),
    )
    file = folder / "fill.json"
    loader.save(config, file)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    command = [sys.executable, *launcher, "-m", "theworld", "cache", "fill", "--json", str(file)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    filled = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    counts = json.loads(filled.stdout.splitlines()[-1])
    if (counts["samples"], counts["computed"]) != (NUM_ITEMS, NUM_ITEMS):
        raise RuntimeError(f"{counts}: expected {NUM_ITEMS} clips, each computed once")
    speed: float = counts["clips_per_second"]
    return speed


def figures() -> Iterator[Figure]:
    """Return the median ratio over pairs of runs; it needs two cores that nothing else uses."""
    ratios = []
    with tempfile.TemporaryDirectory() as drawn:
        with tempfile.TemporaryDirectory() as folder:  # draws the pictures
            clips_per_second(Path(folder), Path(drawn), 1)
        for _ in range(PAIRS):
            speeds = []
            for num_processes in (1, 2):
                with tempfile.TemporaryDirectory() as folder:
                    speeds.append(clips_per_second(Path(folder), Path(drawn), num_processes))
            ratios.append(speeds[1] / speeds[0])
    yield Figure("two_filling_processes_over_one", Ratio(ratios), 1.8, at_least=True)


if __name__ == "__main__":
    for figure in figures():
        print(figure.line())
