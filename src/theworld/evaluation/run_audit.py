"""Audit of a trained checkpoint: the same questions with real, shuffled, mean, zero and noise world features."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theworld.config import AuditSettings, loader
from theworld.datasets.factory import open_items
from theworld.datasets.sample import Sample
from theworld.datasets.samplers import batches
from theworld.environment import describe_environment
from theworld.evaluation.audit import Audit, audit_verdict
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.conditions import answering_formats
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.partners import paired
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import identify, predict, saved_config
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.modeling import TheWorld
from theworld.modeling.bases import is_saved
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import describe_weights, on_this_machine
from theworld.modeling.names import find, kind_of
from theworld.world.cached import open_stored
from theworld.world.tap import clip_noise, clip_seeds

CONDITIONS = ("real", "shuffle", "mean", "zero", "noise")


def audit(settings: AuditSettings) -> dict[str, Any]:
    """Answer the questions under every condition and decide if the model uses its world features.

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
    with in_use(settings.output_dir):
        return _audit(settings, name, saved)


def _audit(settings: AuditSettings, name: str, saved: WorldFields) -> dict[str, Any]:
    folder = settings.store_dir or settings.output_dir / "features"
    formats = answering_formats(saved, settings.dtype, folder)
    options = on_this_machine(formats["weights"])
    # Load the model first, so that a damaged checkpoint fails at once.
    model = TheWorld.from_pretrained(name, world_dtype=formats["world"], **options)
    data = settings.data
    dataset = open_items(data, data.num_validation, saved.world_settings().sees_future, saved.clip_rule)
    samples = [dataset[index] for index in range(len(dataset))]
    _check_one_kind(samples)
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
        batch_size=settings.batch_size,
        score_choices=settings.answers == "loglikelihood",
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
    batch_size: int = 8,
    score_choices: bool = False,
    seed: int = 0,
) -> Audit:
    """Audit a loaded model on samples with at least one clip each.

    Args:
        read: returns the real features. It is called several times for each clip, so a feature store saves time.
        identity_of: settings that determine the samples; existing predictions for other settings are refused.
        seed: of the derangement and of the noise.

    Raises:
        ValueError: as `audit`.
    """
    pairs = paired(samples, seed)
    samples, shuffled = pairs.samples, pairs.shuffled()
    readers = {"real": read, "shuffle": read, **_readers(model, samples, read, batch_size, seed)}
    scores = {}
    for condition in CONDITIONS:
        path = folder / "predictions" / f"{condition}.jsonl"
        predict(
            model,
            shuffled if condition == "shuffle" else samples,
            path,
            identify(model, [identity_of, condition, score_choices, seed]),
            title=f"audit: {condition}",
            batch_size=batch_size,
            score_choices=score_choices,
            read_features=readers[condition],
        )
        scores[condition] = [score(row) for row in read_predictions(path)]
    result = audit_verdict(**scores)
    result = replace(result, line=result.line + pairs.notes(), num_alone=pairs.num_alone, num_mixed=pairs.num_mixed)
    record = {"checkpoint": describe_weights(model), **result.to_dict()}  # the verdict holds for these weights only
    write_whole(folder / "audit.json", json.dumps(record, indent=2))
    return result


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


class _Moments:
    """Running mean and standard deviation of features, batch by batch."""

    def __init__(self) -> None:
        self.total, self.squares, self.num_clips = torch.zeros(1), torch.zeros(1), 0

    def add(self, features: Float[Tensor, "N C T h w"]) -> None:
        """Add a batch."""
        features = features.cpu().double()
        self.total = self.total + features.sum(0)
        self.squares = self.squares + features.square().sum((0, 2, 3, 4))[:, None, None, None]
        self.num_clips += len(features)

    def finish(self) -> None:
        """Compute the mean feature, and the mean and standard deviation of each channel over all its cells."""
        count = self.num_clips * self.total[0].numel()
        self.mean = (self.total / self.num_clips).float()
        middle = self.total.sum((1, 2, 3), keepdim=True) / count
        self.spread = ((self.squares - count * middle.square()).clamp(min=0) / max(count - 1, 1)).sqrt().float()
        self.middle = middle.float()


def _readers(
    model: TheWorld, samples: Sequence[Sample], read: FeatureReader, batch_size: int, seed: int
) -> dict[str, FeatureReader]:
    """Make readers for the conditions that need no clip: the mean feature, zeros, and noise of the features' scale.

    Each clip length and each number of world steps has a mean of its own, since the slots are at other times.
    """
    from theworld.datasets.collator import Collator

    collator = Collator(model.processor, supervise=False)
    moments: dict[tuple[int, int], _Moments] = defaultdict(_Moments)
    for group in batches(samples, batch_size):
        batch = collator(group)
        frames, steps = batch["world_pixels"], batch["num_world_steps"]
        moments[frames.shape[1], steps].add(read(frames, steps))
    for moment in moments.values():
        moment.finish()

    def mean(frames: Tensor, num_world_steps: int) -> Tensor:
        feature = moments[frames.shape[1], num_world_steps].mean
        return feature.expand(len(frames), *feature.shape)

    def noise(frames: Tensor, num_world_steps: int) -> Tensor:
        scale = moments[frames.shape[1], num_world_steps]
        return clip_noise(tuple(scale.mean.shape), clip_seeds(frames, seed)) * scale.spread + scale.middle

    return {
        "mean": mean,
        "zero": lambda frames, num_world_steps: torch.zeros_like(mean(frames, num_world_steps)),
        "noise": noise,
    }
