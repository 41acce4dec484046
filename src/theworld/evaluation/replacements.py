"""Replaced world features: the rule of each condition of an audit."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config.evaluation import ConditionName
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample
from theworld.datasets.samplers import batches
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.true_future import TrueFuture
from theworld.modeling import TheWorld
from theworld.world.tap import clip_noise, clip_seeds

_FAR = 2
"""Least number of cells that a shuffled cell moves along one side, where the grid is large enough."""


class Moments:
    """Running mean and standard deviation of features, batch by batch."""

    mean: Float[Tensor, "C T h w"]
    """Mean feature."""
    middle: Float[Tensor, "C 1 1 1"]
    """Mean of each channel over all items, slots and cells."""
    spread: Float[Tensor, "C 1 1 1"]
    """Standard deviation of each channel over all items, slots and cells."""

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


def moments_of(
    model: TheWorld, samples: Sequence[Sample], read: FeatureReader, batch_size: int
) -> dict[tuple[int, int], Moments]:
    """Read the features of all samples once, and return their moments by (F, K).

    Each clip length and each number of world steps has moments of its own, since the slots are at other times.
    """
    collator = Collator(model.processor, supervise=False)
    moments: dict[tuple[int, int], Moments] = defaultdict(Moments)
    for group in batches(samples, batch_size):
        frames, steps = collator.frames(group)
        if frames is not None:
            moments[frames.shape[1], steps].add(read(frames, steps))
    for moment in moments.values():
        moment.finish()
    return dict(moments)


@dataclass(frozen=True)
class Clips:
    """The clips of a batch, with their features and the samples that they belong to."""

    frames: UInt8[Tensor, "N F 3 H W"]
    num_world_steps: int
    """K, the last slots of the features."""
    real: Float[Tensor, "N C T h w"]
    samples: list[Sample]
    """The sample of each clip."""

    @property
    def num_given(self) -> int:
        """Slots up to the current one, T - K."""
        return self.real.shape[2] - self.num_world_steps


@dataclass(frozen=True)
class Replacements:
    """The rules of all conditions, for one model and its items."""

    model: TheWorld
    read: FeatureReader
    """Returns the real features of clips."""
    partners: dict[str, Sample]
    """The partner of each sample, by id."""
    moments: dict[tuple[int, int], Moments]
    """See `moments_of`."""
    true_future: TrueFuture | None = None
    """Reads true futures; None: the condition `oracle` is missing."""
    seed: int = 0

    def __call__(self, condition: ConditionName, clips: Clips) -> Float[Tensor, "N C T h w"]:
        """Return the features of clips under a condition, in the place and number format of the real ones."""
        rules: dict[ConditionName, Callable[[Clips], Tensor]] = {
            "mean": lambda clips: self._moments(clips).mean.expand_as(clips.real),
            "zero": lambda clips: torch.zeros_like(clips.real),
            "noise": self._noise,
            "random": self._random,
            "matched-noise": self._matched_noise,
            "count-matched": lambda clips: self._moments(clips).middle.expand_as(clips.real),
            "first-repeat": lambda clips: clips.real[:, :, clips.num_given - 1, None].expand_as(clips.real),
            "slot-shuffle": self._shuffled_slots,
            "cell-shuffle": self._shuffled_cells,
            "partner-future": lambda clips: _joined(clips.real, self._partners(clips), clips),
            "partner-present": lambda clips: _joined(self._partners(clips), clips.real, clips),
            "oracle": lambda clips: _joined(clips.real, self._true(clips), clips),
        }
        rule = rules.get(condition)
        return clips.real if rule is None else rule(clips).to(clips.real)

    def _moments(self, clips: Clips) -> Moments:
        return self.moments[clips.frames.shape[1], clips.num_world_steps]

    def _noise(self, clips: Clips) -> Tensor:
        scale = self._moments(clips)
        return clip_noise(tuple(scale.mean.shape), clip_seeds(clips.frames, self.seed)) * scale.spread + scale.middle

    def _random(self, clips: Clips) -> Tensor:
        shape = clips.real.shape[1:]
        generators = [torch.Generator().manual_seed(seed) for seed in clip_seeds(clips.frames, self.seed)]
        return torch.stack([torch.rand(*shape, generator=generator) * 2 - 1 for generator in generators])

    def _matched_noise(self, clips: Clips) -> Tensor:
        own = clips.real.cpu().float().flatten(1)
        mean, spread = (values[:, None, None, None, None] for values in (own.mean(1), own.std(1)))
        return clip_noise(tuple(clips.real.shape[1:]), clip_seeds(clips.frames, self.seed)) * spread + mean

    def _shuffled_slots(self, clips: Clips) -> Tensor:
        slots = clips.real.shape[2]
        if slots == 1:
            return clips.real
        return clips.real[:, :, list(fixed_derangement(slots, 1, self.seed))]

    def _shuffled_cells(self, clips: Clips) -> Tensor:
        """Move whole cells of the fused grid, so that each token keeps its content and changes its place."""
        side = self.model.config.grid
        order = list(fixed_derangement(side, side, self.seed))
        cells = clips.real.unflatten(4, (side, -1)).unflatten(3, (side, -1))  # N C T g b g b
        cells = cells.movedim(5, 4).flatten(3, 4)[:, :, :, order]  # N C T g*g b b
        return cells.unflatten(3, (side, side)).movedim(4, 5).flatten(5, 6).flatten(3, 4)

    def orders(self, conditions: Collection[ConditionName]) -> dict[str, list[int]]:
        """Return the fixed orders of slots and cells of these conditions, by their description."""
        found, side = {}, self.model.config.grid
        if "slot-shuffle" in conditions:
            for slots in sorted({moments.mean.shape[1] for moments in self.moments.values()} - {1}):
                found[f"{slots} slots"] = list(fixed_derangement(slots, 1, self.seed))
        if "cell-shuffle" in conditions:
            found[f"{side} x {side} cells"] = list(fixed_derangement(side, side, self.seed))
        return found

    def _partners(self, clips: Clips) -> Tensor:
        """Read the features of the partners' clips, at the same K."""
        samples = _each_once(clips.samples)
        frames, _ = Collator(self.model.processor, supervise=False, num_world_steps=clips.num_world_steps).frames(
            [self.partners[sample.id] for sample in samples]
        )
        assert frames is not None
        features = self.read(frames, clips.num_world_steps)
        if features.shape != clips.real.shape:
            raise ValueError(
                f"features of shape {tuple(clips.real.shape)}, those of the partners {tuple(features.shape)}: expected"
                " clips of equal length"
            )
        return features

    def _true(self, clips: Clips) -> Tensor:
        if self.true_future is None:
            raise ValueError("no tap reads the true future: the condition 'oracle' cannot be asked")
        return self.true_future.read(_each_once(clips.samples), clips.num_world_steps)


