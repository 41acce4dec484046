"""Run a comparison of arms: choose learning rates, train each arm, and ask it the test questions."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from theworld.config import loader
from theworld.config.arm_settings import Arm, ArmsSettings, PixelsArm, TestSplitName
from theworld.config.training import in_number_formats
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import batches
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run_audit import shuffle_worlds
from theworld.experiments.arms.arm import (
    Rates,
    answer,
    check_models,
    cost_of,
    data_of,
    folder_of,
    open_arm,
    sees_future,
    train_arm,
)
from theworld.experiments.arms.pixel_network import PixelNetwork
from theworld.io import check_same_run, write_whole
from theworld.modeling import TheWorld

logger = logging.getLogger(__name__)

FUTURE, SHUFFLED, PRESENT = "dynamic", "shuffled", "static"
"""Prediction files of an arm: test questions, the same with the world of a partner scene, and controls."""
COST_NAME = "cost.json"
RATES_NAME = "rates.json"
FREE = ("arms", "primary", "primary_labels", "seeds", "num_labels", "precision", "world_build", "also", "report")
"""Settings that you may change when you continue a comparison."""
_NUM_MEASURED = 20
"""Samples of the batch that measures the cost."""
_SEED = 0
"""Seed of the models that choose the learning rates."""


def asked_of(settings: ArmsSettings, arm: Arm) -> dict[str, TestSplitName]:
    """Return the prediction files of an arm with their splits; a network of pixels is not asked about the present."""
    first, *others = settings.test_splits
    names = [FUTURE, SHUFFLED] if isinstance(arm, PixelsArm) else [FUTURE, SHUFFLED, PRESENT]
    return {**dict.fromkeys(names, first), **{f"{FUTURE}-{split}": split for split in others}}


def is_done(settings: ArmsSettings, arm: Arm, seed: int, num_labels: int) -> bool:
    """Return True if an arm has answered all questions."""
    folder = folder_of(settings, arm, seed, num_labels) / "predictions"
    return all((folder / f"{name}.done").exists() for name in asked_of(settings, arm))


def run_arms(settings: ArmsSettings, elsewhere: Collection[tuple[str, int, int]] = ()) -> Path:
    """Run a comparison, or the rest of it.

        output_dir/
          config.json
          drawn/                            samples, simulated and drawn once
          features/TAP/                     world features, computed once
          aligned/READING/seed-S/           imitation/: a training run on image tokens of true clips; rate-R/: one on
                                            readings of the same clips, after it; arms share them where they can
          arms/ARM/seed-S/labels-N/         rate-R/model/ after N outcome labels; predictions/dynamic, shuffled, static,
                                            and dynamic-SPLIT for further splits
          arms/ARM/rates.json               the learning rates, and their accuracy on validation scenes
          arms/ARM/cost.json                seconds and operations of an answer, trained parameters

    Args:
        settings: of the comparison.
        elsewhere: arms, labels and seeds that other folders have, and that this run leaves out.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds another comparison, or a model of a missing run is not there.
    """
    missing = [
        (arm, seed, num_labels)
        for seed in settings.seeds
        for arm in settings.arms
        for num_labels in settings.num_labels
        if not is_done(settings, arm, seed, num_labels) and (arm.name, num_labels, seed) not in elsewhere
    ]
    for arm in {arm.name: arm for arm, _, _ in missing}.values():
        check_models(settings, arm)
    settings = claim(settings)
    for arm, seed, num_labels in missing:
        logger.info("%s, seed %d, %d labels", arm.name, seed, num_labels)
        checkpoint = train_arm(settings, arm, seed, num_labels, choose_rates(settings, arm, num_labels))
        _ask(settings, arm, checkpoint, folder_of(settings, arm, seed, num_labels))
    return settings.output_dir


def claim(settings: ArmsSettings) -> ArmsSettings:
    """Write the settings of the comparison and of each arm.

    A continued comparison keeps the number formats that it began with where the settings say `auto`. One that failed
    before its first alignment leaves the folder free for any settings.

    Raises:
        ValueError: if the folder holds another comparison, or another arm of the same name.
    """
    path = settings.output_dir / "config.json"
    before = loader.load(ArmsSettings, path) if path.exists() else None
    has_begun = any(next(settings.output_dir.glob(runs), None) for runs in ("aligned/*", "arms/*/seed-*"))
    settings = in_number_formats(settings, like=before if has_begun else None)
    if before is not None and has_begun:
        free = {name: getattr(settings, name) for name in FREE}
        begun = in_number_formats(replace(before, **free))
        check_same_run(path, asdict(settings), asdict(begun), "choose another output_dir")
    for arm in settings.arms:
        arm_path = settings.output_dir / "arms" / arm.name / "arm.json"
        if arm_path.exists() and has_begun:
            earlier = loader.load(Arm, arm_path)
            check_same_run(arm_path, asdict(arm), asdict(earlier), "rename the arm, or delete that folder")
        loader.save(arm, arm_path)
    loader.save(settings, path)
    return settings


# --- learning rates ------------------------------------------------------------------------------------------


def choose_rates(settings: ArmsSettings, arm: Arm, num_labels: int | None = None) -> Rates:
    """Choose the learning rates of an arm: first for the alignment, without outcome labels, then for the labels.

        output_dir/arms/ARM/rates.json    both rates, and the accuracy on validation scenes at each rate tried

    With `choose_for_each`, the file holds the rate of each number of labels under that number. With one rate in the
    settings there is no choice, and no validation. The rates of a comparison in `also` hold here, too.

    Args:
        settings: of the comparison.
        arm: the arm.
        num_labels: labels that the arm will train on; None: those that one rate is chosen with for all.
    """
    path = settings.output_dir / "arms" / arm.name / RATES_NAME
    report = _rates_so_far(settings, arm, path) or _of_alignment(settings, arm)
    chosen = report["chosen"]
    if not settings.choose_for_each:
        if "labels" not in chosen:
            chosen["labels"], report["labels"] = _of_labels(settings, arm, settings.num_choosing, chosen["aligned"])
        rate = chosen["labels"]
    elif num_labels == 0:
        rate = settings.label_learning_rates[0]  # nothing trains with it
    else:
        number = str(num_labels or settings.num_choosing)
        by_number, tried = chosen.setdefault("labels", {}), report.setdefault("labels", {})
        if number not in by_number:
            by_number[number], tried[number] = _of_labels(settings, arm, int(number), chosen["aligned"])
        rate = by_number[number]
    text = json.dumps(report, indent=1) + "\n"
    if not path.exists() or path.read_text() != text:
        write_whole(path, text)
    return Rates(aligned=chosen["aligned"], labels=rate)


def _of_alignment(settings: ArmsSettings, arm: Arm) -> dict[str, Any]:
    """Return a report with the rate of an arm's alignment; None: it has no alignment."""
    if not arm.is_aligned:
        return {"chosen": {"aligned": None}, "aligned": {}}
    candidates = [Rates(aligned=rate, labels=rate) for rate in settings.align_learning_rates]
    best, tried = _best(settings, arm, 0, candidates)
    return {"chosen": {"aligned": best.aligned}, "aligned": tried}


