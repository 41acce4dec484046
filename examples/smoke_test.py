"""Run two samples through a whole training run: load, train, checkpoint, resume, save, reload, answer."""

import shutil
import time
from pathlib import Path

from theworld import TheWorld, TrainingConfig, train
from theworld.config import loader
from theworld.datasets.foresight import ForesightDataset
from theworld.training.metrics import METRICS_NAME, read_metrics

CONFIG = Path(__file__).parents[1] / "configs" / "foresight-tiny.json"
FLAGS = {
    "num-steps": 2,
    "batch-size": 2,
    "save-steps": 1,
    "logging-steps": 1,
    "num-workers": 0,
    "log-to": "none",
    "optim.warmup-steps": 0,
    "model.world.num-inference-steps": 2,
    "data.num-train": 2,
    "data.tasks": "drop",
}


def main(folder: Path = Path("runs/smoke-test")) -> str:
    """Train for two steps, repeat the second from the first checkpoint, and ask the saved model.

    Returns:
        The answer of the reloaded model.

    Raises:
        RuntimeError: if the second step has another loss when repeated.
    """
    started = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    settings = {**FLAGS, "output-dir": folder, "store-dir": folder / "features"}
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    result = train(loader.load(TrainingConfig, CONFIG, flags))
    losses = [row["loss"] for row in read_metrics(folder / METRICS_NAME)]
    shutil.rmtree(folder / "checkpoint-2")
    train(loader.load(TrainingConfig, CONFIG, [*flags, "--resume", "True"]))
    again = [row["loss"] for row in read_metrics(folder / METRICS_NAME)]
    if again != losses:
        raise RuntimeError(f"losses {losses}, and after resuming at step 1 {again}: resuming is broken")
    model = TheWorld.from_pretrained(result["model"])
    sample = ForesightDataset("train", 1, 64, "future", tasks=("drop",))[0]
    answer = model.generate(sample.images[0], sample.prompt[-1].text)
    print(f"passed in {time.perf_counter() - started:.0f} s: losses {losses}, answer {answer!r}")
    return answer


if __name__ == "__main__":
    main()
