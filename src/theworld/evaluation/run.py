"""Evaluation: from settings to predictions, scores and a comparison of arms."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from theworld.config import ArmName, EvaluationConfig, ForesightData, loader
from theworld.config.renamed import former_word
from theworld.config.thresholds import threshold_of
from theworld.config.world import OWN_TAPS, check_world_steps
from theworld.datasets.custom import given
from theworld.datasets.factory import open_items
from theworld.datasets.foresight.scene import FRAME_RATE_HZ
from theworld.datasets.sample import Sample, Samples
from theworld.environment import describe_environment
from theworld.evaluation.answerers import FuturesAnswerer, GatedAnswerer
from theworld.evaluation.baselines import Baseline, BaselineAnswerer
from theworld.evaluation.benchmarks.dispatch import true_answer
from theworld.evaluation.collection import collect, joined_processes
from theworld.evaluation.conditions import (
    READS_WORLD,
    Respondent,
    answering_formats,
    blind,
    frequent_answers,
    open_respondent,
)
from theworld.evaluation.generation import Answerer, BatchAnswerer, FeatureReader, row_of
from theworld.evaluation.predictions import (
    Prediction,
    PredictionWriter,
    RunIdentity,
    check_known,
    check_run,
    file_stem,
    identity_path,
    parts_of,
    read_identity,
)
from theworld.evaluation.results_file import EQUAL_IF_FROZEN, pairs_of, report
from theworld.evaluation.run_identity import hash_of, identify, library_versions, names_of, settings_hash, settings_of
from theworld.evaluation.shown_items import write_futures, write_items
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.modeling import TheWorld
from theworld.modeling.bases import GEMMA3, is_saved
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import describe_saved
from theworld.modeling.loading import configure, fetch_checkpoint, load_settings
from theworld.modeling.names import find, is_checkpoint, kind_of
from theworld.precision import name_of
from theworld.world.loading import denoises


def evaluate(config: EvaluationConfig, samples: Any = None) -> dict[str, Any]:
    """Answer, score and compare; a restarted evaluation continues at the point where it stopped.

    Under a launcher of several processes each answers its share of the items; the files are those of one process.

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
    name = find(config.checkpoint)
    kind = kind_of(name)
    results = config.output_dir / "results.json"
    process = joined_processes()
    if kind != GEMMA3.kind and not is_saved(kind):
        with in_use(config.output_dir, is_first=process.is_main_process):
            return _reported(_ask_baseline(config, name, kind), results)
    arms: Sequence[ArmName] = config.arms or (("gemma",) if kind == GEMMA3.kind else ("world",))
    steps = config.num_world_steps if READS_WORLD & {*arms} else None
    saved = saved_config(config.checkpoint, max(steps or (0,)), config.num_inference_steps)
    _check_arms(config, arms, saved, kind)
    if "auto" in arms and saved.enable_world:
        config = replace(config, auto_threshold=threshold_of(saved.auto_threshold, config.auto_threshold))
    formats = common_formats(saved, config.dtype, config.store_dir)
    _check_before_loading(config, arms, saved, formats["weights"])
    process.wait_for_everyone()  # nobody writes before every process has looked
    with in_use(config.output_dir, is_first=process.is_main_process):
        _describe(config, formats)
        files: dict[str, Path] = {}
        data = _Data(config, saved)
        for arm in arms:
            files |= _answer(config, arm, saved, formats, data)
        _show_items(config, saved, data)
        return _reported(
            files,
            results,
            pairs=pairs_of(list(files)),
            equal=() if _trains_gemma(saved) else EQUAL_IF_FROZEN,
            seeds={"world": saved.world_settings().seed if saved.enable_world else None},
        )


def common_formats(saved: WorldFields, dtype: str, store_dir: Path | None) -> dict[str, str]:
    """Return the `answering_formats` of the main process: machines differ, and the rows of one file must not."""
    formats = answering_formats(saved, dtype, store_dir)
    if joined_processes().num_processes > 1:
        (formats,) = broadcast_object_list([formats])
    return formats


def _reported(files: dict[str, Path], results: Path, **options: Any) -> dict[str, Any]:
    """Write the results, and return them; of several processes the first writes."""
    process = joined_processes()
    values = report(files, results, **options) if process.is_main_process else None
    process.wait_for_everyone()
    return json.loads(results.read_text()) if values is None else values


def _check_before_loading(config: EvaluationConfig, arms: Sequence[ArmName], saved: WorldFields, dtype: str) -> None:
    """Refuse impossible settings, and predictions of another run, before anything is written or loaded.

    Raises:
        ValueError: for an arm or a K that the checkpoint cannot serve, or a file of predictions of other settings,
            weights, number formats or libraries.
    """
    read = [arm for arm in arms if arm in READS_WORLD]
    if read and not saved.enable_world:
        raise ValueError(
            f"{config.checkpoint} was trained without a world: its arm is 'no-world-tokens', not {read[0]!r}"
        )
    for steps in (config.num_world_steps or ()) if read else ():
        check_world_steps(steps, saved.max_world_steps)
        world = saved.world_settings()
        world.num_slots(world.num_frames(1, steps), steps)
    checkpoint = find(config.checkpoint)
    own = {"checkpoint": describe_saved(saved, fetch_checkpoint(checkpoint))} if is_checkpoint(checkpoint) else {}
    for arm in arms:
        for name, steps in names_of(config, arm, saved):
            path = config.output_dir / "predictions" / f"{name}.jsonl"
            for file in (path, *parts_of(path)):
                _check_settings(file, hash_of(config, arm, steps))
            of_model = {} if arm == "majority" else {"dtype": dtype, **(own if arm != "gemma" else {})}
            check_known(path, versions=library_versions(), **of_model)


