"""Tables of confidence, separate from those of accuracy: by world calls, and by the agreement of futures."""

from theworld.report.folder import RunFolder
from theworld.tables import Table, percent, percent_with_range

GATING, CALIBRATION = "When to imagine", "Agreement of imagined futures"


def gating_table(run: RunFolder) -> Table | None:
    """Make a row per share of world calls, with the threshold that gives it and the accuracy."""
    gate = None if run.results is None else run.results.gating
    if gate is None:
        return None
    points = [(point, f"{percent(point.share_called)}") for point in gate.curve]
    rows = [(share, _nats(point.threshold), percent(point.accuracy)) for point, share in points]
    best = gate.best
    rows.append((f"{percent(best.share_called)} (best here)", _nats(best.threshold), percent(best.accuracy)))
    harmed, helped = (percent(count / gate.num_items) for count in (gate.num_harmed, gate.num_helped))
    note = (
        f"The world answers the items whose margin without it is smallest. It harms {harmed} % of {gate.num_items:,}"
        f" items, which are right without it alone, and helps {helped} %. The best threshold was chosen on these items:"
        " measure it on others with --arms auto --auto-threshold."
    )
    return Table(GATING, ("world calls, %", "threshold, nats", "accuracy, %"), tuple(rows), note)


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


def _nats(threshold: float | None) -> str:
    """Write a threshold; without one every item asks the world."""
    return "none" if threshold is None else f"{threshold:.3f}"
