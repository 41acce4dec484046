"""An evaluation: from its settings to predictions, scores and a comparison of its arms."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from theworld.config import EvaluationConfig
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.comparison import compare
from theworld.evaluation.generation import Answerer, FeatureReader, answer_all
from theworld.evaluation.predictions import PredictionWriter, RunIdentity, read_predictions
from theworld.evaluation.summary import summarise
from theworld.files import fingerprint, fingerprint_weights, write_whole
from theworld.modeling import TheWorld
from theworld.sources import open_samples
from theworld.world.reading import open_stored

LIBRARIES = ("torch", "transformers", "diffusers", "theworld")


def evaluate(config: EvaluationConfig) -> dict[str, Any]:
    """Answer, score and compare; started again, it goes on where it stopped.

        output_dir/
          predictions/ARM.jsonl   a row per item, and ARM.run.json: which run they belong to
          results.json            scores and intervals of every arm, and their paired differences

    Returns:
        What results.json holds.
    """
    samples = open_samples(config.data, config.data.validation_split, config.data.num_validation)
    files: dict[str, Path] = {}
    for arm in config.arms:
        model = TheWorld.from_pretrained(config.checkpoint, enable_world=arm == "world")
        stored = open_stored(model.tap, config.store_dir) if config.store_dir and arm == "world" else None
        for steps in config.num_world_steps if arm == "world" else (0,):
            name = f"{arm}-K{steps}" if arm == "world" and len(config.num_world_steps) > 1 else arm
            files[name] = config.output_dir / "predictions" / f"{name}.jsonl"
            identity = identify(model, [config.data, config.max_new_tokens, config.answers, arm, steps])
            predict(
                model,
                blind(samples) if arm == "blind" else samples,
                files[name],
                identity,
                title=name,
                batch_size=config.batch_size,
                num_world_steps=steps,
                max_new_tokens=config.max_new_tokens,
                score_choices=config.answers == "weighed",
                read_features=None if stored is None else stored.read,
            )
    return report(files, config.output_dir / "results.json")


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
    """Answer the samples that a file of predictions does not hold yet."""
    answerer = Answerer(
        model,
        num_world_steps=num_world_steps,
        max_new_tokens=max_new_tokens,
        score_choices=score_choices,
        read_features=read_features,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with PredictionWriter(path, identity) as writer:
        answer_all(answerer, samples, writer, batch_size, title)


def identify(model: TheWorld, settings: Any) -> RunIdentity:
    """Which run predictions belong to: the model, its world, and the settings given."""
    folder = Path(str(model.config.name_or_path))
    config = model.config
    weights = fingerprint_weights(folder) if folder.is_dir() else str(config.base_revision)
    return RunIdentity(
        settings_hash=fingerprint(TypeAdapter(Any).dump_python(settings, mode="json")),
        checkpoint=f"{config.base_model_name} {weights}",
        tap_fingerprint=config.world_fingerprint if config.enable_world else None,
        versions={name: version(name) for name in LIBRARIES},
    )


def blind(samples: Samples) -> list[Sample]:
    """The same questions without their pictures: what the wording alone gives away."""
    return [replace(samples[index], images=(), clips=None, future=None) for index in range(len(samples))]


def report(files: dict[str, Path], path: Path, baseline: str | None = None) -> dict[str, Any]:
    """Score files of predictions, compare them if there are several, and write both down."""
    rows = {name: read_predictions(file) for name, file in files.items()}
    arms = {name: summarise(predictions).to_dict() for name, predictions in rows.items()}
    comparison = None
    if len(files) > 1:
        comparison = compare(rows, baseline=baseline).to_dict()
    results = {"arms": arms, "comparison": comparison}
    write_whole(path, json.dumps(results, indent=2))
    return results