def _check_settings(path: Path, settings_hash: str) -> None:
    """Refuse a file of predictions of other settings, or of an unknown run."""
    if identity_path(path).exists() and read_identity(path).settings_hash != settings_hash:
        raise ValueError(
            f"{path} belongs to another run: it was made with other settings; choose another output_dir, or remove"
            f" {path.name} and {identity_path(path).name}"
        )
    if path.exists() and path.stat().st_size and not identity_path(path).exists():
        raise ValueError(
            f"{path} holds predictions, but no {identity_path(path).name} says of which run; choose another output_dir"
        )


def _check_arms(config: EvaluationConfig, arms: Sequence[ArmName], saved: WorldFields, kind: str | None) -> None:
    """Refuse arms that the model does not have, and every K that its tap cannot serve, before the first question."""
    if kind == GEMMA3.kind and (other := [arm for arm in arms if arm not in ("gemma", "blind", "majority")]):
        raise ValueError(
            f"{config.checkpoint} is a Gemma 3 without a world: its arms are gemma, blind and majority, not"
            f" {', '.join(other)}"
        )
    if saved.enable_world and READS_WORLD & {*arms}:
        world = saved.world_settings()
        for steps in config.num_world_steps or ():
            world.num_slots(world.num_frames(1, steps), steps)


def _describe(config: EvaluationConfig, formats: dict[str, str]) -> None:
    if not joined_processes().is_main_process:
        return
    loader.save_over_earlier(config, config.output_dir / "config.json")
    write_whole(config.output_dir / "environment.json", describe_environment(number_formats=formats))


def _ask_baseline(config: EvaluationConfig, name: str, kind: str | None) -> dict[str, Path]:
    """Answer the questions with a model that is no TheWorld; return the files of predictions by arm."""
    beside = config.arms or ()
    if other := [arm for arm in beside if arm not in ("blind", "majority")]:
        raise ValueError(f"{name} is no TheWorld: the arms blind and majority may go with it, not {', '.join(other)}")
    if config.num_world_steps or config.num_inference_steps or config.store_dir:
        raise ValueError(f"{name} is no TheWorld: it takes no num_world_steps, num_inference_steps or store_dir")
    data, folder = config.data, config.output_dir / "predictions"
    samples = open_items(data, data.num_validation)
    baseline = Baseline(name, kind, config.dtype)
    score_choices = config.answers == "loglikelihood"
    answerer = BaselineAnswerer(baseline, max_new_tokens=config.max_new_tokens, score_choices=score_choices)
    dtype = name_of(baseline.model.dtype)
    files = {arm: folder / f"{file_stem(arm)}.jsonl" for arm in (baseline.name, *beside)}
    settings = [data, config.max_new_tokens, former_word("answers", config.answers)]
    identities = {
        arm: RunIdentity(
            settings_hash=settings_hash([*settings, arm]),
            checkpoint=baseline.weights,
            dtype=dtype,
            versions=library_versions(),
        )
        for arm in files
        if arm != "majority"
    }
    for arm, identity in identities.items():  # first: the settings of another run stay as they are
        check_run(files[arm], identity)
    _describe(config, {"weights": dtype})
    for arm, path in files.items():
        if arm == "majority":
            _answer_by_majority(samples, path, data)
            continue
        asked = blind(samples) if arm == "blind" else samples
        collect(answerer, asked, path, identities[arm], title=arm, batch_size=config.batch_size)
    return files


class _Data:
    """The questions of an evaluation, opened once for all arms; once more if only some need the true futures."""

    def __init__(self, config: EvaluationConfig, saved: WorldFields) -> None:
        self._config, self._saved = config, saved
        self._opened: dict[bool, Samples] = {}

    def open(self, with_future: bool) -> Samples:
        """Return the questions, with the true futures if asked."""
        if with_future not in self._opened:
            data = self._config.data
            self._opened[with_future] = open_items(data, data.num_validation, with_future, self._saved.clip_rule)
        return self._opened[with_future]


