"""The learning rates of an arm, chosen on validation scenes by one seed and then kept for all of them."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from theworld.config.experiments import Arm, ArmsSettings
from theworld.datasets.factory import open_samples
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import read_predictions
from theworld.io import write_whole
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine
from theworld.training.arm import Rates, answer, data_of, trained

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
