"""The demo: the main job at tiny size, from simulated scenes to a report, on a laptop without a network."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from theworld import settings
from theworld.config import (
    DataSettings,
    DemoSettings,
    ModelSettings,
    OptimSettings,
    TaskName,
    TrainingConfig,
    WorldSettings,
)
from theworld.constants import TINY_MODEL
from theworld.datasets.sample import Samples
from theworld.environment import describe_environment
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import blind, identify, predict, report
from theworld.evaluation.scoring import score
from theworld.files import write_whole
from theworld.foresight import ForesightDataset, clip
from theworld.modeling import TheWorld
from theworld.modeling.imagining import imagine
from theworld.report.animation import write_gif
from theworld.report.page import write_report
from theworld.training.run import MODEL_NAME, fill_store, train
from theworld.world.reading import open_stored

IMAGE_SIZE_PX = 64
FRAME_RATE_HZ = 6.0
TASKS: tuple[TaskName, ...] = ("drop",)
GRID = 4
"""Side of the world grid in every arm: 16 world tokens per slot."""

NOTES = (
    "The backbones of this demo are random: neither Gemma nor Cosmos has learnt anything yet, so the accuracies show"
    " that the machinery runs and is measured, not that a world model helps.",
    "Arm `gemma` is plain Gemma 3, nothing trained; `blind` is the same asked without the picture: what the wording"
    " alone gives away. Arm `zero` trains the same projector on world tokens that carry nothing: what the labels alone"
    " teach. `vae` reads the current frame, `rollout` the imagined future.",
    "Answers are the likeliest of the choices given the question and, but for `blind`, the picture.",
)


@dataclass
class Demo:
    """One run of the demo."""

    settings: DemoSettings
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The run's folder."""
        return self.settings.output_dir

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    def config(self, arm: str) -> TrainingConfig:
        """Settings of an arm's training: all arms share everything but the tap and K."""
        own = self.settings
        return TrainingConfig(
            output_dir=self.root / "arms" / arm,
            num_steps=own.num_steps,
            batch_size=16,
            precision="fp32",
            seed=own.seed,
            save_steps=own.num_steps,
            logging_steps=max(1, own.num_steps // 50),
            store_dir=self.root / "features" / arm,
            model=ModelSettings(
                gemma_model_name=TINY_MODEL,
                dtype="float32",
                num_world_steps=own.num_world_steps if arm == "rollout" else 0,
                world_grid=GRID,
                world=WorldSettings(
                    tap=arm,  # type: ignore[arg-type]
                    cosmos_model_name=TINY_MODEL,
                    image_size_px=IMAGE_SIZE_PX,
                    frame_rate_hz=FRAME_RATE_HZ,
                ),
            ),
            data=DataSettings(
                questions="dynamic",
                tasks=TASKS,
                image_size_px=IMAGE_SIZE_PX,
                num_train=own.num_train,
                validation_split="test",
                num_validation=own.num_test,
            ),
            optim=OptimSettings(learning_rate=1e-2, warmup_steps=own.num_steps // 10, weight_decay=0.0),
        )


TRAINED_ARMS = ("zero", "vae", "rollout")
ARMS = ("gemma", "blind", *TRAINED_ARMS)


def run_demo(own: DemoSettings) -> dict[str, Any]:
    """Simulate, train, evaluate, save, reload, ask, report.

    Returns:
        arms (accuracy, interval, n), the answers to one question with and without the world, seconds per stage, and
        the path of the report.

    Raises:
        ValueError: if the folder holds something that is not a demo.
    """
    demo = Demo(own)
    _clear(demo.root)
    settings.save(own, demo.root / "config.json")
    write_whole(demo.root / "environment.json", describe_environment())
    with demo.stage("scenes"):
        samples = ForesightDataset("test", own.num_test, IMAGE_SIZE_PX, "dynamic", tasks=TASKS)
        for index in range(own.num_train):
            ForesightDataset("train", own.num_train, IMAGE_SIZE_PX, "dynamic", tasks=TASKS)[index]
    with demo.stage("evaluate gemma"):
        gemma = TheWorld.from_pretrained(TINY_MODEL, enable_world=False)
        _evaluate(demo, "gemma", gemma, samples, None)
    with demo.stage("evaluate blind"):
        _evaluate(demo, "blind", gemma, blind(samples), None)
    for arm in TRAINED_ARMS:
        _run_arm(demo, arm, samples)
    model = TheWorld.from_pretrained(demo.config("rollout").output_dir / MODEL_NAME)
    with demo.stage("ask"):
        asked = _ask(gemma, model, samples)
    with demo.stage("compare and draw"):
        _write_scenes(demo, model, samples)
        files = {arm: demo.root / "predictions" / f"{arm}.jsonl" for arm in ARMS}
        results = report(files, demo.root / "results.json", baseline="zero")
    write_whole(
        demo.root / "results.json", json.dumps({**results, "seconds": demo.seconds, "notes": list(NOTES)}, indent=2)
    )
    with demo.stage("report"):
        page = write_report(demo.root, "TheWorld: the demo")
    return {
        "arms": {arm: _numbers(summary) for arm, summary in results["arms"].items()},
        "asked": asked,
        "seconds": demo.seconds,
        "report": str(page),
    }


def _run_arm(demo: Demo, arm: str, samples: ForesightDataset) -> None:
    """Train an arm, load what it saved, and let that answer."""
    config = demo.config(arm)
    with demo.stage(f"train {arm}"):
        train(config)
    with demo.stage(f"evaluate {arm}"):
        model = TheWorld.from_pretrained(config.output_dir / MODEL_NAME)
        stored = fill_store(open_stored(model.tap, demo.root / "features" / arm), model.processor, samples)
        _evaluate(demo, arm, model, samples, stored.read)


def _clear(root: Path) -> None:
    """Start anew where an earlier demo lies; touch nothing else.

    Raises:
        ValueError: for a folder that holds something else.
    """
    if not root.exists() or not any(root.iterdir()):
        return
    try:
        settings.load(DemoSettings, root / "config.json", [])
    except ValueError as error:
        raise ValueError(f"{root} exists and holds no demo: choose another folder with --output-dir") from error
    shutil.rmtree(root)


def _evaluate(demo: Demo, arm: str, model: TheWorld, samples: Samples, read_features: FeatureReader | None) -> None:
    predict(
        model,
        samples,
        demo.root / "predictions" / f"{arm}.jsonl",
        identify(model, [demo.settings.num_test, arm]),
        title=f"evaluate {arm}",
        batch_size=16,
        score_choices=True,
        read_features=read_features,
    )


def _ask(gemma: TheWorld, model: TheWorld, samples: ForesightDataset) -> dict[str, Any]:
    """One question about one picture, in the short form, with and without the world."""
    sample = samples[0]
    words = {"max_new_tokens": 4}
    return {
        "question": sample.prompt[-1].text,
        "answer": sample.answer,
        "without the world": gemma.generate(sample.images[0], sample.prompt[-1].text, **words),
        "with the world": model.generate(sample.images[0], sample.prompt[-1].text, **words),
    }


def _write_scenes(demo: Demo, model: TheWorld, samples: ForesightDataset) -> None:
    """Pictures and animations of some scenes, with what every arm said about them."""
    said = {
        arm: {row.sample_id: score(row).reading for row in read_predictions(path)}
        for arm in ARMS
        for path in [demo.root / "predictions" / f"{arm}.jsonl"]
    }
    for index in range(min(demo.settings.num_scenes, len(samples))):
        sample, folder = samples[index], demo.root / "scenes" / f"{index:02d}"
        folder.mkdir(parents=True)
        picture = sample.images[0]
        picture.save(folder / "picture.png")  # type: ignore[union-attr]
        true = clip("test", index, IMAGE_SIZE_PX)
        imagined = imagine(model, picture, demo.settings.num_world_steps)
        write_gif(np.asarray(true), folder / "true.gif", FRAME_RATE_HZ, scale=1)
        write_gif(imagined.numpy(), folder / "imagined.gif", FRAME_RATE_HZ, scale=1)
        item = {
            "id": sample.id,
            "question": sample.prompt[-1].text,
            "choices": list(sample.fields["choices"]),
            "answer": sample.answer,
            "answers": {arm: readings[sample.id] for arm, readings in said.items()},
        }
        write_whole(folder / "item.json", json.dumps(item, indent=2))


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    accuracy = summary["accuracy"]
    return {
        "n": summary["num_items"] - summary["num_missing"],
        "accuracy": accuracy["value"],
        "interval": [accuracy["wilson"]["low"], accuracy["wilson"]["high"]],
        "majority": accuracy["majority"],
        "guessing": accuracy["guessing"],
        "world_read": summary["world_read"],
    }
