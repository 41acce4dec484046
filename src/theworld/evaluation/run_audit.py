"""Audit of a trained checkpoint: the same questions with real and with replaced world features."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from theworld.config import AuditSettings, ForesightData, loader
from theworld.config.evaluation import DEFAULT_CONDITIONS, ConditionName
from theworld.datasets.factory import open_items
from theworld.datasets.sample import Sample, Samples
from theworld.environment import describe_environment
from theworld.evaluation.audit import Audit, audit_verdict
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.collection import collect, joined_processes
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.partners import Paired, paired
from theworld.evaluation.predictions import Prediction, check_run, read_predictions
from theworld.evaluation.replaced_answers import ReplacingAnswerer, blanked, proof_of, unavailable
from theworld.evaluation.replacements import Replacements, digest, moments_of
from theworld.evaluation.run import common_formats, saved_config
from theworld.evaluation.run_identity import identify, settings_hash
from theworld.evaluation.true_future import TrueFuture
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.modeling import TheWorld
from theworld.modeling.bases import is_saved
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import describe_weights, on_this_machine
from theworld.modeling.names import find, kind_of
from theworld.world.cached import open_stored


def audit(settings: AuditSettings) -> dict[str, Any]:
    """Answer the questions under every condition and decide if the model uses its world features.

    The conditions are those of `config.evaluation.ConditionName`. Under a launcher of several processes the first one
    computes the features, each answers its share of the items, and the files are those of one process.

        output_dir/
          config.json, environment.json
          predictions/CONDITION.jsonl
          audit.json

    Returns:
        The verdict, its line, and the drop under each condition.

    Raises:
        ValueError: for a model without a world, for questions of several kinds or without partners, or if no question
            could be answered.
    """
    name = find(settings.checkpoint)
    if not is_saved(kind := kind_of(name)):
        raise ValueError(f"{name}: a model of type {kind!r}; it has no world to audit: expected a saved TheWorld")
    saved = saved_config(name)
    if not saved.enable_world:
        raise ValueError(f"{settings.checkpoint} was trained with enable_world=False: there is no world to audit")
    with in_use(settings.output_dir, is_first=joined_processes().is_main_process):
        return _audit(settings, name, saved)


def _audit(settings: AuditSettings, name: str, saved: WorldFields) -> dict[str, Any]:
    folder = settings.store_dir or settings.output_dir / "features"
    formats = common_formats(saved, settings.dtype, folder)
    options = on_this_machine(formats["weights"])
    # Load the model first, so that a damaged checkpoint fails at once.
    model = TheWorld.from_pretrained(name, world_dtype=formats["world"], **options)
    data = settings.data
    with_future = saved.world_settings().sees_future or ("oracle" in settings.asked and isinstance(data, ForesightData))
    dataset = open_items(data, data.num_validation, with_future, saved.clip_rule)
    samples = [dataset[index] for index in range(len(dataset))]
    _check_one_kind(samples)
    scored, identity = settings.answers == "loglikelihood", identify(model, [])
    for condition in settings.asked:  # first: the settings of another run stay as they are
        hashed = settings_hash([data, condition, scored, settings.seed])
        path = settings.output_dir / "predictions" / f"{condition}.jsonl"
        check_run(path, replace(identity, settings_hash=hashed))
    if joined_processes().is_main_process:
        loader.save_over_earlier(settings, settings.output_dir / "config.json")
        write_whole(settings.output_dir / "environment.json", describe_environment(number_formats=formats))
    # A model with a trained VAE has no tap.
    read = model.read_world if model.tap is None else open_stored(model.tap, folder).read
    result = audit_model(
        model,
        samples,
        settings.output_dir,
        read,
        identity_of=data,
        conditions=settings.asked,
        batch_size=settings.batch_size,
        score_choices=scored,
        seed=settings.seed,
    )
    return result.to_dict()


def audit_model(
    model: TheWorld,
    samples: Sequence[Sample],
    folder: Path,
    read: FeatureReader,
    *,
    identity_of: Any,
    conditions: Sequence[ConditionName] = DEFAULT_CONDITIONS,
    batch_size: int = 8,
    score_choices: bool = False,
    seed: int = 0,
) -> Audit:
    """Audit a loaded model on samples with at least one clip each.

    Args:
        read: returns the real features. It is called several times for each clip, so a feature store saves time.
        identity_of: settings that determine the samples; existing predictions for other settings are refused.
        conditions: to answer under, with `real`, `shuffle` and `mean`. Those that this model or these samples cannot
            serve are named in the result, with the reason.
        seed: of the derangement, of the noise and of the shuffles.

    Raises:
        ValueError: as `audit`.
    """
    pairs = paired(samples, seed)
    process = joined_processes()
    with process.main_process_first():  # the others read its features: a clip's last digits depend on its batch
        moments = moments_of(model, pairs.samples, read, batch_size)
    missing = unavailable(model, pairs.samples, moments)
    asked: list[ConditionName] = [condition for condition in conditions if condition not in missing]
    true_future = TrueFuture(model) if "oracle" in asked else None
    rule = Replacements(model, read, pairs.by_id, moments, true_future, seed)
    rows: dict[str, list[Prediction]] = {}
    for condition in asked:
        path = folder / "predictions" / f"{condition}.jsonl"
        options = {"score_choices": score_choices, "first_token": not score_choices}
        collect(
            ReplacingAnswerer(model, condition, rule, pairs.samples, **options),
            _inputs(pairs, condition),
            path,
            identify(model, [identity_of, condition, score_choices, seed]),
            title=f"audit: {condition}",
            batch_size=batch_size,
        )
        rows[condition] = read_predictions(path)
    scores = {condition.replace("-", "_"): [score(row) for row in answered] for condition, answered in rows.items()}
    proofs = {condition: proof_of(condition, rows, pairs) for condition in asked}
    result = audit_verdict(**scores, proofs=proofs)  # pyright: ignore[reportArgumentType]  # by name, as in the rows
    left_out = {condition: reason for condition, reason in missing.items() if condition in conditions}
    result = replace(
        result,
        line=result.line + pairs.notes(),
        num_alone=pairs.num_alone,
        num_mixed=pairs.num_mixed,
        missing=left_out,
    )
    if process.is_main_process:
        _write(result, model, rule.orders(asked), folder / "audit.json")
    process.wait_for_everyone()
    return result


def _write(result: Audit, model: TheWorld, orders: Mapping[str, list[int]], path: Path) -> None:
    """Write the verdict with the weights that it holds for, and the orders of slots and cells that were used."""
    record = {"checkpoint": describe_weights(model), **result.to_dict()}
    used = {name: {"order": order, "sha256": digest(order)} for name, order in orders.items()}
    write_whole(path, json.dumps({**record, "orders": used} if used else record, indent=2))


def _inputs(pairs: Paired, condition: ConditionName) -> Samples:
    """Return the samples as they are asked under a condition."""
    if condition == "shuffle":
        return pairs.shuffled()
    return blanked(pairs.samples) if condition == "blank-picture" else pairs.samples


def shuffle_worlds(samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """Give each sample the clips and the future of a partner of the same kind with another answer.

    Only the input of the world model changes: Gemma still sees the sample's own picture.

    Raises:
        ValueError: for a sample without a partner.
    """
    pairs = paired(samples, seed)
    if pairs.num_alone:
        raise ValueError(f"{len(samples):,} items{pairs.notes()}: choose others")
    return pairs.shuffled()


def _check_one_kind(samples: Sequence[Sample]) -> None:
    kinds = sorted({str(sample.fields.get("kind")) for sample in samples})
    if len(kinds) > 1:
        raise ValueError(
            f"questions of {len(kinds)} kinds ({', '.join(kinds)}): one verdict would mix questions about the picture"
            " with questions about the future; ask one kind, with --data.questions future"
        )
