"""Verdicts of a judge as tables: what `theworld judge` shows."""

from typing import Any

from theworld.config.evaluation import SpatialRGPTJudgeSettings
from theworld.evaluation.judges.run import judge_spatial_rgpt
from theworld.evaluation.judges.verdicts import Judged
from theworld.report.scores import spatial_rgpt_tables
from theworld.report.tables import Table


def judged(settings: SpatialRGPTJudgeSettings) -> tuple[list[Table], dict[str, Any]]:
    """Have the saved replies judged that the settings name.

    Returns:
        Tables for a reader, and the same as values.

    Raises:
        OSError: if a file cannot be read or written.
        ValueError: for replies, a folder or a judge that cannot be used.
    """
    found, seconds = judge_spatial_rgpt(settings)
    name = settings.judge.model or str(settings.judge.checkpoint)
    values = {
        "benchmark": "spatial-rgpt",
        "judge": name,
        "output_dir": str(settings.output_dir),
        "seconds_of_this_run": round(seconds, 3),
        **found.to_dict(),
    }
    return judged_tables(found, name), values


def judged_tables(found: Judged, judge: str) -> list[Table]:
    """Groups by the judge's verdicts, its agreement with the readings, and what it cost."""
    tables = spatial_rgpt_tables(found.scores, agreement_with="the readings of theworld score")
    spent = found.cost
    row = (
        judge,
        f"{spent.num_calls:,}",
        f"{spent.num_retries:,}",
        f"{spent.num_prompt_tokens:,}",
        f"{spent.num_completion_tokens:,}",
        f"{spent.seconds:,.1f}",
        f"{found.num_without_verdict:,}",
        f"{found.num_misread:,}",
    )
    columns = (
        "judge",
        "calls",
        "of them retries",
        "prompt tokens",
        "completion tokens",
        "seconds in calls",
        "without a verdict",
        "true answer misread",
    )
    note = (
        "Over all runs into this folder. Replies without a verdict are missing; the same command asks about them again."
    )
    if spent.num_uncounted:
        note += f" The tokens of {spent.num_uncounted:,} replies were not told."
    return [*tables, Table("The judge", columns, (row,), note)]
