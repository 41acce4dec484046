"""Probes: what is linearly readable from each tap, block, noise level and slot, before any training is paid for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from theworld.config import WorldSettings
from theworld.config.experiments import ProbeSettings
from theworld.evaluation.labelled import DECISIVE, Labelled, Quantity
from theworld.evaluation.readout import LinearReadout, classify, explained
from theworld.world.dit import DitTap
from theworld.world.factory import open_tap
from theworld.world.tap import WorldTap, clip_seeds

_TOLD: Final = ("true-future", "dit-true")
"""Readings that are told what really happened."""


@dataclass(frozen=True)
class Probe:
    """One cell: what one read-out gives."""

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
    """Where the score is an accuracy, the majority's share of what is measured; else 0."""
    num_test: int


def best_cells(cells: Sequence[Probe]) -> dict[str, Probe]:
    """For each kind of clip the cell that tells what the probe is about best, true futures left out."""
    honest = [cell for cell in cells if cell.quantity in DECISIVE and cell.tap not in _TOLD]
    return {
        task: max((cell for cell in honest if cell.task == task), key=lambda cell: cell.score)
        for task in dict.fromkeys(cell.task for cell in honest)
    }


def probe(own: ProbeSettings, clips: Labelled) -> list[Probe]:
    """Fit and measure every read-out of one kind of clip."""
    num_test = len(clips.frames) - clips.num_fit
    cells: list[Probe] = []
    for tap, block, level, features in tqdm(_readings(own, clips), desc=f"probe {clips.name}", unit="reading"):
        for slot in range(features.shape[2]):
            flat = features[:, :, slot].flatten(1)
            for quantity, score, chance in _scores(clips, slot, flat):
                cells.append(Probe(clips.name, tap, block, level, slot, quantity, score, chance, num_test))
    return cells


def _scores(clips: Labelled, slot: int, features: Float[Tensor, "N D"]) -> Iterator[tuple[Quantity, float, float]]:
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


def _readings(
    own: ProbeSettings, clips: Labelled
) -> Iterator[tuple[str, int | None, float | None, Float[Tensor, "N C T h w"]]]:
    """Tap, block, noise level and features of all clips, one reading after the other.

    Where nothing is looked ahead (K = 0), a rollout is the VAE latent, and the denoiser sees the frames themselves
    noised.
    """
    steps, ahead = clips.num_world_steps, clips.num_world_steps > 0
    simple = {
        "siglip": replace(own.world, tap="siglip", repeat_current=ahead),
        "vae": replace(own.world, tap="vae", repeat_current=ahead),
    }
    if ahead:
        simple["rollout"] = replace(own.world, tap="rollout")
    if clips.with_future is not None:
        simple["true-future"] = replace(own.world, tap="true-future")
    for name, world in simple.items():
        frames = clips.with_future if name == "true-future" else clips.frames
        assert frames is not None
        yield name, None, None, _read(open_tap(world), frames, steps, own.batch_size)
    denoiser = replace(own.world, tap="dit", dit_block=max(own.blocks), dit_future="none")
    noised = {"dit": (denoiser, clips.frames)}
    if ahead:
        noised = {
            "dit-repeat": (replace(denoiser, dit_future="repeat"), clips.frames),
            "dit-denoised": (replace(denoiser, dit_future="denoised"), clips.frames),
        }
    if clips.with_future is not None:
        told = replace(denoiser, tap="true-future", control_of="dit", dit_future="repeat")
        noised["dit-true"] = (told, clips.with_future)
    for name, (world, frames) in noised.items():
        for level in own.noise_levels:
            yield from _blocks(own, name, replace(world, dit_noise_level=level), frames, steps)


def _read(tap: WorldTap, frames: UInt8[Tensor, "N F 3 H W"], steps: int, batch_size: int) -> Float[Tensor, "N C T h w"]:
    batches = [batch.contiguous() for batch in frames.split(batch_size)]
    return torch.cat([tap.read(batch, steps, clip_seeds(batch, tap.settings.seed)) for batch in batches])


def _blocks(
    own: ProbeSettings, name: str, world: WorldSettings, frames: UInt8[Tensor, "N F 3 H W"], steps: int
) -> Iterator[tuple[str, int, float, Tensor]]:
    """The states of every block from one run of the denoiser."""
    tap = open_tap(world)
    assert isinstance(tap, DitTap)
    states: dict[int, list[Tensor]] = {block: [] for block in own.blocks}
    with _watching(tap.transformer, own.blocks) as latest:
        for batch in frames.split(own.batch_size):
            batch = batch.contiguous()
            latest[world.dit_block] = tap.read(batch, steps, clip_seeds(batch, world.seed))
            side = latest[world.dit_block].shape[-1]
            for block in own.blocks:
                found = latest[block]
                if block != world.dit_block:  # as the tap arranges what it reads
                    found = found.unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3).float()
                states[block].append(found)
    for block, found in states.items():
        yield name, block, world.dit_noise_level, torch.cat(found)


@contextmanager
def _watching(transformer: nn.Module, blocks: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """What each block gave when it last ran."""
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
