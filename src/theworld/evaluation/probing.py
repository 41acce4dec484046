"""Probes: what is linearly readable from each tap, block, noise level and slot, before any training is paid for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from theworld.config import TaskName, WorldSettings
from theworld.config.probe import ProbeSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.evaluation.readout import LinearReadout, classify, explained
from theworld.foresight.collide import gap_of
from theworld.foresight.drawing import draw_clip
from theworld.foresight.items import Item, make_item
from theworld.foresight.scene import FRAME_RATE_HZ, NUM_FRAMES, NUM_SLOTS, num_future_slots
from theworld.world.dit import DitTap
from theworld.world.tap import WorldTap, clip_seeds
from theworld.world.taps import open_tap

Quantity = Literal["position", "velocity", "contact", "outcome"]

DIT_FUTURES: Final = ("repeat", "denoised")


@dataclass(frozen=True)
class Probe:
    """One cell: what one read-out gives."""

    task: TaskName
    tap: str
    """vae, rollout, siglip, true-future, dit-repeat or dit-denoised."""
    block: int | None
    noise_level: float | None
    slot: int
    """0 to 4; the current one is 0 of a picture, 1 of a clip."""
    quantity: Quantity
    score: float
    """Position and velocity: share of variance read (R squared). Contact and outcome: accuracy."""
    chance: float
    """Of contact and outcome: the majority's share; 0 for the others."""
    num_test: int


def probe(own: ProbeSettings) -> list[Probe]:
    """Fit and measure every read-out; tasks one after the other."""
    return [cell for task in own.tasks for cell in probe_task(own, task)]


def best_cells(cells: Sequence[Probe]) -> dict[str, Probe]:
    """For each task the cell that tells the outcome best, the true future left out."""
    honest = [cell for cell in cells if cell.quantity == "outcome" and cell.tap != "true-future"]
    return {
        task: max((cell for cell in honest if cell.task == task), key=lambda cell: cell.score)
        for task in dict.fromkeys(cell.task for cell in honest)
    }


def probe_task(own: ProbeSettings, task: TaskName) -> list[Probe]:
    """Every cell of one task."""
    train = [make_item("train", index, task) for index in range(own.num_train)]
    test = [make_item("validation", index, task) for index in range(own.num_test)]
    items = [*train, *test]
    size_px = own.world.image_size_px
    clips = np.stack([draw_clip(item.scene, item.poses, size_px) for item in items])
    cells: list[Probe] = []
    for tap, block, level, features in tqdm(_readings(own, task, clips), desc=f"probe {task}", unit="reading"):
        for slot in range(NUM_SLOTS):
            flat = features[:, :, slot].flatten(1)
            for quantity, score, chance in _scores(items, len(train), slot, flat):
                cells.append(Probe(task, tap, block, level, slot, quantity, score, chance, len(test)))
    return cells


def _scores(
    items: Sequence[Item], num_train: int, slot: int, features: Float[Tensor, "N D"]
) -> Iterator[tuple[Quantity, float, float]]:
    train, test = features[:num_train], features[num_train:]
    for quantity in ("position", "velocity"):
        truth = torch.from_numpy(np.stack([_motion(item, slot, quantity) for item in items]))
        if truth.std(0).min() > 1e-6:
            read = LinearReadout(train, truth[:num_train])(test)
            yield quantity, explained(truth[num_train:], read), 0.0
    labels = {"outcome": torch.tensor([item.outcome for item in items])}
    if items[0].scene.task == "collide":
        labels["contact"] = torch.tensor([int(gap_of(item.poses[slot * TEMPORAL_STRIDE]) < 0.01) for item in items])
    for quantity, truth in labels.items():
        if len(truth[:num_train].unique()) > 1:
            right = classify(train, truth[:num_train], test) == truth[num_train:]
            chance = truth[num_train:].bincount().max() / len(right)
            yield quantity, right.float().mean().item(), chance.item()  # type: ignore[misc]


def _motion(item: Item, slot: int, quantity: str) -> Float[np.ndarray, " K"]:
    """Places of all bodies in the last frame of a slot, or how fast they move there, unit lengths (/ s)."""
    frame = slot * TEMPORAL_STRIDE
    places = item.poses[frame, :, :2]
    if quantity == "position":
        return places[:2].flatten()
    after = min(frame + 1, NUM_FRAMES - 1)
    return ((item.poses[after, :2, :2] - item.poses[after - 1, :2, :2]) * FRAME_RATE_HZ).flatten()


def _readings(
    own: ProbeSettings, task: TaskName, clips: UInt8[np.ndarray, "N 17 H W 3"]
) -> Iterator[tuple[str, int | None, float | None, Float[Tensor, "N C 5 h w"]]]:
    """Tap, block, noise level and features of all clips, one reading after the other."""
    frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    steps = num_future_slots(task)
    shown = frames[:, : NUM_FRAMES - steps * TEMPORAL_STRIDE]
    simple = {
        "siglip": replace(own.world, tap="siglip", repeat_current=True),
        "vae": replace(own.world, tap="vae", repeat_current=True),
        "rollout": replace(own.world, tap="rollout"),
        "true-future": replace(own.world, tap="true-future"),
    }
    for name, world in simple.items():
        tap = open_tap(world)
        yield name, None, None, _read(tap, frames if name == "true-future" else shown, steps, own.batch_size)
    for future in DIT_FUTURES:
        for level in own.noise_levels:
            world = replace(own.world, tap="dit", dit_block=max(own.blocks), dit_noise_level=level)
            yield from _blocks(own, replace(world, dit_future=future), shown, steps)


def _read(tap: WorldTap, frames: UInt8[Tensor, "N F 3 H W"], steps: int, batch_size: int) -> Float[Tensor, "N C T h w"]:
    batches = [batch.contiguous() for batch in frames.split(batch_size)]
    return torch.cat([tap.read(batch, steps, clip_seeds(batch, tap.settings.seed)) for batch in batches])


def _blocks(
    own: ProbeSettings, world: WorldSettings, frames: UInt8[Tensor, "N F 3 H W"], steps: int
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
        yield f"dit-{world.dit_future}", block, world.dit_noise_level, torch.cat(found)


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
