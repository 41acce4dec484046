"""Evaluation: from settings to predictions, scores and a comparison of arms."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from theworld.config import ArmName, EvaluationConfig, ForesightData, loader
from theworld.config.base import Variants
from theworld.config.renamed import former_word
from theworld.config.world import check_world_steps
from theworld.datasets.custom import given
from theworld.datasets.factory import open_items
from theworld.datasets.foresight.scene import FRAME_RATE_HZ
from theworld.datasets.sample import Samples
from theworld.environment import commit, describe_environment
from theworld.evaluation.benchmarks import blink
from theworld.evaluation.benchmarks.dispatch import benchmark_scores, score, true_answer
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
    identity_path,
    read_identity,
    read_predictions,
)
from theworld.evaluation.question_kinds import kind_field, kinds_of_rows
from theworld.evaluation.shown_items import write_futures, write_items
from theworld.evaluation.summary import summarise
from theworld.io import fingerprint, write_whole
from theworld.locks import in_use
from theworld.modeling import TheWorld
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.factory import describe_weights
from theworld.modeling.loading import fetch_checkpoint, is_checkpoint, load_settings, saved_folder
from theworld.precision import name_of

LIBRARIES = ("torch", "transformers", "diffusers", "theworld")

EQUAL_IF_FROZEN: Final = (("gemma", "no-world-tokens"),)
"""Arms that are one model if nothing of Gemma was trained."""


def evaluate(config: EvaluationConfig, samples: Any = None) -> dict[str, Any]:
    """Answer, score and compare; a restarted evaluation continues at the point where it stopped.

        output_dir/
          config.json             resolved settings
          environment.json        versions, commit, machine
          predictions/ARM.jsonl   a row per item, and ARM.run.json, the identity of the run; the arm `world` at
                                  several K is `world-K0`, `world-K4`, ...
          scores/ARM.jsonl        reading and score of each reply
          items/NN/               pictures and futures of twelve items, for the report
          results.json            scores and intervals of every arm, paired differences, a benchmark's own numbers;
                                  and their origin: commit, model, tap, versions, seed
          submissions/ARM.json    instead of scores, if the answers are withheld (the test split of BLINK)

    Args:
        config: settings of the evaluation.
        samples: questions of your own instead of `config.data`: `Samples`, or a list of records of image, text, label.

    Returns:
        The content of results.json.

    Raises:
        ValueError: for a folder of another run or one in use, or an arm without a single answered item.
        StoreError: if the feature store is damaged, belongs to another tap, or is not writable.
    """
    if samples is not None:
        config = replace(config, data=given(config.data, samples, validates=True))
    saved = saved_config(config.checkpoint)
    formats = answering_formats(saved, config.dtype, config.store_dir)
    _check_before_loading(config, saved)
    with in_use(config.output_dir):
        loader.save_over_earlier(config, config.output_dir / "config.json")
        write_whole(config.output_dir / "environment.json", describe_environment(number_formats=formats))
        files: dict[str, Path] = {}
        for arm in config.arms:
            files |= _answer(config, arm, saved, formats)
        _show_items(config, saved)
        return report(
            files,
            config.output_dir / "results.json",
            pairs=pairs_of(list(files)),
            equal=() if _trains_gemma(saved) else EQUAL_IF_FROZEN,
            seeds={"world": saved.world_settings().seed if saved.enable_world else None},
        )


def _check_before_loading(config: EvaluationConfig, saved: TheWorldConfig) -> None:
    """Refuse impossible settings, and predictions of another run, before anything is written or loaded.

    Raises:
        ValueError: for an arm or a K that the checkpoint cannot serve, or a file of predictions of other settings.
    """
    read = [arm for arm in config.arms if arm in READS_WORLD]
    if read and not saved.enable_world:
        raise ValueError(
            f"{config.checkpoint} was trained without a world: its arm is 'no-world-tokens', not {read[0]!r}"
        )
    for steps in (config.num_world_steps or ()) if read else ():
        check_world_steps(steps, saved.max_world_steps)
        world = saved.world_settings()
        world.num_slots(world.num_frames(1, steps), steps)
    for arm in config.arms:
        for name, steps in _names(config, arm, saved):
            path = config.output_dir / "predictions" / f"{name}.jsonl"
            if identity_path(path).exists() and read_identity(path).settings_hash != _hash_of(config, arm, steps):
                raise ValueError(
                    f"{path} belongs to another run: it was made with other settings; choose another output_dir, or"
                    f" remove it and {identity_path(path).name}"
                )
            if path.exists() and path.stat().st_size and not identity_path(path).exists():
                raise ValueError(
                    f"{path} holds predictions, but no {identity_path(path).name} says of which run; choose another"
                    " output_dir"
                )


def _names(config: EvaluationConfig, arm: ArmName, saved: TheWorldConfig) -> list[tuple[str, int]]:
    """The files of predictions of an arm, without suffix, and the K of each."""
    if arm not in READS_WORLD:
        return [(arm, 0)]
    steps = config.num_world_steps or (saved.num_world_steps,)
    return [(f"{arm}-K{number}" if len(steps) > 1 else arm, number) for number in steps]


def _hash_of(config: EvaluationConfig, arm: ArmName, steps: int) -> str:
    """The hash of the settings that the predictions of an arm depend on."""
    if arm == "majority":
        return _settings_hash([config.data, arm])
    return _settings_hash([config.data, config.max_new_tokens, former_word("answers", config.answers), arm, steps])


def _answer(config: EvaluationConfig, arm: ArmName, saved: TheWorldConfig, formats: dict[str, str]) -> dict[str, Path]:
    """Answer the questions in an arm; return its files of predictions by name."""
    data = config.data
    folder = config.output_dir / "predictions"
    reads = arm in READS_WORLD
    with_future = reads and saved.enable_world and saved.world_settings().sees_future
    # Before the model loads, since it may fail.
    samples = open_items(data, data.num_validation, with_future)
    if arm == "majority":
        return {arm: _answer_by_majority(samples, folder / f"{arm}.jsonl", data)}
    respondent = open_respondent(config.checkpoint, arm, saved, formats, config.store_dir)
    model = respondent.model
    files: dict[str, Path] = {}
    for name, steps in _names(config, arm, model.config):
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
        if arm == "world" and model.config.enable_world:
            write_futures(model, samples, config.output_dir, steps, respondent.read_features)
    return files


def _show_items(config: EvaluationConfig, saved: TheWorldConfig) -> None:
    """Write the pictures of some items; those of Foresight with what really followed."""
    data = config.data
    simulated = isinstance(data, ForesightData)
    samples = open_items(data, data.num_validation, with_future=simulated)
    rate_hz = FRAME_RATE_HZ if simulated else saved.world_settings().frame_rate_hz if saved.enable_world else 1.0
    write_items(samples, config.output_dir, rate_hz)


def _trains_gemma(saved: TheWorldConfig) -> bool:
    """Return True if a part of Gemma was trained."""
    return not {*(saved.trained_parts or ())} <= {"world", "cosmos_vae"}


def pairs_of(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Choose the pairs of arms that matter: the world's arms (at every K) against every other, and each other.

    Without an arm that reads the trained world the first arm takes its place. The same model without its world comes
    first, then plain Gemma.
    """
    world = [name for name in arms if name == "world" or name.startswith("world-K")] or list(arms[:1])
    others = sorted({*arms} - {*world}, key=lambda name: (name != "no-world-tokens", name != "gemma", arms.index(name)))
    pairs = [(other, name) for name in world for other in others]
    return pairs + list(itertools.combinations(world, 2))


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


