"""Linear probes: measure what a linear read-out finds in each tap, block, noise level and slot, without training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from theworld.config import TaskName, WorldSettings
from theworld.config.experiments import ProbeSettings
from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.outcome_detector import watched_outcome
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import Scenes, num_future_slots
from theworld.datasets.samplers import grouped
from theworld.experiments.probe.clips import DECISIVE, LabelledClips, Quantity
from theworld.world.dit import DitTap
from theworld.world.factory import open_tap
from theworld.world.guardrail import prepare, show
from theworld.world.loading import load_vae
from theworld.world.tap import WorldTap, clip_seeds
from theworld.world.vae import encode_mean

_STRENGTHS: Final = tuple(10.0**power for power in range(-3, 7))
"""Strengths of the penalty, in units of the mean eigenvalue of the Gram matrix over ten thousand."""

_WITH_TRUE_FUTURE: Final = ("true-future", "dit-true")
"""Taps that see the true future."""

CHANCE: Final = {"drop": 1 / 3, "topple": 1 / 3, "roll": 1 / 2, "collide": 1 / 2, "hide": 1 / 3}
"""Share of right answers by guessing: outcomes are balanced."""


class LinearReadout:
    """Ridge regression in its dual form: one equation for each item, for any length of features.

    Args:
        features: of the training items; the regression scales each number to zero mean and unit spread.
        targets: values to predict, a column per quantity.
    """

    def __init__(self, features: Float[Tensor, "N D"], targets: Float[Tensor, "N K"]) -> None:
        features = features.double()
        self._middle, spread = features.mean(0), features.std(0)
        self._spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        self._features = (features - self._middle) / self._spread
        self._offset = targets.double().mean(0)
        centred = targets.double() - self._offset
        values, vectors = torch.linalg.eigh(self._features @ self._features.T)
        unit = values.clamp(min=0).mean() / 1e4
        best = None
        for strength in _STRENGTHS:
            penalty = strength * unit
            inverse = (vectors / (values.clamp(min=0) + penalty)) @ vectors.T
            weights = inverse @ centred
            # Leave-one-out errors of ridge regression with an intercept, in closed form (Allen's PRESS statistic).
            leverage_left = penalty * inverse.diagonal() - 1 / len(features)
            error = (penalty * weights / leverage_left[:, None]).square().mean().item()
            if best is None or error < best[0]:
                best = (error, weights)
        assert best is not None
        self._weights = self._features.T @ best[1]

    def __call__(self, features: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """Predict the targets of other items."""
        return ((features.double() - self._middle) / self._spread) @ self._weights + self._offset


def classify(train: Float[Tensor, "N D"], labels: Int[Tensor, " N"], test: Float[Tensor, "M D"]) -> Int[Tensor, " M"]:
    """Classify the test items: take the class with the largest value of a read-out of class indicators."""
    readout = LinearReadout(train, torch.nn.functional.one_hot(labels).float())
    return readout(test).argmax(-1)


def explained(truth: Float[Tensor, "M K"], read: Float[Tensor, "M K"]) -> float:
    """Return R squared, the mean over quantities: at most 1, below 0 for predictions worse than the mean."""
    truth = truth.double()
    left = (truth - read).square().sum(0) / (truth - truth.mean(0)).square().sum(0).clamp(min=1e-12)
    return (1 - left).mean().item()


@dataclass(frozen=True)
class Probe:
    """One cell: the result of one read-out."""

    task: str
    """The kind of clip: a kind of scene of Foresight, vsr or blink."""
    tap: str
    """vae, rollout, siglip, true-future, dit-repeat, dit-denoised or dit-true; of pictures vae, siglip or dit."""
    block: int | None
    noise_level: float | None
    slot: int
    """0 to 4; the current one is 0 of a picture, 1 of a clip. Pictures of public data have slot 0 alone."""
    quantity: Quantity
    score: float
    """Position and velocity: share of variance read (R squared). The others: accuracy."""
    chance: float
    """For an accuracy, the share of the majority class among the test clips; else 0."""
    num_test: int


def best_cells(cells: Sequence[Probe]) -> dict[str, Probe]:
    """Return for each kind of clip the best cell of the main quantity, without taps that see the true future."""
    candidates = [cell for cell in cells if cell.quantity in DECISIVE and cell.tap not in _WITH_TRUE_FUTURE]
    return {
        task: max((cell for cell in candidates if cell.task == task), key=lambda cell: cell.score)
        for task in dict.fromkeys(cell.task for cell in candidates)
    }


def probe(settings: ProbeSettings, clips: LabelledClips) -> list[Probe]:
    """Fit every read-out of one kind of clip, and measure it on the test clips."""
    num_test = len(clips.frames) - clips.num_fit
    cells: list[Probe] = []
    for tap, block, level, features in tqdm(_features(settings, clips), desc=f"probe {clips.name}", unit="reading"):
        for slot in range(features.shape[2]):
            flat = features[:, :, slot].flatten(1)
            for quantity, score, chance in _scores(clips, slot, flat):
                cells.append(Probe(clips.name, tap, block, level, slot, quantity, score, chance, num_test))
    return cells


def _scores(clips: LabelledClips, slot: int, features: Float[Tensor, "N D"]) -> Iterator[tuple[Quantity, float, float]]:
    """Yield quantity, score and chance of each read-out of a slot."""
    num_fit = clips.num_fit
    train, test = features[:num_fit], features[num_fit:]
    for quantity, of_slots in clips.labels.items():
        truth = of_slots[slot]
        if truth.is_floating_point():
            if truth.std(0).min() > 1e-6:
                read = LinearReadout(train, truth[:num_fit])(test)
                yield quantity, explained(truth[num_fit:], read), 0.0
        elif len(truth[:num_fit].unique()) > 1:
            right = classify(train, truth[:num_fit], test) == truth[num_fit:]
            chance = truth[num_fit:].bincount().max() / len(right)
            yield quantity, right.float().mean().item(), chance.item()


def _features(
    settings: ProbeSettings, clips: LabelledClips
) -> Iterator[tuple[str, int | None, float | None, Float[Tensor, "N C T h w"]]]:
    """Yield tap, block, noise level and features of all clips, one reading after the other.

    Without steps ahead (K = 0), a rollout equals the VAE latent and is left out, and the denoiser sees the frames
    themselves with noise.
    """
    steps, ahead = clips.num_world_steps, clips.num_world_steps > 0
    simple = {
        "siglip": replace(settings.world, tap="siglip", repeat_current=ahead),
        "vae": replace(settings.world, tap="vae", repeat_current=ahead),
    }
    if ahead:
        simple["rollout"] = replace(settings.world, tap="rollout")
    if clips.with_future is not None:
        simple["true-future"] = replace(settings.world, tap="true-future")
    for name, world in simple.items():
        frames = clips.with_future if name == "true-future" else clips.frames
        assert frames is not None
        yield name, None, None, _read(open_tap(world), frames, steps, settings.batch_size)
    denoiser = replace(settings.world, tap="dit", dit_block=max(settings.blocks), dit_future="none")
    noised = {"dit": (denoiser, clips.frames)}
    if ahead:
        noised = {
            "dit-repeat": (replace(denoiser, dit_future="repeat"), clips.frames),
            "dit-denoised": (replace(denoiser, dit_future="denoised"), clips.frames),
        }
    if clips.with_future is not None:
        with_true = replace(denoiser, tap="true-future", control_of="dit", dit_future="repeat")
        noised["dit-true"] = (with_true, clips.with_future)
    for name, (world, frames) in noised.items():
        for level in settings.noise_levels:
            yield from _blocks(settings, name, replace(world, dit_noise_level=level), frames, steps)


def _read(tap: WorldTap, frames: UInt8[Tensor, "N F 3 H W"], steps: int, batch_size: int) -> Float[Tensor, "N C T h w"]:
    batches = [batch.contiguous() for batch in frames.split(batch_size)]
    return torch.cat([tap.read(batch, steps, clip_seeds(batch, tap.settings.seed)) for batch in batches])


def _blocks(
    settings: ProbeSettings, name: str, world: WorldSettings, frames: UInt8[Tensor, "N F 3 H W"], steps: int
) -> Iterator[tuple[str, int, float, Tensor]]:
    """Yield the states of every block from one run of the denoiser."""
    tap = open_tap(world)
    assert isinstance(tap, DitTap)
    states: dict[int, list[Tensor]] = {block: [] for block in settings.blocks}
    with _watching(tap.transformer, settings.blocks) as latest:
        for batch in frames.split(settings.batch_size):
            batch = batch.contiguous()
            latest[world.dit_block] = tap.read(batch, steps, clip_seeds(batch, world.seed))
            side = latest[world.dit_block].shape[-1]
            for block in settings.blocks:
                state = latest[block]
                if block != world.dit_block:  # bring it into the shape of the tap's own features
                    state = state.unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3).float()
                states[block].append(state)
    for block, batches in states.items():
        yield name, block, world.dit_noise_level, torch.cat(batches)


@contextmanager
def _watching(transformer: nn.Module, blocks: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keep the latest output of each block."""
    latest: dict[int, Tensor] = {}
    modules: Any = transformer.transformer_blocks

    def keep(block: int) -> Any:
        return lambda module, inputs, output: latest.__setitem__(block, output)

    handles = [modules[block].register_forward_hook(keep(block)) for block in blocks if block != max(blocks)]
    try:
        yield latest
    finally:
        for handle in handles:
            handle.remove()


