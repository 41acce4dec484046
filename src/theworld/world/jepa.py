"""Tap `v-jepa2`: patches of V-JEPA 2's encoder for given slots, and of its predictor for the slots after them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from theworld.config import WorldSettings
from theworld.constants import DEFAULT_COSMOS_MODEL, TINY_MODEL
from theworld.hub import again, fetch
from theworld.io import unique_names
from theworld.tiny.gemma import without_progress_bars
from theworld.tiny.random_weights import draw_weights
from theworld.world.tap import WorldTap

LICENCE: Final = "MIT, in parts Apache-2.0"
EXAMPLE: Final = "facebook/vjepa2-vitl-fpc64-256"
TUBELETS_PER_SLOT: Final = 2
"""A tubelet is two frames and a slot four; the first frame alone is a slot, and is shown twice."""


class VJepaTap(WorldTap):
    """Reads the last tubelet of each slot: from the encoder, or for future slots from the predictor.

    The encoder attends over the whole clip, so a slot of `true-future` has seen the slots after it.

    ```
    frames             [ f0 f0 | f1 f2 . f3 f4 ]           tubelets; the last of a slot is its state
    K = 1              [ f0 f0 | f1 f2 . f3 f4 | m m . m m ]   m: masked, as in training; the predictor fills them
    ```
    """

    fingerprint_fields = ("dtype",)

    def __init__(self, settings: WorldSettings, jepa: VJEPA2Model) -> None:
        super().__init__(settings)
        self.jepa = jepa

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        if self.settings.sees_future:
            num_world_steps = 0  # the true future follows the clip
        video = as_video(frames.to(self.jepa.device))
        side = frames.shape[-1] // self.cell_px
        states: Any = self.jepa.encoder(pixel_values_videos=video).last_hidden_state  # (N, tubelets * h * w, C)
        if num_world_steps:
            num_given, num_future = states.shape[1], num_world_steps * TUBELETS_PER_SLOT * side**2
            positions = torch.arange(num_given + num_future, device=states.device).expand(len(frames), -1)
            given, future = positions.split([num_given, num_future], dim=1)
            predicted: Any = self.jepa.predictor(states, context_mask=[given], target_mask=[future])
            states = torch.cat([states, predicted.last_hidden_state], dim=1)
        tubelets = states.float().unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3)
        return tubelets[:, :, ::TUBELETS_PER_SLOT].contiguous()


def as_video(frames: Tensor) -> Float[Tensor, "N F 3 H W"]:
    """Normalise frames as V-JEPA 2's processor does, and repeat the first: whole tubelets from 1 + 4j frames."""
    mean, std = (
        torch.tensor(values, device=frames.device).view(3, 1, 1)
        for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    video = (frames.float() / 255 - mean) / std
    return torch.cat([video[:, :1], video], dim=1)


def load_jepa(settings: WorldSettings, device: str | torch.device = "cpu") -> VJEPA2Model:
    """Load encoder and predictor in `settings.dtype`; the tap `random` draws their weights from `settings.seed`.

    Raises:
        ValueError: if the checkpoint cannot be found, sees frames of another side, or its tensors do not fit.
    """
    config = jepa_config(settings)
    dtype = getattr(torch, settings.dtype)
    if settings.tap == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            drawn = VJEPA2Model(config)
        draw_weights(drawn, torch.Generator().manual_seed(settings.seed))
        nn.Module.to(drawn, device, dtype)
        return drawn.eval().requires_grad_(False)
    folder, _ = jepa_folder(settings)
    load: Any = VJEPA2Model.from_pretrained
    try:
        with without_progress_bars():
            model, report = load(folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: missing, damaged or half-downloaded weights ({reason}); {again(folder)}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        raise ValueError(f"{folder}: V-JEPA 2 lacks {len(missing)} tensors {missing[:3]}; {again(folder)}")
    nn.Module.to(model, device)
    return model.eval().requires_grad_(False)


def jepa_folder(settings: WorldSettings, weights: bool = True) -> tuple[Path, str | None]:
    """Return the folder of a V-JEPA 2 checkpoint, and its commit if it came from the hub.

    Raises:
        ValueError: for a name that is none, or that cannot be fetched.
    """
    name, revision = settings.cosmos_model_name, settings.cosmos_revision
    if name in (TINY_MODEL, DEFAULT_COSMOS_MODEL):
        raise ValueError(
            f"cosmos_model_name={name!r} is Cosmos-Predict2; the tap 'v-jepa2' reads a V-JEPA 2 checkpoint: name one,"
            f" such as {EXAMPLE}, or for tests write a random one with theworld.tiny.build_world('v-jepa2', FOLDER)"
        )
    if Path(name).is_dir():
        if revision is not None:
            raise ValueError(f"cosmos_revision={revision!r} is a commit on the hub, but {name!r} is a folder: drop it")
        return Path(name), None
    folder = fetch(name, ["config.json", *(["*.safetensors"] if weights else [])], revision)
    return folder, folder.name


def jepa_config(settings: WorldSettings) -> VJEPA2Config:
    """Read the configuration of a V-JEPA 2 checkpoint, and check that it fits the frames.

    Raises:
        ValueError: for another model, or frames of another side than it sees.
    """
    folder, _ = jepa_folder(settings, weights=False)
    file = folder / "config.json"
    try:
        values = json.loads(file.read_bytes(), object_pairs_hook=unique_names)
    except (OSError, ValueError, RecursionError):
        values = None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != "vjepa2":
        raise ValueError(
            f"{file}: the model_type {kind!r}; expected 'vjepa2', a checkpoint such as {EXAMPLE}: name one with"
            " cosmos_model_name, or choose another tap"
        )
    config = VJEPA2Config.from_pretrained(folder)
    if config.tubelet_size != 2 or not isinstance(config.patch_size, int) or config.crop_size % config.patch_size:
        raise ValueError(
            f"{file}: tubelet_size={config.tubelet_size}, patch_size={config.patch_size}, crop_size={config.crop_size}:"
            f" expected tubelets of 2 frames and whole patches; {again(folder)}"
        )
    if config.crop_size != settings.image_size_px:
        raise ValueError(f"image_size_px={settings.image_size_px}: V-JEPA 2 in {folder} sees {config.crop_size} px")
    return config