def _each_once(samples: Sequence[Sample]) -> list[Sample]:
    """Return each sample once, in order; a sample of several clips stands there once for each."""
    return list({sample.id: sample for sample in samples}.values())


def _joined(present: Tensor, future: Tensor, clips: Clips) -> Tensor:
    """Join the slots up to the current one of some features with the future slots of others."""
    return torch.cat(
        [present[:, :, : clips.num_given].to(clips.real), future[:, :, clips.num_given :].to(clips.real)], 2
    )


@cache
def fixed_derangement(rows: int, columns: int, seed: int) -> tuple[int, ...]:
    """Draw an order of the cells of a grid in which no cell keeps its place, and as many as can be move far.

    Far: at least two cells along one side (one cell, where both sides have fewer than four). The order is that of the
    Token Replacement Test's slot shuffle: drawn once, and the same for all items.

    Raises:
        ValueError: for a grid of one cell, which has no other order.
    """
    size = rows * columns
    if size < 2:
        raise ValueError(f"a grid of {rows} x {columns} cells has no other order")
    far = _FAR if max(rows, columns) >= 2 * _FAR else 1
    place = np.stack(np.divmod(np.arange(size), columns), 1)
    distance = np.abs(place[:, None] - place[None]).max(-1)
    generator = np.random.default_rng(seed)
    best, best_score = np.roll(np.arange(size), 1), (-1, -1)
    for _ in range(200):
        order = _repaired(generator.permutation(size), distance, far, generator)
        moved = distance[np.arange(size), order]
        score = (int((moved > 0).sum()), int((moved >= far).sum()))
        if score > best_score:
            best, best_score = order, score
    return tuple(best.tolist())


def _repaired(order: np.ndarray, distance: np.ndarray, far: int, generator: np.random.Generator) -> np.ndarray:
    """Exchange cells that moved too little with others, where both then move far."""
    places = np.arange(len(order))
    for place in places[distance[places, order] < far]:
        fits = (distance[place, order] >= far) & (distance[places, order[place]] >= far)
        if fits.any():
            other = int(generator.choice(places[fits]))
            order[[place, other]] = order[[other, place]]
    return order


def digest(order: Sequence[int]) -> str:
    """Compute the SHA-256 of an order, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(order)).encode()).hexdigest()


def relative_change(real: Float[Tensor, "N C T h w"], given: Float[Tensor, "N C T h w"]) -> list[float]:
    """Compute for each clip the norm of the difference of two features over the norm of the first.

    0: nothing was replaced. Features of other shapes, or of a norm of 0, differ by 1.
    """
    if real.shape != given.shape:
        return [1.0] * len(given)
    before, after = (features.detach().cpu().float().flatten(1) for features in (real, given))
    difference, size = (after - before).norm(dim=1), before.norm(dim=1)
    return torch.where(size > 0, difference / size.clamp(min=1e-30), (difference > 0).float()).tolist()