def watch_futures(
    world: WorldSettings,
    tasks: Sequence[TaskName],
    num_items: int,
    split: Any = "validation",
    batch_size: int = 32,
    scenes: Scenes = "plain",
) -> dict[str, dict[str, float]]:
    """Measure for each task how often the last picture of an imagined future shows the true outcome.

    Args:
        world: a tap `rollout`, of any Cosmos; its VAE decodes the imagined futures.
        tasks: kinds of scene.
        num_items: scenes of each task.
        split: of the scenes.
        batch_size: clips to imagine at a time.
        scenes: plain or varied.

    Returns:
        By task: imagined, the share for the imagined future; decoded, the share for the true future through the same
        VAE, an upper bound; chance; n.

    Raises:
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not installed.
    """
    tap = open_tap(world)
    vae = load_vae(tap.settings)
    prepare(vae, world.cosmos_model_name)
    results = {}
    for task in tasks:
        items = [make_item(split, index, task, scenes) for index in range(num_items)]
        pairs = [pair for batch in grouped(items, batch_size, lambda item: 0) for pair in _watch(tap, vae, batch)]
        imagined, decoded = (float(share) for share in np.mean(pairs, axis=0))
        results[task] = {"imagined": imagined, "decoded": decoded, "chance": CHANCE[task], "n": len(items)}
    return results


def _watch(tap: WorldTap, vae: Any, items: Sequence[Item]) -> list[tuple[bool, bool]]:
    """Return for each item if the last picture shows the outcome: the imagined one, and the true one."""
    size_px, num_given = tap.settings.image_size_px, items[0].scene.num_given_frames
    frames = np.stack([draw_clip(item.scene, item.poses, size_px) for item in items])
    clips = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous()
    given_clips = clips[:, :num_given].contiguous()
    steps = num_future_slots(items[0].scene.task)
    imagined = tap.read(given_clips, steps, clip_seeds(given_clips, tap.settings.seed))
    with torch.no_grad():
        true = encode_mean(vae, clips)
        name = tap.settings.cosmos_model_name
        pictures = [show(vae, latents, name)[:, -1].numpy() for latents in (imagined, true)]
    return [
        (
            watched_outcome(item.scene, pictures[0][index]) == item.outcome,
            watched_outcome(item.scene, pictures[1][index]) == item.outcome,
        )
        for index, item in enumerate(items)
    ]
