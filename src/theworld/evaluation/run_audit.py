"""The audit of a trained checkpoint: the same questions with its world features shuffled, averaged, zeroed, noised."""

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
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Sample
from theworld.datasets.samplers import batches
from theworld.environment import describe_environment
from theworld.evaluation.audit import Audit, audit_verdict, derangement
from theworld.evaluation.benchmarks.dispatch import score, true_answer
from theworld.evaluation.conditions import answering_formats
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import identify, predict, saved_config
from theworld.io import write_whole
from theworld.modeling import TheWorld
from theworld.modeling.factory import describe_weights, on_this_machine
from theworld.world.cached import open_stored
from theworld.world.tap import clip_noise, clip_seeds

CONDITIONS = ("real", "shuffle", "mean", "zero", "noise")


def audit(settings: AuditSettings) -> dict[str, Any]:
    """Ask under every condition, and judge whether the model uses its world.

        output_dir/
          config.json, environment.json
          predictions/CONDITION.jsonl
          audit.json

    Returns:
        The verdict, its line, and what each condition cost.

    Raises:
        ValueError: for a model without a world, questions of several kinds, questions that all have one answer, or if
            none could be answered.
    """
    saved = saved_config(settings.checkpoint)
    if not saved.enable_world:
        raise ValueError(f"{settings.checkpoint} was trained with enable_world=False: there is no world to audit")
    folder = settings.store_dir or settings.output_dir / "features"
    formats = answering_formats(saved, settings.dtype, folder)
    options = on_this_machine(formats["weights"])
    # First: a damaged checkpoint shows at once.
    model = TheWorld.from_pretrained(settings.checkpoint, world_dtype=formats["world"], **options)
    data = settings.data
    dataset = open_samples(data, data.validation_split, data.num_validation, saved.world_settings().sees_future)
    samples = [dataset[index] for index in range(len(dataset))]
    _check_one_kind(samples)
    loader.claim(settings, settings.output_dir / "config.json")
    write_whole(settings.output_dir / "environment.json", describe_environment(number_formats=formats))
    read = model.read_world if model.tap is None else open_stored(model.tap, folder).read  # None: its VAE was trained
    result = audit_model(
        model,
        samples,
        settings.output_dir,
        read,
        identity_of=data,
        batch_size=settings.batch_size,
        score_choices=settings.answers == "weighed",
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
    """Audit a loaded model on samples, one clip each at least.

    Args:
        read: the model's real features; every clip is asked for several times, so a store pays.
        identity_of: settings that the samples follow from: predictions on other ones are refused.
        seed: of the derangement and of the noise.
    """
    shuffled = shuffle_worlds(samples, seed)
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
    told = {"checkpoint": describe_weights(model), **result.to_dict()}  # a verdict is of these weights and no others
    write_whole(folder / "audit.json", json.dumps(told, indent=2))
    return result


def shuffle_worlds(samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """Each sample with the clips, and their future, of a partner of the same kind that has another answer.

    Gemma still sees the sample's own picture: only what the world model reads is exchanged.
    """
    names = ("task", "category", "kind")
    kinds = [" ".join([*(str(sample.fields.get(name)) for name in names), str(sample.num_clips)]) for sample in samples]
    partners = derangement([true_answer(sample) for sample in samples], seed, kinds)
    return [
        replace(sample, clips=_clips(samples[partner]), future=samples[partner].future)
        for sample, partner in zip(samples, partners, strict=True)
    ]


def _check_one_kind(samples: Sequence[Sample]) -> None:
    kinds = sorted({str(sample.fields.get("kind")) for sample in samples})
    if len(kinds) > 1:
        raise ValueError(
            f"questions of {len(kinds)} kinds ({', '.join(kinds)}): one verdict over all would mix what the picture"
            " shows with what only the world can tell; ask one kind, with --data.questions dynamic"
        )


def _clips(sample: Sample) -> tuple[Any, ...]:
    return tuple([image] for image in sample.images) if sample.clips is None else sample.clips


class _Moments:
    """Mean and spread of features that arrive batch by batch, which memory need not hold together."""

    def __init__(self) -> None:
        self.total, self.squares, self.num_clips = torch.zeros(1), torch.zeros(1), 0

    def add(self, features: Float[Tensor, "N C T h w"]) -> None:
        """Take a batch in."""
        features = features.cpu().double()
        self.total = self.total + features.sum(0)
        self.squares = self.squares + features.square().sum((0, 2, 3, 4))[:, None, None, None]
        self.num_clips += len(features)

    def finish(self) -> None:
        """Settle the mean feature, and each channel's middle and spread over all its cells."""
        count = self.num_clips * self.total[0].numel()
        self.mean = (self.total / self.num_clips).float()
        middle = self.total.sum((1, 2, 3), keepdim=True) / count
        self.spread = ((self.squares - count * middle.square()).clamp(min=0) / max(count - 1, 1)).sqrt().float()
        self.middle = middle.float()


def _readers(
    model: TheWorld, samples: Sequence[Sample], read: FeatureReader, batch_size: int, seed: int
) -> dict[str, FeatureReader]:
    """Readers of the conditions that need no clip: the mean feature, zeros, and noise of the features' own scale.

    Clips of other lengths, or that look less far ahead, have means of their own: their slots are other times.
    """
    from theworld.datasets.collator import Collator

    collator = Collator(model.processor, supervise=False)
    moments: dict[tuple[int, int], _Moments] = defaultdict(_Moments)
    for group in batches(samples, batch_size):
        batch = collator(group)
        frames, steps = batch["world_pixels"], batch["num_world_steps"]
        moments[frames.shape[1], steps].add(read(frames, steps))
    for one in moments.values():
        one.finish()

    def mean(frames: Tensor, num_world_steps: int) -> Tensor:
        own = moments[frames.shape[1], num_world_steps].mean
        return own.expand(len(frames), *own.shape)

    def noise(frames: Tensor, num_world_steps: int) -> Tensor:
        own = moments[frames.shape[1], num_world_steps]
        return clip_noise(tuple(own.mean.shape), clip_seeds(frames, seed)) * own.spread + own.middle

    return {
        "mean": mean,
        "zero": lambda frames, num_world_steps: torch.zeros_like(mean(frames, num_world_steps)),
        "noise": noise,
    }
