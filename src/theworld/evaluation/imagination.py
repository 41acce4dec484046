"""How good an imagined future is: its last picture is watched, and what it shows held against what really happened."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from theworld.config import TaskName, WorldSettings
from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.outcome_detector import watched_outcome
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import num_future_slots
from theworld.datasets.samplers import grouped
from theworld.world.factory import open_tap
from theworld.world.guardrail import prepare, show
from theworld.world.loading import load_vae
from theworld.world.tap import WorldTap, clip_seeds
from theworld.world.vae import encode_mean

CHANCE = {"drop": 1 / 3, "topple": 1 / 3, "roll": 1 / 2, "collide": 1 / 2, "hide": 1 / 3}
"""Share of right answers by guessing: outcomes are balanced."""


def watch_futures(
    world: WorldSettings, tasks: Sequence[TaskName], num_items: int, split: Any = "validation", batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """Share of items whose outcome is seen in the last picture, for each task.

    Args:
        world: a tap `rollout`, of any Cosmos; its VAE decodes what it imagines.
        tasks: kinds of scene.
        num_items: scenes of each task.
        split: whose scenes.
        batch_size: clips imagined at a time.

    Returns:
        By task: imagined, the share for the imagined future; decoded, for the true one through the same VAE, which no
        imagination can exceed; chance; n.

    Raises:
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not there.
    """
    tap = open_tap(world)
    vae = load_vae(tap.settings)
    prepare(vae, world.cosmos_model_name)
    found = {}
    for task in tasks:
        items = [make_item(split, index, task) for index in range(num_items)]
        seen = [pair for batch in grouped(items, batch_size, lambda item: 0) for pair in _watch(tap, vae, batch)]
        imagined, decoded = (float(np.mean([one[which] for one in seen])) for which in (0, 1))
        found[task] = {"imagined": imagined, "decoded": decoded, "chance": CHANCE[task], "n": len(items)}
    return found


def _watch(tap: WorldTap, vae: Any, items: Sequence[Item]) -> list[tuple[bool, bool]]:
    """For each item whether the outcome shows in its imagined, and in its true, last picture."""
    size_px, given = tap.settings.image_size_px, items[0].scene.num_given_frames
    frames = np.stack([draw_clip(item.scene, item.poses, size_px) for item in items])
    clips = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous()
    shown = clips[:, :given].contiguous()
    steps = num_future_slots(items[0].scene.task)
    imagined = tap.read(shown, steps, clip_seeds(shown, tap.settings.seed))
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
