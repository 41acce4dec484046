"""Train the model of a run for three steps in a separate process, and print its peak memory."""

import gc
import json
import math
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theworld.config import ModelSettings, WorldSettings, loader
from theworld.config.commands import PlanSettings
from theworld.config.training import in_number_formats
from theworld.modeling import TheWorld
from theworld.modeling.bases import GEMMA4, QWEN3_VL
from theworld.modeling.factory import open_model
from theworld.planning.activations import AUTOCAST
from theworld.planning.batch_shape import BatchShape, batch_shape_of

TINY_WORLD = WorldSettings(cosmos_model_name="tiny", image_size_px=64)


def batch_of(model: TheWorld, rows: BatchShape) -> dict[str, Any]:
    """Return a batch of this shape: in each row a picture with its world, text, and an answer at the end."""
    config: Any = model.config
    ids = torch.full((rows.num_rows, rows.length), 10)
    block: list[int] = []
    if config.enable_world and config.tokens_per_slot:
        tokens = [config.world_token_id] * config.tokens_per_slot * (1 + rows.num_world_steps)
        block = [config.sow_token_id, *tokens, config.eow_token_id]
    num_tokens, pictures = pictures_of(model, rows)
    block += [config.image_token_id] * num_tokens
    ids[:, 1 : 1 + len(block)] = torch.tensor(block)
    labels = torch.full_like(ids, -100)
    answer = rows.num_supervised // rows.num_rows
    labels[:, -answer:] = ids[:, -answer:]
    mask = torch.ones_like(ids)
    mask[-1, 0] = 0  # a plan assumes padding, without which some bases need no mask
    batch: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        model.TYPE_IDS: (ids == config.image_token_id).long(),
        **pictures,
        "labels": labels,
    }
    if rows.num_clips:
        side = config.world_image_size
        batch["world_pixels"] = torch.zeros(rows.num_clips, rows.num_frames, 3, side, side, dtype=torch.uint8)
        batch["num_world_steps"] = rows.num_world_steps
    return batch


def pictures_of(model: TheWorld, rows: BatchShape) -> tuple[int, dict[str, Tensor]]:
    """Return the tokens of a picture, and black pictures: square, and padded to the largest grid if there are grids."""
    config: Any = model.config
    if config.BASE is QWEN3_VL:  # not padded, so a strip of patches is as large as any other picture of so many
        merged = config.vision_config.spatial_merge_size
        grid = torch.tensor([[1, merged, rows.picture[0] // merged]]).expand(rows.num_pictures, -1)
        pixels = torch.zeros(rows.num_pictures * rows.picture[0], rows.picture[1])
        return rows.picture[0] // merged**2, {"pixel_values": pixels, "image_grid_thw": grid}
    pictures = {"pixel_values": torch.zeros(rows.num_pictures, *rows.picture)}
    if config.BASE is not GEMMA4:
        return config.image_grid**2, pictures
    pooled = config.vision_config.pooling_kernel_size
    num_tokens = math.isqrt(rows.picture[0] // pooled**2) ** 2
    side = pooled * math.isqrt(num_tokens)
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy"), dim=-1).view(-1, 2)
    places = torch.full((rows.num_pictures, rows.picture[0], 2), -1)
    places[:, : len(grid)] = grid
    return num_tokens, {**pictures, "image_position_ids": places}


def peak_bytes(settings: PlanSettings, num_steps: int = 3) -> int:
    """Load and train the model of a run, and return the peak memory in bytes beyond the memory before."""
    settings = in_number_formats(settings)
    gc.collect()
    before = _current_bytes()
    model = open_model(settings.model).train()
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    batch = batch_of(model, batch_shape_of(settings, model.config))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    precision = AUTOCAST.get(settings.precision, torch.bfloat16)
    for _ in range(num_steps):
        with torch.autocast("cpu", dtype=precision, enabled=settings.precision in AUTOCAST):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return _most_bytes() - before


def _current_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = loader.load(PlanSettings, Path(sys.argv[1]), sys.argv[2:])
    tiny = ModelSettings(gemma_model_name="tiny", dtype="float32", world=TINY_WORLD)
    warm_up = PlanSettings(output_dir=chosen.output_dir, batch_size=1, length=400, model=tiny)
    peak_bytes(warm_up)  # late imports do not count
    print(json.dumps(peak_bytes(chosen)))
