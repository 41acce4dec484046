"""Stage world: train a Cosmos transformer of 3.5 million parameters on video alone to imagine the next frames."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset
from transformers.trainer_utils import get_last_checkpoint

from recipes.pools import CLIPS_PER_PIECE, FIRST_HELD_OUT_CLIP, REMEDY, world_clips
from recipes.settings import TinySettings, WorldRecipe
from recipes.trainer import MuonAdamW, Objective, halve, start_from, train_on_cpu
from recipes.vae import channels_last, encode_clips
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.disk_cache import npy_bytes
from theworld.datasets.foresight.items import VARIED_VERSION
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_GIVEN_FRAMES, TASKS, Scenes
from theworld.io import PieceFolder, check_same_run, fingerprint_weights, whole_folder, write_whole
from theworld.precision import fastest_dtype
from theworld.tiny.cosmos import LATENT_CHANNELS, MODEL_INDEX

_NAME = "vae.txt"
_STEP_NAME = "step.txt"


class LatentPool(Dataset):
    """The first clips of the split `world` as normalised latents: `{"latents": (16, 5, h, w), "num_given": ()}`.

    `folder` holds a file per 250 clips; see `PieceFolder` for interruptions. Memory holds all latents in float16: 10 kB
    each at 64 px. A processor with instructions for bfloat16 computes them in bfloat16, in half the time of float32 and
    with an error of 0.007 of their spread.

    Args:
        folder: holds the pieces.
        vae_folder: the finished autoencoder.
        num_clips: length of the data set.
        image_size_px: side of the frames.
        first: index of the first clip.
        scenes: plain or varied.

    Raises:
        ValueError: if the folder holds latents of another autoencoder or of other scenes.
    """

    def __init__(
        self,
        folder: Path,
        vae_folder: Path,
        num_clips: int,
        image_size_px: int,
        first: int = 0,
        scenes: Scenes = "plain",
    ) -> None:
        dtype = getattr(torch, fastest_dtype(torch.device("cpu")))
        vae: AutoencoderKLWan = AutoencoderKLWan.from_pretrained(vae_folder, torch_dtype=dtype)  # pyright: ignore[reportAssignmentType]
        channels_last(vae)
        _claim(folder, vae_folder, scenes)
        pieces = PieceFolder(folder, range(first, first + num_clips, CLIPS_PER_PIECE), num_digits=9)
        pieces.fill(lambda start: _encode(vae, start, image_size_px, scenes), "encoding clips")
        self.latents = torch.from_numpy(np.concatenate([np.load(path) for path in pieces.paths])[:num_clips])
        self.num_given = num_given(torch.arange(first, first + num_clips))

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"latents": self.latents[index], "num_given": self.num_given[index]}


def held_out_latents(
    folder: Path, vae_folder: Path, num_clips: int, image_size_px: int, scenes: Scenes = "plain"
) -> tuple[Float[Tensor, "N 16 5 h w"], Int[Tensor, " N"]]:
    """Return latents that no recipe trains on, and the number of given slots of each."""
    pool = LatentPool(folder, vae_folder, num_clips, image_size_px, FIRST_HELD_OUT_CLIP, scenes)
    return pool.latents.float(), pool.num_given


def num_given(indices: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Return the number of slots of a clip that its task shows: one for a picture, two for five frames."""
    slots = [1 + (NUM_GIVEN_FRAMES[task] - 1) // TEMPORAL_STRIDE for task in TASKS]
    return torch.tensor(slots)[indices % len(TASKS)]


def _encode(vae: AutoencoderKLWan, first: int, image_size_px: int, scenes: Scenes) -> dict[str, bytes]:
    latents = encode_clips(vae, world_clips(first, CLIPS_PER_PIECE, image_size_px, scenes))
    mean, std = (torch.tensor(vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    return {".npy": npy_bytes(((latents - mean) / std).half().numpy())}


def _claim(folder: Path, vae_folder: Path, scenes: Scenes) -> None:
    """Keep the fingerprint of the autoencoder, and the kind of scenes, beside latents; refuse those of another one."""
    path, fingerprint = folder / _NAME, fingerprint_weights(vae_folder)
    if scenes != "plain":
        fingerprint = f"{fingerprint} {scenes} {VARIED_VERSION}"
    if path.exists():
        check_same_run(folder, {"autoencoder": fingerprint}, {"autoencoder": path.read_text()}, REMEDY)
    else:
        write_whole(path, fingerprint)


GIVEN_NOISE_LEVEL: Final = 0.0001 / 1.0001
"""Timestep of given slots in the pipeline: sigma 0.0001 in t = sigma / (1 + sigma)."""

_LOG_SIGMA_SPREAD: Final = 1.6
_MOST_LOG_SIGMA: Final = 4.5
_MEASURED_LEVELS: Final = (0.3, 0.6, 0.8, 0.9, 0.955, 0.988)
"""Noise levels t of the measurements."""


def tiny_transformer() -> CosmosTransformer3DModel:
    """Return a Cosmos-Predict2 denoiser with 6 blocks of width 192; the original has 28 of 2,048."""
    return CosmosTransformer3DModel(
        in_channels=LATENT_CHANNELS + 1,  # and the condition mask
        out_channels=LATENT_CHANNELS,
        num_attention_heads=6,
        attention_head_dim=32,
        num_layers=6,
        mlp_ratio=3.0,
        text_embed_dim=32,
        adaln_lora_dim=48,
        rope_scale=(1.0, 3.0, 3.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
    )


class WorldObjective(Objective):
    """Flow matching: the velocity noise - x0 of the slots that are not given, from x_t = (1 - t) x0 + t noise."""

    def __init__(
        self,
        transformer: CosmosTransformer3DModel,
        held_out: tuple[Float[Tensor, "N 16 T h w"], Int[Tensor, " N"]],
        average_decay: float,
        log_sigma: float = 0.0,
    ) -> None:
        super().__init__()
        self.log_sigma = log_sigma
        self.moving_weight = 1.0
        self.transformer = transformer
        self.average = AveragedModel(transformer, multi_avg_fn=get_ema_multi_avg_fn(average_decay)).requires_grad_(
            False
        )
        self._held_out = held_out
        self.doses: dict[int, Path] = {}
        """Folders to save the average in, by the number of steps before."""

    def forward(self, latents: Float[Tensor, "B 16 T h w"], num_given: Int[Tensor, " B"]) -> dict[str, Tensor]:
        """Return the loss of a batch, with a separate noise level for each clip."""
        spread = _LOG_SIGMA_SPREAD * torch.randn(len(latents))
        log_sigma = (self.log_sigma + spread).clamp(max=_MOST_LOG_SIGMA)
        noise = torch.randn(latents.shape)
        latents, weights = latents.float(), None
        if self.moving_weight != 1:
            weights = 1 + (self.moving_weight - 1) * moving_places(latents, num_given).float()
        with sdpa_kernel(SDPBackend.MATH):  # on a CPU the fused kernel's backward takes a third of the step
            return {"loss": velocity_loss(self.transformer, latents, num_given, log_sigma.sigmoid(), noise, weights)}

    def after_step(self) -> None:
        """Update the average, which is the model that stage world keeps, and save a dose that is due."""
        self.average.update_parameters(self.transformer)
        step = int(self.average.n_averaged)
        if folder := self.doses.get(step):
            _save(self.average.module, folder)
            write_whole(folder.parent / _STEP_NAME, str(step))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the loss of the average on held-out clips at several noise levels."""
        latents, num_given = self._held_out
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        losses = {}
        for level in _MEASURED_LEVELS:
            levels = torch.full((len(latents),), level)
            losses[f"loss_at_{level}"] = round(velocity_loss(self.average, latents, num_given, levels, noise).item(), 5)
        return losses


def velocity_loss(
    transformer: Any,
    latents: Float[Tensor, "B 16 T h w"],
    num_given: Int[Tensor, " B"],
    level: Float[Tensor, " B"],
    noise: Float[Tensor, "B 16 T h w"],
    weights: Float[Tensor, "B 1 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean squared error of the velocity over the slots that are not given; `weights` of places multiply it.

    The network gets the same input as in diffusers' Cosmos2VideoToWorldPipeline: given slots clean, at timestep
    1e-4 / (1 + 1e-4), condition mask 1; the others (1 - t) x0 + t noise at timestep t.
    """
    slots = torch.arange(latents.shape[2])
    is_given = (slots < num_given[:, None])[:, None, :, None, None]  # (B, 1, T, 1, 1)
    levels = level.view(-1, 1, 1, 1, 1)
    noised = torch.where(is_given, latents, (1 - levels) * latents + levels * noise)
    side = latents.shape[-1] * 8
    velocity = transformer(
        hidden_states=noised,
        timestep=torch.where(is_given, GIVEN_NOISE_LEVEL, levels),
        encoder_hidden_states=latents.new_zeros(len(latents), 1, 32),
        fps=FRAME_RATE_HZ,
        condition_mask=is_given.to(latents.dtype).expand(-1, -1, -1, *latents.shape[3:]),
        padding_mask=latents.new_zeros(1, 1, side, side),
        return_dict=False,
    )[0]
    error = (velocity.float() - (noise - latents)).square() * ~is_given
    if weights is not None:
        error = error * weights
    return error.sum() / (~is_given).expand_as(error).sum()


_LEAST_MOTION: Final = 0.1
"""Variance of a latent over the slots after the given ones from which its place counts as moving; latents have 1."""


def moving_places(latents: Float[Tensor, "B 16 T h w"], num_given: Int[Tensor, " B"]) -> Bool[Tensor, "B 1 1 h w"]:
    """Return the places whose latents change over the slots that are not given."""
    is_imagined = (torch.arange(latents.shape[2]) >= num_given[:, None])[:, None, :, None, None]
    count = is_imagined.sum(2, keepdim=True)
    mean = (latents * is_imagined).sum(2, keepdim=True) / count
    variance = ((latents - mean).square() * is_imagined).sum(2, keepdim=True) / count
    return variance.mean(1, keepdim=True) > _LEAST_MOTION


def build_world(settings: TinySettings) -> dict[str, Any]:
    """Train the denoiser on the latents of the finished autoencoder, and write the rest of `cosmos`.

        output_dir/latents/   the pool of latents
        output_dir/world/N/   recipe, curves, checkpoint of phase N
        output_dir/world/doses/1-8/transformer/   and so on: the average after these shares of the steps
        output_dir/cosmos/    transformer/, scheduler/, model_index.json

    Returns:
        The folder and the quality, as `verify_world`.

    Raises:
        ValueError: without a finished autoencoder; for a first phase that the recipe does not have; for a later one
            without a build to start from, or with doses; or if training has passed a dose without saving it.
    """
    recipe, cosmos = settings.world, settings.output_dir / "cosmos"
    if not (cosmos / "vae").is_dir():
        raise ValueError(f"{cosmos / 'vae'}: no autoencoder; build the stage vae first")
    if recipe.first_phase > len(recipe.phases):
        raise ValueError(f"first_phase={recipe.first_phase}: expected at most {len(recipe.phases)}, the last phase")
    if recipe.first_phase > 1 and (settings.start_from is None or recipe.doses):
        raise ValueError(f"first_phase={recipe.first_phase}: expected start_from, with the phases before, and no doses")
    torch.manual_seed(settings.seed)
    transformer = tiny_transformer()
    start = start_from(settings.start_from, "cosmos/transformer", transformer)
    objective = WorldObjective(transformer, held_out_of(settings), recipe.average_decay)
    objective.doses = _doses(settings.output_dir / "world", recipe)
    for number, phase in list(enumerate(recipe.phases, start=1))[recipe.first_phase - 1 :]:
        objective.log_sigma, objective.moving_weight = phase.log_sigma, phase.moving_weight
        train_on_cpu(
            objective,
            LatentPool(
                settings.output_dir / "latents",
                cosmos / "vae",
                max(1, round(recipe.clip_share * phase.num_clips)),
                settings.image_size_px,
                scenes=settings.scenes,
            ),
            settings.output_dir / "world" / str(number),
            recipe={**settings.identity, **start, **_identity(recipe, number)},
            measure_steps=recipe.measure_steps,
            optimizer=MuonAdamW(
                objective.transformer, phase.matrix_learning_rate, phase.learning_rate, recipe.weight_decay
            ),
            max_steps=phase.num_steps,
            per_device_train_batch_size=recipe.batch_size,
            lr_scheduler_type="cosine",
            warmup_steps=recipe.warmup_steps,
            max_grad_norm=1.0,
            seed=settings.seed,
        )
    _save(objective.average.module, cosmos / "transformer")
    with whole_folder(cosmos / "scheduler") as aside:
        FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True).save_pretrained(aside)
    write_whole(cosmos / "model_index.json", json.dumps(MODEL_INDEX, indent=2) + "\n")
    return verify_world(settings)


def _save(transformer: Any, folder: Path) -> None:
    with whole_folder(folder) as aside:
        transformer.save_pretrained(aside)
        halve(aside)


def _identity(recipe: WorldRecipe, number: int) -> dict[str, Any]:
    """Return everything that the weights after a phase depend on; earlier folders name fewer settings."""
    values = dataclasses.asdict(dataclasses.replace(recipe, phases=recipe.phases[:number]))
    del values["doses"]
    for phase in values["phases"]:
        if phase["moving_weight"] == 1:
            del phase["moving_weight"]
    for name, idle in (("clip_share", 1), ("first_phase", 1)):
        if values[name] == idle:
            del values[name]
    return values


def dose_name(share: float) -> str:
    """Return the name of a share as a fraction: 1-8 of 0.125."""
    fraction = Fraction(share).limit_denominator(1_000)
    return f"{fraction.numerator}-{fraction.denominator}"


def _doses(folder: Path, recipe: WorldRecipe) -> dict[int, Path]:
    """Return where to save the average, by the step of all phases together.

    Raises:
        ValueError: if training has passed a step without saving its dose, or has saved it at another step.
    """
    num_steps = sum(phase.num_steps for phase in recipe.phases)
    doses = {max(1, round(share * num_steps)): folder / "doses" / dose_name(share) for share in recipe.doses}
    phases = [folder / str(number) for number in range(1, len(recipe.phases) + 1)]
    newest = [get_last_checkpoint(str(phase)) if phase.is_dir() else None for phase in phases]
    done = sum(int(checkpoint.rsplit("-", 1)[1]) for checkpoint in newest if checkpoint)
    saved = {path: _step_of(path) for path in doses.values()}
    missed = [
        str(path) for step, path in doses.items() if saved[path] != step and (step <= done or saved[path] is not None)
    ]
    if missed:
        raise ValueError(
            f"{', '.join(missed)}: not saved at their step, and training is at step {done}; delete {folder}, or build"
            " in another output_dir"
        )
    return {step: path / "transformer" for step, path in doses.items()}


def _step_of(dose: Path) -> int | None:
    """Return the step at which a dose was saved; None: not saved, or by a version that noted no step."""
    path = dose / _STEP_NAME
    return int(path.read_text()) if path.exists() else None


def verify_world(settings: TinySettings) -> dict[str, Any]:
    """Measure the denoiser of a build folder on held-out clips.

    Returns:
        world: its folder; the loss at several noise levels; num_clips.
    """
    folder = settings.output_dir / "cosmos" / "transformer"
    transformer: CosmosTransformer3DModel = CosmosTransformer3DModel.from_pretrained(folder)  # pyright: ignore[reportAssignmentType]
    held_out = held_out_of(settings)
    losses = WorldObjective(transformer.eval(), held_out, settings.world.average_decay).measure()
    return {"world": str(folder), **losses, "num_clips": len(held_out[0])}


def held_out_of(settings: TinySettings) -> tuple[Float[Tensor, "N 16 T h w"], Int[Tensor, " N"]]:
    """Return the held-out latents of a build, as `held_out_latents`."""
    folder, vae = settings.output_dir / "held_out_latents", settings.output_dir / "cosmos" / "vae"
    return held_out_latents(folder, vae, settings.world.num_held_out, settings.image_size_px, settings.scenes)
