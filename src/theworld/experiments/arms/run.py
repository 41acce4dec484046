"""The comparison of arms at equal budget: each is aligned, given outcome labels, and asked; nothing is done twice."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from theworld.config import loader as settings_file
from theworld.config.experiments import Arm, ArmsSettings
from theworld.config.training import in_number_formats
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import batches
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import measure_cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run_audit import shuffle_worlds
from theworld.experiments.arms.arm import Rates, answer, data_of, folder_of, trained
from theworld.io import check_same_run, write_whole
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine

logger = logging.getLogger(__name__)

RATES_NAME = "rates.json"
_SEED = 0
"""The seed whose models are compared."""


def rates_of(own: ArmsSettings, arm: Arm) -> Rates:
    """An arm's learning rates: first that of the alignment, without outcome labels, then that of the labels.

        output_dir/arms/ARM/rates.json    the two, and accuracy on validation scenes at each that was tried

    Where one rate is named there is nothing to choose, and no validation scene is asked. What was chosen elsewhere, in
    a comparison that this one adds to, holds here, too.
    """
    path = own.output_dir / "arms" / arm.name / RATES_NAME
    if path.exists():
        return Rates(**json.loads(path.read_text())["chosen"])
    for elsewhere in own.also:
        found = json.loads(elsewhere.read_text())["origin"]["learning_rates"]
        if arm.name in found:
            write_whole(path, json.dumps(found[arm.name], indent=1) + "\n")
            return Rates(**found[arm.name]["chosen"])
    aligned, by_alignment = _best(own, arm, 0, [Rates(aligned=rate, labels=rate) for rate in own.align_learning_rates])
    chosen, by_labels = _best(
        own, arm, own.num_choosing, [Rates(aligned=aligned.aligned, labels=rate) for rate in own.label_learning_rates]
    )
    found = {"chosen": asdict(chosen), "aligned": by_alignment, "labels": by_labels}
    write_whole(path, json.dumps(found, indent=1) + "\n")
    return chosen


def _best(own: ArmsSettings, arm: Arm, budget: int, candidates: Sequence[Rates]) -> tuple[Rates, Mapping[str, float]]:
    """The candidate whose model answers most validation questions rightly, the first of equals; and their shares."""
    if len(candidates) == 1:
        return candidates[0], {}
    shares = [_share_right(own, arm, budget, rates) for rates in candidates]
    logger.info("%s, %d labels: %s", arm.name, budget, dict(zip(candidates, shares, strict=True)))
    tried = [rates.labels for rates in candidates]  # of an alignment both rates are the same
    best = candidates[shares.index(max(shares))]
    return best, {f"{rate:g}": share for rate, share in zip(tried, shares, strict=True)}


def _share_right(own: ArmsSettings, arm: Arm, budget: int, rates: Rates) -> float:
    """The share of validation questions about the future that a model answers rightly."""
    checkpoint = trained(own, arm, _SEED, budget, rates)
    model = TheWorld.from_pretrained(checkpoint, **on_this_machine())
    data = data_of(own, arm, "dynamic", own.num_validation)
    asked = open_samples(data, "validation", own.num_validation, model.config.world_settings().sees_future)
    path = checkpoint.parent / "validation.jsonl"
    answer(own, arm, model, data, asked, path)
    rows = read_predictions(path)
    return sum(score(row).state == "right" for row in rows) / len(rows)


ASKED = ("dynamic", "shuffled", "static")
"""Files of predictions of each arm: the test questions, the same with a partner's world, and the controls."""
COST_NAME = "cost.json"
FREE = ("arms", "primary", "primary_labels", "seeds", "budgets", "precision", "also", "report")
"""Settings that a comparison may change while it is being done."""
_NUM_MEASURED = 20
"""Samples of the batch on which the cost is measured."""


def run_arms(own: ArmsSettings, elsewhere: Collection[tuple[str, int, int]] = ()) -> Path:
    """Do what is missing of a comparison; `elsewhere` are arms, labels and seeds that others have done.

        output_dir/
          config.json
          drawn/                            samples, simulated and drawn once
          features/TAP/                     world features, computed once
          aligned/READING/seed-S/           imitation/: a training run on image tokens of true clips; rate-R/: one on
                                            readings of the same clips, after it; arms share them where they can
          arms/ARM/seed-S/labels-N/         rate-R/model/ after N outcome labels; predictions/dynamic, shuffled, static
          arms/ARM/rates.json               the learning rates, and how they did on validation scenes
          arms/ARM/cost.json                seconds and operations of an answer

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds another comparison.
    """
    own = claim(own)
    for seed in own.seeds:
        for arm in own.arms:
            for budget in own.budgets:
                folder = folder_of(own, arm, seed, budget)
                done = all((folder / "predictions" / f"{name}.done").exists() for name in ASKED)
                if done or (arm.name, budget, seed) in elsewhere:
                    continue
                logger.info("%s, seed %d, %d labels", arm.name, seed, budget)
                _ask(own, arm, trained(own, arm, seed, budget, rates_of(own, arm)), folder)
    return own.output_dir


def claim(own: ArmsSettings) -> ArmsSettings:
    """Write the settings of the comparison and of each arm; number formats left open are those that it was begun in.

    Raises:
        ValueError: if the folder holds another comparison, or another arm of the same name.
    """
    path = own.output_dir / "config.json"
    before = settings_file.load(ArmsSettings, path) if path.exists() else None
    own = in_number_formats(own, like=before)
    if before is not None:
        free = {name: getattr(own, name) for name in FREE}
        begun = in_number_formats(replace(before, **free))
        check_same_run(path, asdict(own), asdict(begun), "choose another output_dir")
    for arm in own.arms:
        named = own.output_dir / "arms" / arm.name / "arm.json"
        if named.exists():
            earlier = settings_file.load(Arm, named)
            check_same_run(named, asdict(arm), asdict(earlier), "rename the arm, or delete that folder")
        settings_file.save(arm, named)
    settings_file.save(own, path)
    return own


def _ask(own: ArmsSettings, arm: Arm, checkpoint: Path, folder: Path) -> None:
    """Let a model answer the test questions, the same with its worlds exchanged, and the controls."""
    model = TheWorld.from_pretrained(checkpoint, **on_this_machine())
    sees_future = model.config.world_settings().sees_future
    _measure(own, arm, model, sees_future)
    for name in ASKED:
        done = folder / "predictions" / f"{name}.done"
        if done.exists():
            continue
        size = own.num_static if name == "static" else own.num_test
        data = data_of(own, arm, "static" if name == "static" else "dynamic", size)
        asked: Samples = open_samples(data, "test", size, sees_future)
        if name == "shuffled":
            asked = shuffle_worlds([asked[index] for index in range(min(own.num_shuffled, len(asked)))], seed=0)
        answer(own, arm, model, data, asked, folder / "predictions" / f"{name}.jsonl")
        done.touch()


def _measure(own: ArmsSettings, arm: Arm, model: TheWorld, sees_future: bool) -> None:
    """What an answer of the arm costs, measured once."""
    path = own.output_dir / "arms" / arm.name / COST_NAME
    if path.exists():
        return
    samples = open_samples(data_of(own, arm, "dynamic", own.num_test), "test", own.num_test, sees_future)
    batch = next(batches((samples[index] for index in range(len(samples))), _NUM_MEASURED))
    write_whole(path, json.dumps(asdict(measure_cost(model, batch, max_new_tokens=3))))
