"""Pools of latents: clips of the split `world` through the finished autoencoder, encoded once in pieces."""

import io
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets import foresight
from theworld.datasets.foresight.scene import NUM_GIVEN_FRAMES, TASKS
from theworld.io import fingerprint_weights, write_whole
from theworld.precision import fastest_dtype
from theworld.recipes.clips import CLIPS_PER_PIECE, FIRST_HELD_OUT
from theworld.recipes.vae import encode_clips
from theworld.recipes.whole_clip import channels_last

_NAME = "vae.txt"


class LatentPool(Dataset):
    """The first clips of the split `world` as normalised latents: `{"latents": (16, 5, h, w), "num_given": ()}`.

    A file per 250 clips lies in `folder`, whole or absent: a pool that was interrupted is filled up. All latents are
    held in memory, in float16: 10 kB each at 64 px. A processor with instructions for bfloat16 computes them in it, in
    half of float32's time and with an error of 0.007 of their spread.

    Args:
        folder: where the pieces lie, or will.
        vae_folder: the finished autoencoder.
        num_clips: how many clips the data set has.
        image_size_px: side of the frames.
        first: index of the first clip.

    Raises:
        ValueError: if the folder holds latents of another autoencoder.
    """

    def __init__(self, folder: Path, vae_folder: Path, num_clips: int, image_size_px: int, first: int = 0) -> None:
        dtype = getattr(torch, fastest_dtype(torch.device("cpu")))
        vae: AutoencoderKLWan = AutoencoderKLWan.from_pretrained(vae_folder, torch_dtype=dtype)  # pyright: ignore[reportAssignmentType]
        channels_last(vae)
        _claim(folder, vae_folder)
        pieces = [folder / f"{start:09d}.npy" for start in range(first, first + num_clips, CLIPS_PER_PIECE)]
        missing = [path for path in pieces if not path.exists()]
        for path in tqdm(missing, desc="encoding clips", unit="piece", disable=not missing):
            _encode_piece(vae, path, image_size_px)
        self.latents = torch.from_numpy(np.concatenate([np.load(path) for path in pieces])[:num_clips])
        self.num_given = num_given(torch.arange(first, first + num_clips))

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"latents": self.latents[index], "num_given": self.num_given[index]}


def held_out_latents(
    folder: Path, vae_folder: Path, num_clips: int, image_size_px: int
) -> tuple[Float[Tensor, "N 16 5 h w"], Int[Tensor, " N"]]:
    """Latents that no recipe trains on, and how many slots of each are given."""
    pool = LatentPool(folder, vae_folder, num_clips, image_size_px, FIRST_HELD_OUT)
    return pool.latents.float(), pool.num_given


def num_given(indices: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Slots of a clip that its task shows before it asks: one of a picture, two of five frames."""
    slots = [1 + (NUM_GIVEN_FRAMES[task] - 1) // TEMPORAL_STRIDE for task in TASKS]
    return torch.tensor(slots)[indices % len(TASKS)]


def _encode_piece(vae: AutoencoderKLWan, path: Path, image_size_px: int) -> None:
    first = int(path.stem)
    clips = [foresight.world_clip(index, image_size_px) for index in range(first, first + CLIPS_PER_PIECE)]
    latents = encode_clips(vae, np.stack(clips))
    mean, std = (torch.tensor(vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    content = io.BytesIO()
    np.save(content, ((latents - mean) / std).half().numpy())
    write_whole(path, content.getvalue())


def _claim(folder: Path, vae_folder: Path) -> None:
    path, own = folder / _NAME, fingerprint_weights(vae_folder)
    if not path.exists():
        write_whole(path, own)
    elif path.read_text() != own:
        raise ValueError(f"{folder} holds latents of another autoencoder: delete that folder, or build in another one")
