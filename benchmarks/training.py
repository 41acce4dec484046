"""Training on the tiny stack: stored features over live ones, by tap and in an arm; overhead of the loop."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from benchmarks.figures import Figure, Ratio, paired_ratio
from theworld.config import TapName, loader
from theworld.config.arm_settings import ArmsSettings, WorldArm
from theworld.datasets.collator import Collator
from theworld.datasets.foresight import ForesightDataset
from theworld.modeling import TheWorld
from theworld.modeling.factory import open_model
from theworld.training.bad_records import BadRecords
from theworld.training.dataloading import MapFeed
from theworld.training.metrics import Metrics
from theworld.training.trainer import TheWorldTrainer
from theworld.world.cached import StoredTap
from theworld.world.store import FeatureStore

BATCH = 8
FUTURES: dict[TapName, int] = {"vae": 0, "dit": 2, "rollout": 2}
ARMS = Path(__file__).parents[1] / "configs/foresight/arms.yaml"


def steps_of(model: TheWorld, batch_size: int, folder: Path) -> dict[str, Callable[[], None]]:
    """Return two training steps from pictures to gradients: `live`, which runs the world model, and `stored`."""
    dataset = ForesightDataset("train", batch_size, tasks=("drop",))
    samples = [dataset[index] for index in range(batch_size)]
    tap: Any = model.tap
    stored = StoredTap(tap, FeatureStore(folder, tap.fingerprint, create=True))

    def step_of(collator: Collator) -> Callable[[], None]:
        def step() -> None:
            model(**collator(samples)).loss.backward()
            model.zero_grad()

        return step

    return {
        "live": step_of(Collator(model.processor, supervise=True)),
        "stored": step_of(Collator(model.processor, supervise=True, read_features=stored.read)),
    }


def stored_over_live(tap: TapName, num_world_steps: int, folder: Path) -> Ratio:
    """Return the time of a training step with stored features over one that runs the world model."""
    model = TheWorld.from_pretrained("tiny", world_tap=tap, world_grid=4, num_world_steps=num_world_steps)
    steps = steps_of(model, BATCH, folder)
    return paired_ratio(steps["stored"], steps["live"], num_pairs=7)


def live_over_stored_as_arms(folder: Path) -> Ratio:
    """Return live over stored time for the arm `dit` of the shipped comparison: its model, batch and future slots."""
    settings = loader.load(ArmsSettings, ARMS)
    (reads,) = (arm.reads for arm in settings.arms if isinstance(arm, WorldArm) and arm.name == "dit")
    model = open_model(replace(settings.model, world=reads.within(settings.model.world))).train()
    steps = steps_of(model, settings.batch_size, folder)
    return paired_ratio(steps["live"], steps["stored"], num_pairs=7)


def share_outside(folder: Path) -> float:
    """Return the share of the loop's time outside forward, backward and optimiser."""
    model = TheWorld.from_pretrained("tiny", world_grid=4)
    dataset = ForesightDataset("train", 64, tasks=("drop",))
    stored = StoredTap(model.tap, FeatureStore(folder / "store", model.tap.fingerprint, create=True))
    collator = Collator(model.processor, supervise=True, read_features=stored.read)
    samples = [dataset[index] for index in range(64)] * 60  # one epoch only, since a new one restarts the workers
    collator(samples[:64])  # computes the features
    spent = {"inside": 0.0}

    class Timed(TheWorldTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            started = time.perf_counter()
            loss = super().training_step(*args, **kwargs)
            spent["inside"] += time.perf_counter() - started
            return loss

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=60,
        per_device_train_batch_size=32,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=10,
        dataloader_num_workers=1,
    )
    trainer = Timed(
        model=model,
        args=arguments,
        train_dataset=MapFeed(samples),
        collator=collator,
        metrics=Metrics(folder / "m.jsonl"),
        bad_records=BadRecords(folder / "bad.jsonl", 1.0),
    )
    trainer.add_callback(Clock(spent))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.train()
    return 1 - spent["inside"] / spent["total"]


class Clock(TrainerCallback):
    """Times the loop from the end of the first step, which starts the workers, to the end of the last."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.spent.update(inside=0.0, started=time.perf_counter())
        self.spent["total"] = time.perf_counter() - self.spent["started"]


def figures() -> Iterator[Figure]:
    """Measure stored over live for each tap, live over stored in an arm, and the overhead of the loop."""
    for tap, steps in FUTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            ratio = stored_over_live(tap, steps, Path(folder) / "store")
        yield Figure(f"stored_over_live_step_{tap}", ratio, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        ratio = live_over_stored_as_arms(Path(folder) / "store")
    yield Figure("live_dit_step_over_stored_as_arms", ratio, 10.0, at_least=True)
    with tempfile.TemporaryDirectory() as folder:
        yield Figure("loop_time_outside_forward_backward", share_outside(Path(folder)), 0.05, unit="share")
