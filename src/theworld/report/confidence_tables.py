"""Tables of confidence, separate from those of accuracy: by world calls, and by the agreement of futures."""

from theworld.evaluation.gating import Gate
from theworld.report.folder import RunFolder
from theworld.tables import Table, percent, percent_with_range

GATING, CALIBRATION = "When to imagine", "Agreement of imagined futures"


def gating_table(run: RunFolder) -> Table | None:
    """Make a row per share of world calls, with the accuracy of each gate, and of calls drawn at random."""
    gate = None if run.results is None else run.results.gating
    if gate is None:
        return None
    first, last = gate.curve[0].accuracy, gate.curve[-1].accuracy
    learnt = [None] * len(gate.curve) if gate.learnt is None else gate.learnt.curve
    rows = [
        (
            percent(point.share_called),
            _nats(point.threshold),
            percent(point.accuracy),
            _percent(point.share_harmed),
            _percent(None if other is None else other.accuracy),
            _percent(None if other is None else other.share_harmed),
            percent(first + (last - first) * point.share_called),
        )
        for point, other in zip(gate.curve, learnt, strict=True)
    ]
    best = gate.best
    here = (f"{percent(best.share_called)} (best here)", _nats(best.threshold), percent(best.accuracy))
    at_random = percent(first + (last - first) * best.share_called)
    rows.append((*here, _percent(best.share_harmed), "–", "–", at_random))
    columns = ("world calls, %", "threshold, nats", "by margin, %", "harmed, %")
    more = ("by learnt gate, %", "harmed by it, %", "at random, %")
    return Table(GATING, (*columns, *more), tuple(rows), _gating_note(gate))


def _gating_note(gate: Gate) -> str:
    harmed, helped = (percent(count / gate.num_items) for count in (gate.num_harmed, gate.num_helped))
    lines = [
        "By margin: the world answers the items whose margin without it is smallest. Harmed: items that were right"
        f" before it was asked. Asked everywhere, it harms {harmed} % of {gate.num_items:,} items and helps {helped} %."
    ]
    if gate.learnt is not None:
        lines.append(
            "The learnt gate ranks each item by a logistic regression on what is known before the world is asked,"
            " fitted on the other folds."
        )
    pairs = (("margin", gate.held_out), ("learnt gate", gate.learnt and gate.learnt.held_out))
    chosen = [
        f"{name} {percent(held_out.accuracy)} % with {percent(held_out.share_called)} % of the calls"
        for name, held_out in pairs
        if held_out is not None
    ]
    if chosen:
        always = percent(gate.curve[-1].accuracy)
        lines.append(f"With a threshold chosen on other folds: {', '.join(chosen)}; always {always} %.")
    lines.append("The best threshold was chosen on these items: measure it on others with --arms auto.")
    return " ".join(lines)


def calibration_tables(run: RunFolder) -> list[Table]:
    """Make a table per arm whose answers have a confidence: accuracy by confidence, and the calibration error."""
    arms = {} if run.results is None else run.results.calibration
    tables = []
    for name, calibration in arms.items():
        rows = tuple(
            (percent(bin.confidence), f"{bin.num_items:,}", percent_with_range(bin.accuracy, bin.wilson))
            for bin in calibration.bins
        )
        note = (
            "Confidence: the share of imagined futures that give the answer. Expected calibration error:"
            f" {percent(calibration.error)} points over {calibration.num_items:,} items."
        )
        tables.append(Table(f"{CALIBRATION}: {name}", ("confidence, %", "items", "accuracy, %"), rows, note))
    return tables


def _nats(threshold: float | str) -> str:
    """Write a threshold of the margin, or that every item asks the world."""
    return threshold if isinstance(threshold, str) else f"{threshold:.3f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else percent(share)
