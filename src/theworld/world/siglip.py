"""Tap `siglip`: Gemma's own vision tower as a second path from the pixels, without a world model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import Gemma3Config, SiglipVisionModel

from theworld import tiny
from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE, TINY_MODEL
from theworld.hub import again, fetch
from theworld.world.tap import WorldTap
from theworld.world.vae import repeat_last

_PREFIX = "vision_tower."  # of the tower's tensors in a Gemma 3 checkpoint; newer ones have `model.` before it


class SiglipTap(WorldTap):
    """Reads the patches of the last frame of each slot; slots after the given ones repeat the current frame."""

    fingerprint_fields = ("dtype",)

    def __init__(self, settings: WorldSettings, tower: SiglipVisionModel) -> None:
        super().__init__(settings)
        self.tower = tower

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        slots = self._patches(frames[:, ::TEMPORAL_STRIDE])
        return slots if self.settings.sees_future else repeat_last(slots, num_world_steps)

    def _patches(self, frames: Tensor) -> Float[Tensor, "N C T h w"]:
        num_clips, side = len(frames), frames.shape[-1] // self.cell_px
        pixels = frames.flatten(0, 1).to(self.tower.device).float() / 127.5 - 1  # Gemma 3's normalisation
        states: Any = self.tower(pixel_values=pixels.to(self.tower.dtype)).last_hidden_state
        return states.float().view(num_clips, -1, side, side, states.shape[-1]).permute(0, 4, 1, 2, 3).contiguous()


def load_tower(settings: WorldSettings, device: str | torch.device = "cpu") -> SiglipVisionModel:
    """Load the vision tower of a Gemma 3 checkpoint in `settings.dtype`; no other weights are read.

    Raises:
        ValueError: if the checkpoint cannot be found, has frames of another side, or its tensors do not fit.
    """
    folder = gemma_folder(settings.siglip_model_name)
    vision = vision_config(settings.siglip_model_name)
    if vision.image_size != settings.image_size_px:
        raise ValueError(
            f"image_size_px={settings.image_size_px}: the vision tower in {folder} sees {vision.image_size} px"
        )
    tower = SiglipVisionModel(vision)
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            tensors |= _tower_tensors(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged or half-downloaded weights ({error}); {again(folder)}") from error
    expected = tower.state_dict().keys()
    if not tensors.keys() & expected:  # newer layouts drop the level `vision_model.`, older ones have it
        tensors = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
    missing, foreign = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
    if missing or foreign:
        raise ValueError(f"{folder}: the vision tower lacks {missing[:3]} and has foreign tensors {foreign[:3]}")
    tower.load_state_dict(tensors)
    nn.Module.to(tower, device, getattr(torch, settings.dtype))  # in place
    return tower.eval().requires_grad_(False)


def _tower_tensors(path: Path) -> dict[str, Tensor]:
    """Read the vision tower's tensors from one file, by their names inside the tower."""
    tensors = {}
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  # not a mapping
            if names := tower_names(name):
                tensors[names[0]] = file.get_tensor(name)
    return tensors


def tower_names(name: str) -> tuple[str, ...]:
    """Return the names that a tensor of a Gemma 3 checkpoint can have inside the vision tower; none for other tensors.

    Newer layouts drop the level `vision_model.`, older ones have it.
    """
    before, prefix, rest = name.partition(_PREFIX)
    if not prefix or before not in ("", "model."):
        return ()
    return tuple(dict.fromkeys((rest, rest.removeprefix("vision_model."))))


def gemma_folder(name: str, weights: bool = True) -> Path:
    """Return the folder of a Gemma 3 checkpoint, given its hub id, folder, or "tiny".

    Raises:
        ValueError: if it cannot be found or fetched.
    """
    if name == TINY_MODEL:
        return tiny.stack() / "gemma"
    if Path(name).is_dir():
        return Path(name)
    patterns = ["config.json", *(["*.safetensors"] if weights else [])]
    return fetch(name, patterns)


def vision_config(name: str) -> Any:
    """Read the configuration of a Gemma 3 checkpoint's vision tower."""
    return Gemma3Config.from_pretrained(gemma_folder(name, weights=False)).vision_config
