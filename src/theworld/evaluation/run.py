"""Evaluation: from settings to predictions, scores and a comparison of arms."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from theworld.config import ArmName, EvaluationConfig, loader
from theworld.config.base import Variants
from theworld.config.renamed import former_word
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Samples
from theworld.environment import commit, describe_environment
from theworld.evaluation.benchmarks import blink
from theworld.evaluation.benchmarks.dispatch import benchmark_scores, kind_field, score, true_answer
from theworld.evaluation.comparison import compare
from theworld.evaluation.conditions import (
    READS_WORLD,
    answering_formats,
    blind,
    frequent_answers,
    open_respondent,
)
from theworld.evaluation.generation import Answerer, FeatureReader, answer_all, row_of
from theworld.evaluation.predictions import (
    Prediction,
    PredictionWriter,
    RunIdentity,
    read_identity,
    read_predictions,
)
from theworld.evaluation.summary import summarise
from theworld.io import fingerprint, write_whole
from theworld.modeling import TheWorld
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.factory import describe_weights
from theworld.modeling.loading import fetch_checkpoint, is_checkpoint, load_settings, saved_folder
from theworld.precision import name_of

LIBRARIES = ("torch", "transformers", "diffusers", "theworld")


def evaluate(config: EvaluationConfig) -> dict[str, Any]:
    """Answer, score and compare; a restarted evaluation continues at the point where it stopped.

        output_dir/
          config.json             resolved settings
          environment.json        versions, commit, machine
          predictions/ARM.jsonl   a row per item, and ARM.run.json, the identity of the run; the arm `world` at
                                  several K is `world-K0`, `world-K4`, ...
          scores/ARM.jsonl        reading and score of each reply
          results.json            scores and intervals of every arm, paired differences, a benchmark's own numbers;
                                  and their origin: commit, model, tap, versions, seed
          submissions/ARM.json    instead of scores, if the answers are withheld (the test split of BLINK)

    Returns:
        The content of results.json.

    Raises:
        ValueError: for a folder of another run, or an arm without a single answered item.
        StoreError: if the feature store is damaged, belongs to another tap, or is not writable.
    """
    saved = saved_config(config.checkpoint)
    formats = answering_formats(saved, config.dtype, config.store_dir)
    loader.save_over_earlier(config, config.output_dir / "config.json")
    write_whole(config.output_dir / "environment.json", describe_environment(number_formats=formats))
    files: dict[str, Path] = {}
    for arm in config.arms:
        files |= _answer(config, arm, saved, formats)
    world = saved.world_settings().seed if saved.enable_world else None
    return report(files, config.output_dir / "results.json", seeds={"world": world})


def _answer(config: EvaluationConfig, arm: ArmName, saved: TheWorldConfig, formats: dict[str, str]) -> dict[str, Path]:
    """Answer the questions in an arm; return its files of predictions by name."""
    data = config.data
    folder = config.output_dir / "predictions"
    reads = arm in READS_WORLD
    with_future = reads and saved.enable_world and saved.world_settings().sees_future
    # Before the model loads, since it may fail.
    samples = open_samples(data, data.validation_split, data.num_validation, with_future)
    if arm == "majority":
        return {arm: _answer_by_majority(samples, folder / f"{arm}.jsonl", data)}
    respondent = open_respondent(config.checkpoint, arm, saved, formats, config.store_dir)
    model = respondent.model
    default_steps = model.config.num_world_steps
    files: dict[str, Path] = {}
    for steps in (config.num_world_steps or (default_steps,)) if reads else (0,):
        name = f"{arm}-K{steps}" if reads and len(config.num_world_steps or ()) > 1 else arm
        files[name] = folder / f"{name}.jsonl"
        identity = identify(model, [data, config.max_new_tokens, former_word("answers", config.answers), arm, steps])
        if respondent.tap_fingerprint is not None:
            identity = replace(identity, tap_fingerprint=respondent.tap_fingerprint)
        predict(
            model,
            blind(samples) if arm == "blind" else samples,
            files[name],
            identity,
            title=name,
            batch_size=config.batch_size,
            num_world_steps=steps,
            max_new_tokens=config.max_new_tokens,
            score_choices=config.answers == "loglikelihood",
            read_features=respondent.read_features,
        )
    return files


def _answer_by_majority(samples: Samples, path: Path, data: Any) -> Path:
    """Reply to each question with the most frequent true answer of its kind."""
    questions = [samples[index] for index in range(len(samples))]
    name = "majority"
    identity = RunIdentity(settings_hash=_settings_hash([data, name]), checkpoint=name, versions=_versions())
    path.parent.mkdir(parents=True, exist_ok=True)
    with PredictionWriter(path, identity) as writer:
        done = writer.done()
        rows = [
            Prediction(**row_of(sample, prediction=answer))
            for sample, answer in zip(questions, frequent_answers(questions, true_answer), strict=True)
        ]
        writer.append(row for row in rows if row.sample_id not in done)
    return path


def saved_config(checkpoint: Path) -> TheWorldConfig:
    """Load the configuration of a saved TheWorld, without its weights.

    Raises:
        ValueError: for a model that is no TheWorld, or whose base model has changed.
        OSError: for a folder that does not exist or has no model.
    """
    folder = saved_folder(checkpoint)
    if not is_checkpoint(folder):
        raise ValueError(f"{checkpoint}: a plain Gemma 3; expected a saved TheWorld, as training leaves it in model/")
    return load_settings(fetch_checkpoint(folder), {})


def predict(
    model: TheWorld,
    samples: Samples,
    path: Path,
    identity: RunIdentity,
    *,
    title: str,
    batch_size: int,
    num_world_steps: int | None = None,
    max_new_tokens: int = 16,
    score_choices: bool = False,
    read_features: FeatureReader | None = None,
) -> None:
    """Answer the samples that a file of predictions lacks.

    Raises:
        ValueError: if the file has rows of other samples, or if no sample could be answered.
    """
    answerer = Answerer(
        model,
        num_world_steps=num_world_steps,
        max_new_tokens=max_new_tokens,
        score_choices=score_choices,
        read_features=read_features,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with PredictionWriter(path, identity) as writer:
        ids = answer_all(answerer, samples, writer, batch_size, title)
    rows = read_predictions(path)
    foreign = sorted({row.sample_id for row in rows} - set(ids))
    if foreign:
        raise ValueError(
            f"{path} holds {len(foreign)} rows of other samples (the first: {foreign[0]!r}): it was made on other"
            " data; choose another output_dir, or remove the file and its .run.json"
        )
    if rows and all(row.error is not None for row in rows):
        raise ValueError(f"{path}: none of {len(rows)} items could be answered; the first error: {rows[0].error}")


def identify(model: TheWorld, settings: Any) -> RunIdentity:
    """Return the identity of a run: the model, its world, and other settings."""
    config = model.config
    return RunIdentity(
        settings_hash=_settings_hash(settings),
        checkpoint=describe_weights(model),
        tap_fingerprint=config.world_fingerprint if config.enable_world else None,
        dtype=name_of(config.dtype or model.dtype),  # of the base model: its trained parts may be float32
        versions=_versions(),
    )


_NEWER_DEFAULTS: Final = (("scenes", "plain"), ("wordings", "trained"))
"""Fields of data settings that earlier versions did not have, with the values that mean what those did."""


def _settings_hash(settings: Sequence[Any]) -> str:
    parts = [_as_hashed(part) if isinstance(part, Variants) else part for part in settings]
    return fingerprint(TypeAdapter(Any).dump_python(parts, mode="json"))


def _as_hashed(settings: Variants) -> dict[str, Any]:
    """Return settings as earlier versions had them: predictions made with those continue."""
    idle = settings.with_idle().items()
    fields = {name: value for name, value in idle if (name, value) not in _NEWER_DEFAULTS}
    return {**fields, "questions": former_word("questions", fields["questions"])} if "questions" in fields else fields


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def report(
    files: dict[str, Path], path: Path, baseline: str | None = None, seeds: dict[str, int | None] | None = None
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
        baseline: arm that every other is compared with; None: every pair.
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
        results = _numbers(rows, baseline)
        _write_scores(rows, path.parent / "scores")
    results["origin"] = origin
    write_whole(path, json.dumps(results, indent=2))
    return results


def _numbers(rows: dict[str, list[Prediction]], baseline: str | None) -> dict[str, Any]:
    """Scores of each arm, their comparison, and the numbers of a benchmark."""
    group_by, cluster_by = breakdown(list(rows.values()))
    arms = {
        name: summarise(predictions, group_by=group_by, cluster_by=cluster_by, scorer=score).to_dict()
        for name, predictions in rows.items()
    }
    comparison = None
    if len(rows) > 1:
        comparison = compare(rows, baseline=baseline, group_by=group_by, cluster_by=cluster_by, scorer=score).to_dict()
    benchmark = {
        name: {result[0]: result[1].to_dict()}
        for name, predictions in rows.items()
        if (result := benchmark_scores(predictions)) is not None
    }
    return {"arms": arms, "comparison": comparison, "benchmark": benchmark or None}


def _write_scores(rows: dict[str, list[Prediction]], folder: Path) -> None:
    for name, predictions in rows.items():
        lines = [json.dumps(asdict(score(row))) + "\n" for row in predictions]
        write_whole(folder / f"{name}.jsonl", "".join(lines))


def _write_submissions(rows: dict[str, list[Prediction]], folder: Path) -> dict[str, str]:
    """Write the replies of each arm in the format of BLINK's evaluation server; return the files."""
    written = {}
    for name, predictions in rows.items():
        write_whole(folder / f"{name}.json", json.dumps(blink.submission(predictions), indent=1))
        written[name] = str(folder / f"{name}.json")
    return written


def breakdown(runs: Sequence[Sequence[Prediction]]) -> tuple[tuple[str, ...], str | None]:
    """Choose the fields to group by and to cluster by, for `summarise`, among those that every row has.

    Questions of several kinds need a number each, and several questions about one scene (`index`) are dependent.
    """
    rows = [row for run in runs for row in run]
    kind = kind_field(rows)
    repeats = all("index" in row.fields for row in rows) and any(
        len({row.fields["index"] for row in run}) < len(run) for run in runs
    )
    return () if kind is None else (kind,), "index" if repeats else None