def _settings_hash(settings: Sequence[Any]) -> str:
    parts = [_as_hashed(part) if isinstance(part, Variants) else part for part in settings]
    return fingerprint(TypeAdapter(Any).dump_python(parts, mode="json"))


def _as_hashed(settings: Variants) -> dict[str, Any]:
    """Return settings as earlier versions had them: predictions made with those continue."""
    fields = settings.with_idle()
    return {**fields, "questions": former_word("questions", fields["questions"])} if "questions" in fields else fields


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


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

    Questions of several kinds need a number each, or else several tasks do; without kinds, questions that repeat.
    Several questions about one scene (`index`) or picture (`image`) are dependent.
    """
    rows = [row for run in runs for row in run]
    kind = kind_field(rows)
    if kind is not None and len({row.fields[kind] for row in rows}) == 1 and all("task" in row.fields for row in rows):
        kind = "task"
    if kind is None and len({*kinds_of_rows(rows)}) in range(2, _MOST_QUESTIONS + 1):
        kind = "question"
    cluster = next((name for name in ("index", "image") if _repeats(runs, name)), None)
    return () if kind is None else (kind,), cluster


_MOST_QUESTIONS = 20
"""Longest table by question."""


def _repeats(runs: Sequence[Sequence[Prediction]], name: str) -> bool:
    """Return whether every row has a field, and several rows of a run share a value of it."""
    has_it = all(name in row.fields for run in runs for row in run)
    return has_it and any(len({row.fields[name] for row in run}) < len(run) for run in runs)
