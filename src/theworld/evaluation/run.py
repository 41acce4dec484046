"""An evaluation: from its settings to predictions, scores and a comparison of its arms."""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from theworld.config import ArmName, EvaluationConfig
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.claims import claim_folder
from theworld.evaluation.comparison import compare
from theworld.evaluation.generation import Answerer, FeatureReader, answer_all
from theworld.evaluation.predictions import Prediction, PredictionWriter, RunIdentity, read_predictions
from theworld.evaluation.summary import summarise
from theworld.files import fingerprint, fingerprint_weights, write_whole
from theworld.modeling import TheWorld
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.loading import fetch_checkpoint, is_checkpoint, load_settings, saved_folder
from theworld.modeling.opening import on_this_machine
from theworld.sources import open_samples
from theworld.world.reading import open_stored

LIBRARIES = ("torch", "transformers", "diffusers", "theworld")


def evaluate(config: EvaluationConfig) -> dict[str, Any]:
    """Answer, score and compare; started again, it goes on where it stopped.

        output_dir/
          config.json             resolved settings
          environment.json        versions, commit, machine
          predictions/ARM.jsonl   a row per item, and ARM.run.json: which run they belong to; the arm `world` at
                                  several K is `world-K0`, `world-K4`, ...
          results.json            scores and intervals of every arm, and their paired differences

    Returns:
        What results.json holds.

    Raises:
        ValueError: for a folder that holds something else, or an arm in which no item could be answered.
        StoreError: if the feature store is damaged, belongs to another tap, or cannot be written.
    """
    saved = saved_config(config.checkpoint)
    claim_folder(config)
    files: dict[str, Path] = {}
    for arm in config.arms:
        files |= _answer(config, arm, saved)
    return report(files, config.output_dir / "results.json")


def _answer(config: EvaluationConfig, arm: ArmName, saved: TheWorldConfig) -> dict[str, Path]:
    """Let an arm answer; its files of predictions by name."""
    model = _open_arm(config.checkpoint, arm, saved)
    data = config.data
    with_future = arm == "world" and model.config.world_settings().sees_future
    samples = open_samples(data, data.validation_split, data.num_validation, with_future)
    stored = open_stored(model.tap, config.store_dir) if config.store_dir and arm == "world" else None
    own = model.config.num_world_steps
    files: dict[str, Path] = {}
    for steps in (config.num_world_steps or (own,)) if arm == "world" else (0,):
        name = f"{arm}-K{steps}" if arm == "world" and len(config.num_world_steps or ()) > 1 else arm
        files[name] = config.output_dir / "predictions" / f"{name}.jsonl"
        predict(
            model,
            blind(samples) if arm == "blind" else samples,
            files[name],
            identify(model, [data, config.max_new_tokens, config.answers, arm, steps]),
            title=name,
            batch_size=config.batch_size,
            num_world_steps=steps,
            max_new_tokens=config.max_new_tokens,
            score_choices=config.answers == "weighed",
            read_features=None if stored is None else stored.read,
        )
    return files


def _open_arm(checkpoint: Path, arm: ArmName, saved: TheWorldConfig) -> TheWorld:
    if arm == "gemma":
        options: dict[str, Any] = {} if saved.dtype is None else {"dtype": saved.dtype}  # as precise as the others
        base, revision = saved.base_model_name, saved.base_revision
        return TheWorld.from_pretrained(base, revision=revision, enable_world=False, **options, **on_this_machine())
    if arm == "world" and not saved.enable_world:
        raise ValueError(f"{checkpoint} was trained without a world: its arm is 'world-off'")
    return TheWorld.from_pretrained(checkpoint, enable_world=arm == "world", **on_this_machine())


def saved_config(checkpoint: Path) -> TheWorldConfig:
    """The configuration of a saved TheWorld, without its weights.

    Raises:
        ValueError: for a model that is no TheWorld, or whose base is another one by now.
        OSError: for a folder that does not exist or holds no model.
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
    """Answer the samples that a file of predictions does not hold yet.

    Raises:
        ValueError: if the file then holds rows of other samples, or no sample could be answered.
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
            f"{path} holds {len(foreign)} rows of samples that were not asked now (the first: {foreign[0]!r}): it was"
            " made on other data; choose another output_dir, or remove the file and its .run.json"
        )
    if rows and all(row.error is not None for row in rows):
        raise ValueError(f"{path}: none of {len(rows)} items could be answered; the first error: {rows[0].error}")


def identify(model: TheWorld, given: Any) -> RunIdentity:
    """Which run predictions belong to: the model, its world, and the settings given."""
    folder = Path(str(model.config.name_or_path))
    config = model.config
    weights = fingerprint_weights(folder) if folder.is_dir() else str(config.base_revision)
    return RunIdentity(
        settings_hash=fingerprint(TypeAdapter(Any).dump_python(given, mode="json")),
        checkpoint=f"{config.base_model_name} {weights}",
        tap_fingerprint=config.world_fingerprint if config.enable_world else None,
        versions={name: version(name) for name in LIBRARIES},
    )


def blind(samples: Samples) -> list[Sample]:
    """The same questions without their pictures: what the wording alone gives away."""
    return [replace(samples[index], images=(), clips=None, future=None) for index in range(len(samples))]


def report(files: dict[str, Path], path: Path, baseline: str | None = None) -> dict[str, Any]:
    """Score files of predictions, by kind of question too, compare them if there are several, and write it down."""
    rows = {name: read_predictions(file) for name, file in files.items()}
    group_by, cluster_by = breakdown(list(rows.values()))
    arms = {
        name: summarise(predictions, group_by=group_by, cluster_by=cluster_by).to_dict()
        for name, predictions in rows.items()
    }
    comparison = None
    if len(files) > 1:
        comparison = compare(rows, baseline=baseline, group_by=group_by, cluster_by=cluster_by).to_dict()
    results = {"arms": arms, "comparison": comparison}
    write_whole(path, json.dumps(results, indent=2))
    return results


def breakdown(runs: Sequence[Sequence[Prediction]]) -> tuple[tuple[str, ...], str | None]:
    """Fields to group and to cluster by, as `summarise` takes them, so far as every row has them.

    Questions of another kind are never told by one number alone, and several questions about one scene (`index`) are
    not independent.
    """
    common = set.intersection(*({*row.fields} for run in runs for row in run))
    repeats = "index" in common and any(len({row.fields["index"] for row in run}) < len(run) for run in runs)
    return ("kind",) if "kind" in common else (), "index" if repeats else None
