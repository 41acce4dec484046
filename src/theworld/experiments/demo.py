"""The demo: simulate, train, evaluate, audit and report at tiny size, on a laptop without a network."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from theworld.config import DemoSettings, ModelSettings, OptimSettings, WorldSettings, loader
from theworld.config.arm_settings import ArmsSettings, Reading, WorldArm
from theworld.config.training import in_number_formats
from theworld.constants import TINY_FUSED_MODEL, TINY_MODEL
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.foresight.scene import FRAME_RATE_HZ
from theworld.datasets.sample import Samples
from theworld.environment import describe_environment
from theworld.evaluation.conditions import blind
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.results_file import report
from theworld.evaluation.run import predict
from theworld.evaluation.run_audit import audit_model
from theworld.evaluation.run_identity import identify
from theworld.evaluation.shown_items import write_futures, write_items
from theworld.experiments.arms.arm import Rates, aligned_folder, answer, data_of, train_arm
from theworld.io import write_whole
from theworld.locks import LOCK_NAME, in_use
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine
from theworld.precision import fastest_dtype
from theworld.report.page import write_report
from theworld.training.metrics import METRICS_NAME
from theworld.world.cached import open_stored

IMAGE_SIZE_PX: Final = 64
NUM_STEPS: Final = 3
"""Denoising steps of an imagined future in the arms: the fewest that lose nothing against ten (docs/tiny.md)."""

_TRUE: Final = Reading(tap="true-future")
_ZERO: Final = Reading(tap="zero", control_of="rollout")
_IMAGINED: Final = Reading(tap="rollout")
TRAINED_ARMS: Final = (
    WorldArm(name="zero", reads=_ZERO, aligned_on=_ZERO),
    WorldArm(name="vae", reads=Reading(tap="vae", repeat_current=True), aligned_on=_TRUE),
    WorldArm(name="rollout", reads=_IMAGINED, aligned_on=_TRUE),
    WorldArm(name="true-future", reads=_TRUE, aligned_on=_TRUE),
)
ARMS: Final = ("gemma", "blind", *(arm.name for arm in TRAINED_ARMS), "shipped")
PAIRS: Final = (("gemma", "shipped"), ("zero", "rollout"), ("zero", "vae"), ("zero", "true-future"), ("blind", "gemma"))
"""Arms to compare, the first pair in the headline."""
CURVES: Final = {"zero": TRAINED_ARMS[0], "true-future": TRAINED_ARMS[-1]}
"""Trainings whose curves the report shows, with an arm of each."""

NOTES: Final = (
    "Gemma and Cosmos are the small models of the package, and stay frozen. The demo trains the projector between them"
    " on true clips and questions about them, outcomes included, while Gemma's own picture shows another scene.",
    "`gemma` has no world, `blind` has no picture either. `zero` has world tokens without content, `vae` the latent of"
    " the current picture, `rollout` the imagined future, and `true-future` the true one: an upper bound, not a"
    " competitor. `shipped` is the model of the package, `tiny-foresight`: it trained longer, on more scenes, with"
    " Gemma's language adapted, and reads the states of the denoiser.",
    "To train Gemma 3 4B with Cosmos 2B, see docs/training.md.",
)


@dataclass
class Demo:
    """One run of the demo."""

    settings: DemoSettings
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Folder of the run."""
        return self.settings.output_dir

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    @property
    def comparison(self) -> ArmsSettings:
        """The arms that the demo trains, at equal budget and without outcome labels."""
        settings = self.settings
        return ArmsSettings(
            output_dir=self.root / "comparison",
            primary=("rollout", "zero"),
            arms=TRAINED_ARMS,
            seeds=(settings.seed,),
            num_labels=(0,),
            model=ModelSettings(
                gemma_model_name=TINY_MODEL,
                dtype="float32",
                # With masks, eager steps take two thirds of the time in bfloat16, and a seventh more in float32.
                attn_implementation="eager" if fastest_dtype() == "bfloat16" else "sdpa",
                num_world_steps=4,
                world_grid=4,
                world=WorldSettings(
                    tap="rollout",
                    cosmos_model_name=TINY_MODEL,
                    image_size_px=IMAGE_SIZE_PX,
                    frame_rate_hz=FRAME_RATE_HZ,
                    num_inference_steps=NUM_STEPS,
                ),
            ),
            num_aligned=settings.num_train,
            num_test=settings.num_test,
            imitate_steps=settings.num_steps,
            align_steps=settings.num_steps,
            num_workers=0,
            optim=OptimSettings(warmup_steps=settings.num_steps // 10, weight_decay=0.0),
        )


def run_demo(settings: DemoSettings) -> dict[str, Any]:
    """Simulate, train, evaluate, audit, ask, report.

    Returns:
        arms (accuracy, interval, n), the answers to one question with and without the world, the verdict of the audit,
        seconds per stage, and the path of the report.

    Raises:
        ValueError: if the folder holds anything but a demo.
    """
    with in_use(settings.output_dir):
        return _run(settings)


def _run(settings: DemoSettings) -> dict[str, Any]:
    demo = Demo(settings)
    clear(demo.root)
    loader.save(settings, demo.root / "config.json")
    formats = in_number_formats(demo.comparison)
    used = {"precision": formats.precision, "weights": formats.model.dtype, "world": formats.model.world.dtype}
    write_whole(demo.root / "environment.json", describe_environment(number_formats=used))
    samples = ForesightDataset("test", settings.num_test, IMAGE_SIZE_PX, "future")
    with demo.stage("gemma and blind"):
        gemma = TheWorld.from_pretrained(TINY_MODEL, enable_world=False, **on_this_machine())
        _evaluate(demo, "gemma", gemma, samples)
        _evaluate(demo, "blind", gemma, blind(samples))
    with demo.stage("train and ask the arms"):
        _train_and_ask_arms(demo)
    with demo.stage("ask the shipped model"):
        shipped = TheWorld.from_pretrained(TINY_FUSED_MODEL, **on_this_machine())
        stored = open_stored(shipped.tap, demo.root / "comparison" / "features" / "shipped")
        _evaluate(demo, "shipped", shipped, samples, stored.read)
        answers = _ask(gemma, shipped, samples)
    with demo.stage("audit"):
        audited = audit_model(
            shipped,
            [samples[index] for index in range(min(settings.num_audited, settings.num_test))],
            demo.root / "audit",
            stored.read,
            identity_of=settings.num_audited,
            batch_size=50,
            seed=settings.seed,
        )
    with demo.stage("compare and draw"):
        shown = ForesightDataset("test", settings.num_test, IMAGE_SIZE_PX, "future", with_future=True)
        write_items(shown, demo.root, FRAME_RATE_HZ, settings.num_scenes)
        write_futures(shipped, shown, demo.root, None, stored.read, settings.num_scenes)
        files = {arm: demo.root / "predictions" / f"{arm}.jsonl" for arm in ARMS}
        results = report(files, demo.root / "results.json", PAIRS)
    write_whole(
        demo.root / "results.json", json.dumps({**results, "seconds": demo.seconds, "notes": list(NOTES)}, indent=2)
    )
    page = write_report(demo.root)
    return {
        "arms": {arm: _numbers(summary) for arm, summary in results["arms"].items()},
        "asked": answers,
        "audit": audited.line,
        "seconds": demo.seconds,
        "report": str(page),
    }


def clear(root: Path) -> None:
    """Delete an earlier demo, and nothing else.

    Raises:
        ValueError: for a folder that holds anything else.
    """
    earlier = [path for path in root.iterdir() if path.name != LOCK_NAME] if root.exists() else []
    if not earlier:
        return
    try:
        loader.load(DemoSettings, root / "config.json", [])
    except ValueError as error:
        raise ValueError(f"{root} exists and holds no demo: choose another folder with --output-dir") from error
    for path in earlier:  # the lock stays
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _evaluate(
    demo: Demo, arm: str, model: TheWorld, samples: Samples, read_features: FeatureReader | None = None
) -> None:
    """Write the answers of a model to predictions/ARM.jsonl."""
    predict(
        model,
        samples,
        demo.root / "predictions" / f"{arm}.jsonl",
        identify(model, [demo.settings.num_test, arm]),
        title=arm,
        batch_size=50,
        max_new_tokens=3,
        read_features=read_features,
    )


def _train_and_ask_arms(demo: Demo) -> None:
    """Train every arm and ask it; put answers and curves into the folders that the report reads."""
    settings = demo.comparison
    seed, rates = settings.seeds[0], Rates(settings.align_learning_rates[0], settings.label_learning_rates[0])
    for arm in settings.arms:
        model = TheWorld.from_pretrained(train_arm(settings, arm, seed, 0, rates), **on_this_machine())
        data = data_of(settings, arm, "future", settings.num_test)
        samples = open_samples(data, "test", settings.num_test, model.config.world_settings().sees_future)
        answer(settings, arm, model, data, samples, demo.root / "predictions" / f"{arm.name}.jsonl")
    for name, arm in CURVES.items():
        (demo.root / "arms" / name).mkdir(parents=True)
        training = aligned_folder(settings, arm, seed, settings.align_learning_rates[0])
        shutil.copyfile(training / METRICS_NAME, demo.root / "arms" / name / METRICS_NAME)


def _ask(gemma: TheWorld, model: TheWorld, samples: ForesightDataset) -> dict[str, Any]:
    """Ask one question about one picture, with and without the world."""
    sample = samples[0]
    options = {"max_new_tokens": 4}
    return {
        "question": sample.prompt[-1].text,
        "answer": sample.answer,
        "without the world": gemma.generate(sample.images[0], sample.prompt[-1].text, **options),
        "with the world": model.generate(sample.images[0], sample.prompt[-1].text, **options),
    }


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of an arm that the command prints."""
    accuracy = summary["accuracy"]
    return {
        "n": summary["num_items"] - summary["num_missing"],
        "accuracy": accuracy["value"],
        "interval": [accuracy["wilson"]["low"], accuracy["wilson"]["high"]],
        "majority": accuracy["majority"],
        "guessing": accuracy["guessing"],
        "world_read": summary["world_read"],
    }