def _of_labels(
    settings: ArmsSettings, arm: Arm, num_labels: int, aligned: float | None
) -> tuple[float, Mapping[str, float]]:
    """Return the rate on a number of labels, and the accuracy at each rate tried."""
    rates = arm.label_learning_rates or settings.label_learning_rates
    best, tried = _best(settings, arm, num_labels, [Rates(aligned=aligned, labels=rate) for rate in rates])
    return best.labels, tried


def _rates_so_far(settings: ArmsSettings, arm: Arm, path: Path) -> dict[str, Any]:
    """Return the rates that this folder, or else a comparison in `also` of the same build, has chosen."""
    if path.exists():
        return json.loads(path.read_text())
    for elsewhere in settings.also:
        origin = json.loads(elsewhere.read_text())["origin"]
        is_same_build = origin["settings"].get("world_build") == settings.world_build
        if is_same_build and arm.name in origin["learning_rates"]:
            return origin["learning_rates"][arm.name]
    return {}


def _best(
    settings: ArmsSettings, arm: Arm, num_labels: int, candidates: Sequence[Rates]
) -> tuple[Rates, Mapping[str, float]]:
    """Return the candidate of the highest accuracy on validation questions, the first of equals, and all accuracies."""
    if len(candidates) == 1:
        return candidates[0], {}
    shares = [_share_right(settings, arm, num_labels, rates) for rates in candidates]
    logger.info("%s, %d labels: %s", arm.name, num_labels, dict(zip(candidates, shares, strict=True)))
    tried = [rates.labels for rates in candidates]  # candidates for an alignment have the same rate twice
    best = candidates[shares.index(max(shares))]
    return best, {f"{rate:g}": share for rate, share in zip(tried, shares, strict=True)}


def _share_right(settings: ArmsSettings, arm: Arm, num_labels: int, rates: Rates) -> float:
    """Return the accuracy of a model on validation questions about the future."""
    checkpoint = train_arm(settings, arm, _SEED, num_labels, rates)
    model = open_arm(arm, checkpoint)
    data = data_of(settings, arm, "future", settings.num_validation)
    samples = open_samples(data, "validation", settings.num_validation, sees_future(model))
    path = checkpoint.parent / "validation.jsonl"
    answer(settings, arm, model, data, samples, path)
    rows = read_predictions(path)
    return sum(score(row).state == "right" for row in rows) / len(rows)


# --- test questions ------------------------------------------------------------------------------------------


def _ask(settings: ArmsSettings, arm: Arm, checkpoint: Path, folder: Path) -> None:
    """Ask a model the test questions, the same with exchanged worlds, and the controls."""
    model = open_arm(arm, checkpoint)
    _measure(settings, arm, model)
    for name, split in asked_of(settings, arm).items():
        done = folder / "predictions" / f"{name}.done"
        if done.exists():
            continue
        size = settings.num_static if name == PRESENT else settings.num_test
        data = data_of(settings, arm, "present" if name == PRESENT else "future", size, split)
        samples: Samples = open_samples(data, split, size, sees_future(model))
        if name == SHUFFLED:
            num_shuffled = min(settings.num_shuffled, len(samples))
            samples = shuffle_worlds([samples[index] for index in range(num_shuffled)], seed=0)
        answer(settings, arm, model, data, samples, folder / "predictions" / f"{name}.jsonl")
        done.touch()


def _measure(settings: ArmsSettings, arm: Arm, model: TheWorld | PixelNetwork) -> None:
    """Measure the cost of an answer, once for each arm."""
    path = settings.output_dir / "arms" / arm.name / COST_NAME
    if path.exists():
        return
    split = settings.test_splits[0]
    data = data_of(settings, arm, "future", settings.num_test, split)
    samples = open_samples(data, split, settings.num_test, sees_future(model))
    batch = next(batches((samples[index] for index in range(len(samples))), _NUM_MEASURED))
    write_whole(path, json.dumps(cost_of(model, batch)))
