"""Run a comparison of arms: choose learning rates, train each arm, and ask it the test questions."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from theworld.config import loader
from theworld.config.experiments import Arm, ArmsSettings
from theworld.config.training import in_number_formats
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import batches
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import measure_cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run_audit import shuffle_worlds
from theworld.experiments.arms.arm import Rates, answer, data_of, folder_of, train_arm
from theworld.io import check_same_run, write_whole
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine

logger = logging.getLogger(__name__)

ASKED = ("dynamic", "shuffled", "static")
"""Prediction files of each arm: test questions, the same with the world of a partner scene, and controls."""
COST_NAME = "cost.json"
RATES_NAME = "rates.json"
FREE = ("arms", "primary", "primary_labels", "seeds", "num_labels", "precision", "also", "report")
"""Settings that you may change when you continue a comparison."""
_NUM_MEASURED = 20
"""Samples of the batch that measures the cost."""
_SEED = 0
"""Seed of the models that choose the learning rates."""


def run_arms(settings: ArmsSettings, elsewhere: Collection[tuple[str, int, int]] = ()) -> Path:
    """Run a comparison, or the rest of it.

        output_dir/
          config.json
          drawn/                            samples, simulated and drawn once
          features/TAP/                     world features, computed once
          aligned/READING/seed-S/           imitation/: a training run on image tokens of true clips; rate-R/: one on
                                            readings of the same clips, after it; arms share them where they can
          arms/ARM/seed-S/labels-N/         rate-R/model/ after N outcome labels; predictions/dynamic, shuffled, static
          arms/ARM/rates.json               the learning rates, and their accuracy on validation scenes
          arms/ARM/cost.json                seconds and operations of an answer

    Args:
        settings: of the comparison.
        elsewhere: arms, labels and seeds that other folders have, and that this run leaves out.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds another comparison.
    """
    settings = claim(settings)
    for seed in settings.seeds:
        for arm in settings.arms:
            for num_labels in settings.num_labels:
                folder = folder_of(settings, arm, seed, num_labels)
                done = all((folder / "predictions" / f"{name}.done").exists() for name in ASKED)
                if done or (arm.name, num_labels, seed) in elsewhere:
                    continue
                logger.info("%s, seed %d, %d labels", arm.name, seed, num_labels)
                checkpoint = train_arm(settings, arm, seed, num_labels, choose_rates(settings, arm))
                _ask(settings, arm, checkpoint, folder)
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


def choose_rates(settings: ArmsSettings, arm: Arm) -> Rates:
    """Choose the learning rates of an arm: first for the alignment, without outcome labels, then for the labels.

        output_dir/arms/ARM/rates.json    both rates, and the accuracy on validation scenes at each rate tried

    With one rate in the settings there is no choice, and no validation. The rates of a comparison in `also` hold here,
    too.
    """
    path = settings.output_dir / "arms" / arm.name / RATES_NAME
    if path.exists():
        return Rates(**json.loads(path.read_text())["chosen"])
    for elsewhere in settings.also:
        rates = json.loads(elsewhere.read_text())["origin"]["learning_rates"]
        if arm.name in rates:
            write_whole(path, json.dumps(rates[arm.name], indent=1) + "\n")
            return Rates(**rates[arm.name]["chosen"])
    candidates = [Rates(aligned=rate, labels=rate) for rate in settings.align_learning_rates]
    aligned, by_alignment = _best(settings, arm, 0, candidates)
    candidates = [Rates(aligned=aligned.aligned, labels=rate) for rate in settings.label_learning_rates]
    chosen, by_labels = _best(settings, arm, settings.num_choosing, candidates)
    report = {"chosen": asdict(chosen), "aligned": by_alignment, "labels": by_labels}
    write_whole(path, json.dumps(report, indent=1) + "\n")
    return chosen


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
    model = TheWorld.from_pretrained(checkpoint, **on_this_machine())
    data = data_of(settings, arm, "future", settings.num_validation)
    samples = open_samples(data, "validation", settings.num_validation, model.config.world_settings().sees_future)
    path = checkpoint.parent / "validation.jsonl"
    answer(settings, arm, model, data, samples, path)
    rows = read_predictions(path)
    return sum(score(row).state == "right" for row in rows) / len(rows)


# --- test questions ------------------------------------------------------------------------------------------


def _ask(settings: ArmsSettings, arm: Arm, checkpoint: Path, folder: Path) -> None:
    """Ask a model the test questions, the same with exchanged worlds, and the controls."""
    model = TheWorld.from_pretrained(checkpoint, **on_this_machine())
    sees_future = model.config.world_settings().sees_future
    _measure(settings, arm, model, sees_future)
    for name in ASKED:
        done = folder / "predictions" / f"{name}.done"
        if done.exists():
            continue
        size = settings.num_static if name == "static" else settings.num_test
        data = data_of(settings, arm, "present" if name == "static" else "future", size)
        samples: Samples = open_samples(data, "test", size, sees_future)
        if name == "shuffled":
            num_shuffled = min(settings.num_shuffled, len(samples))
            samples = shuffle_worlds([samples[index] for index in range(num_shuffled)], seed=0)
        answer(settings, arm, model, data, samples, folder / "predictions" / f"{name}.jsonl")
        done.touch()


def _measure(settings: ArmsSettings, arm: Arm, model: TheWorld, sees_future: bool) -> None:
    """Measure the cost of an answer, once for each arm."""
    path = settings.output_dir / "arms" / arm.name / COST_NAME
    if path.exists():
        return
    data = data_of(settings, arm, "future", settings.num_test)
    samples = open_samples(data, "test", settings.num_test, sees_future)
    batch = next(batches((samples[index] for index in range(len(samples))), _NUM_MEASURED))
    write_whole(path, json.dumps(asdict(measure_cost(model, batch, max_new_tokens=3))))