def _answer(
    config: EvaluationConfig, arm: ArmName, saved: WorldFields, formats: dict[str, str], data: _Data
) -> dict[str, Path]:
    """Answer the questions in an arm; return its files of predictions by name."""
    folder = config.output_dir / "predictions"
    reads = arm in READS_WORLD
    with_future = reads and saved.enable_world and saved.world_settings().sees_future
    # Before the model loads, since it may fail.
    samples = data.open(with_future)
    if arm == "majority":
        return {arm: _answer_by_majority(samples, folder / f"{arm}.jsonl", config.data)}
    respondent = open_respondent(config.checkpoint, arm, saved, formats, config.store_dir)
    model = respondent.model
    files: dict[str, Path] = {}
    for name, steps in names_of(config, arm, model.config):
        files[name] = folder / f"{name}.jsonl"
        identity = identify(model, settings_of(config, arm, steps))
        if respondent.tap_fingerprint is not None:
            identity = replace(identity, tap_fingerprint=respondent.tap_fingerprint)
        answerer = _answerer_of(config, arm, respondent, steps)
        asked = blind(samples) if arm == "blind" else samples
        collect(answerer, asked, files[name], identity, title=name, batch_size=config.batch_size)
        if arm == "world" and model.config.enable_world and joined_processes().is_main_process:
            write_futures(model, samples, config.output_dir, steps, respondent.read_features)
    return files


def _answerer_of(config: EvaluationConfig, arm: ArmName, respondent: Respondent, steps: int) -> BatchAnswerer:
    """Return what answers in an arm: once, about several futures, or with the world only where it is needed."""
    options: dict[str, Any] = {
        "num_world_steps": steps,
        "max_new_tokens": config.max_new_tokens,
        "score_choices": config.answers == "loglikelihood",
        "read_features": respondent.read_features,
    }
    if arm == "auto":
        assert config.auto_threshold is not None
        return GatedAnswerer(respondent.model, config.auto_threshold, **options)
    if arm == "world" and config.num_futures > 1:
        return FuturesAnswerer(respondent.model, config.num_futures, **options)
    is_gated = {"world", "no-world-tokens"} <= {*(config.arms or ())}  # results.json then has the curve of a gate
    first_token = is_gated and arm == "no-world-tokens" and not options["score_choices"]
    return Answerer(respondent.model, first_token=first_token, **options)


def _show_items(config: EvaluationConfig, saved: WorldFields, data: _Data) -> None:
    """Write the pictures of some items; those of Foresight with what really followed."""
    if not joined_processes().is_main_process:
        return
    simulated = isinstance(config.data, ForesightData)
    samples = data.open(simulated)
    rate_hz = FRAME_RATE_HZ if simulated else saved.world_settings().frame_rate_hz if saved.enable_world else 1.0
    write_items(samples, config.output_dir, rate_hz)


def _trains_gemma(saved: WorldFields) -> bool:
    """Return True if a part of Gemma was trained."""
    return not {*(saved.trained_parts or ())} <= {"world", "cosmos_vae"}


def _answer_by_majority(samples: Samples, path: Path, data: Any) -> Path:
    """Reply to each question with the most frequent true answer of its kind; of several processes the first does."""
    process = joined_processes()
    if process.is_main_process:
        _write_majority(samples, path, data)
    process.wait_for_everyone()
    return path


def _write_majority(samples: Samples, path: Path, data: Any) -> None:
    # only the number of pictures counts: those of all videos would not fit in memory
    questions = [
        replace(item, images=(item.id,) * len(item.images), clips=None, future=None) for item in _each(samples)
    ]
    name = "majority"
    identity = RunIdentity(settings_hash=settings_hash([data, name]), checkpoint=name, versions=library_versions())
    path.parent.mkdir(parents=True, exist_ok=True)
    with PredictionWriter(path, identity) as writer:
        done = writer.done()
        rows = [
            Prediction(**row_of(sample, prediction=answer))
            for sample, answer in zip(questions, frequent_answers(questions, true_answer), strict=True)
        ]
        writer.append(row for row in rows if row.sample_id not in done)


def _each(samples: Samples) -> Iterator[Sample]:
    return (samples[index] for index in range(len(samples)))


def saved_config(
    checkpoint: str | Path, most_world_steps: int = 0, num_inference_steps: int | None = None
) -> WorldFields:
    """Load the configuration of a saved TheWorld, or of a Gemma 3 without a world; no weights load.

    Args:
        checkpoint: folder or hub id.
        most_world_steps: the largest K to ask for, which may need another tap.
        num_inference_steps: denoising steps per imagined future; None: those of the checkpoint.

    Raises:
        ValueError: for another kind of model, a base model that has changed, or a K that it cannot serve.
        OSError: for a folder that does not exist or has no model.
    """
    name = find(checkpoint)
    if not is_checkpoint(name):
        return configure(name, {"enable_world": False})
    folder = fetch_checkpoint(name)
    saved = load_settings(folder, {})
    changed = {"num_world_steps": most_world_steps} if most_world_steps else {}
    if num_inference_steps is not None:
        changed["num_inference_steps"] = num_inference_steps
    if not changed or not saved.enable_world:
        return saved
    result = load_settings(folder, changed)
    world = result.world_settings()
    if num_inference_steps is not None and world.shape_of not in ("rollout", *OWN_TAPS) and not denoises(world):
        raise ValueError(
            f"num_inference_steps={num_inference_steps}: the tap {world.tap!r} of {checkpoint} denoises nothing;"
            " expected 'rollout', or 'dit' with dit_future='denoised': drop the setting"
        )
    return result


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
    collect(answerer, samples, path, identity, title=title, batch_size=batch_size)
