"""Results of an evaluation: scores, intervals and comparisons of files of predictions, and what they come from."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from theworld.environment import commit
from theworld.evaluation.benchmarks.dispatch import benchmark_scores, score, submission
from theworld.evaluation.calibration import calibration_of
from theworld.evaluation.comparison import compare
from theworld.evaluation.gating import gate_of
from theworld.evaluation.predictions import Prediction, file_stem, read_identity, read_predictions
from theworld.evaluation.question_kinds import kind_field, kinds_of_rows
from theworld.evaluation.summary import summarise
from theworld.io import write_whole

EQUAL_IF_FROZEN: Final = (("gemma", "no-world-tokens"),)
"""Arms that are one model if nothing of Gemma was trained."""

_MOST_QUESTIONS: Final = 20
"""Longest table by question."""


def report(
    files: dict[str, Path],
    path: Path,
    pairs: Sequence[tuple[str, str]] | None = None,
    equal: Sequence[tuple[str, str]] = (),
    seeds: dict[str, int | None] | None = None,
) -> dict[str, Any]:
    """Score files of predictions, compare them if there are several, and write the results.

        FOLDER/
          results.json            `path`; numbers by kind of question, too
          scores/ARM.jsonl        a row per item
          submissions/ARM.json    instead of numbers and scores, where the answers are withheld: the replies in the
                                  format of the benchmark

    Args:
        files: files of predictions, by arm.
        path: of the results.
        pairs: arms to compare, the first pair that of the headline; None: every pair.
        equal: pairs of arms that are one model: the same replies are no surprise.
        seeds: by name, the seeds that were used. Answers are decoded greedily, without a seed.

    Returns:
        The results.
    """
    rows = {name: read_predictions(file) for name, file in files.items()}
    runs = {name: asdict(read_identity(file)) for name, file in files.items()}
    origin = {"commit": commit(), "seeds": seeds or {}, "runs": runs}
    if any(row.answer is None for predictions in rows.values() for row in predictions):
        results: dict[str, Any] = {"submissions": _write_submissions(rows, path.parent / "submissions")}
    else:
        results = {**_numbers(rows, pairs), "equal": [pair for pair in equal if {*pair} <= {*rows}]}
        _write_scores(rows, path.parent / "scores")
    results["origin"] = origin
    write_whole(path, json.dumps(results, indent=2))
    return results


def _numbers(rows: dict[str, list[Prediction]], pairs: Sequence[tuple[str, str]] | None) -> dict[str, Any]:
    """Scores of each arm, their comparison, and the numbers of a benchmark."""
    group_by, cluster_by = breakdown(list(rows.values()))
    arms = {
        name: summarise(predictions, group_by=group_by, cluster_by=cluster_by, scorer=score).to_dict()
        for name, predictions in rows.items()
    }
    comparison = None
    if len(rows) > 1:
        comparison = compare(rows, pairs=pairs, group_by=group_by, cluster_by=cluster_by, scorer=score).to_dict()
    benchmark = {
        name: {result[0]: result[1].to_dict()}
        for name, predictions in rows.items()
        if (result := benchmark_scores(predictions)) is not None
    }
    return {"arms": arms, "comparison": comparison, "benchmark": benchmark or None, **_confidence(rows)}


def _confidence(rows: dict[str, list[Prediction]]) -> dict[str, Any]:
    """Curve of a gate between the arms with and without the world, and calibration of answers about several futures."""
    result: dict[str, Any] = {}
    if "world" in rows and "no-world-tokens" in rows:
        _, cluster_by = breakdown(list(rows.values()))
        gate = gate_of(rows["no-world-tokens"], rows["world"], cluster_by)
        result |= {} if gate is None else {"gating": gate.to_dict()}
    measured = {name: calibration_of(answered) for name, answered in rows.items()}
    calibrated = {name: calibration.to_dict() for name, calibration in measured.items() if calibration is not None}
    if calibrated:
        result["calibration"] = calibrated
    return result


def _write_scores(rows: dict[str, list[Prediction]], folder: Path) -> None:
    for name, predictions in rows.items():
        lines = [json.dumps(asdict(score(row))) + "\n" for row in predictions]
        write_whole(folder / f"{file_stem(name)}.jsonl", "".join(lines))


def _write_submissions(rows: dict[str, list[Prediction]], folder: Path) -> dict[str, str]:
    """Write the replies of each arm in the format of the benchmark's server; return the files."""
    written = {}
    for name, predictions in rows.items():
        write_whole(folder / f"{file_stem(name)}.json", json.dumps(submission(predictions), indent=1))
        written[name] = str(folder / f"{file_stem(name)}.json")
    return written


def breakdown(runs: Sequence[Sequence[Prediction]]) -> tuple[tuple[str, ...], str | None]:
    """Choose the fields to group by and to cluster by, for `summarise`, among those that every row has.

    Questions of several kinds need a number each, or else several tasks do; without kinds, questions that repeat.
    Several questions about one scene (`index`, `scene`), pair, picture (`image`) or video are dependent.
    """
    rows = [row for run in runs for row in run]
    kind = kind_field(rows)
    if kind is not None and len({row.fields[kind] for row in rows}) == 1 and all("task" in row.fields for row in rows):
        kind = "task"
    if kind is None and len({*kinds_of_rows(rows)}) in range(2, _MOST_QUESTIONS + 1):
        kind = "question"
    cluster = next((name for name in ("index", "scene", "pair", "image", "video") if _repeats(runs, name)), None)
    return () if kind is None else (kind,), cluster


def _repeats(runs: Sequence[Sequence[Prediction]], name: str) -> bool:
    """Return whether every row has a field, and several rows of a run share a value of it."""
    has_it = all(name in row.fields for run in runs for row in run)
    return has_it and any(len({row.fields[name] for row in run}) < len(run) for run in runs)


def pairs_of(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Choose the pairs of arms that matter: the world's arms (at every K) against every other, and each other.

    Without an arm that reads the trained world the first arm takes its place. The same model without its world comes
    first, then plain Gemma.
    """
    world = [name for name in arms if name == "world" or name.startswith("world-K")] or list(arms[:1])
    others = sorted({*arms} - {*world}, key=lambda name: (name != "no-world-tokens", name != "gemma", arms.index(name)))
    pairs = [(other, name) for name in world for other in others]
    return pairs + list(itertools.combinations(world, 2))
