"""Stage ssl: train a V-JEPA 2 of 3.4 million parameters on the world's clips, an opponent of the world model."""

import dataclasses
from itertools import product
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import l1_loss, layer_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import VJEPA2Config, VJEPA2Model

from recipes.pools import ClipPool, held_out
from recipes.settings import TinySettings
from recipes.trainer import MuonAdamW, Objective, halve, start_from, train_on_cpu
from theworld.datasets.foresight.scene import NUM_FRAMES
from theworld.io import whole_folder
from theworld.tiny.gemma import without_progress_bars
from theworld.world.jepa import TUBELETS_PER_SLOT, as_video

FOLDER: Final = "ssl"

_PATCH_PX: Final = 16
_NUM_TUBELETS: Final = (NUM_FRAMES + 1) // 2
"""The first frame is shown twice, as the tap shows it."""
_GIVEN_SLOTS: Final = (1, 2)
"""Slots that a task shows: a picture is one, a clip of five frames two."""
_LEAST_HIDDEN, _MOST_HIDDEN = 0.5, 0.75
"""Shares of a picture that a tube may hide."""
_BATCH_WITHOUT_GRADIENT: Final = 25
_COLLAPSED: Final = 0.01
"""A `feature_std` below this means that features no longer depend on the clip."""


def tiny_jepa(image_size_px: int) -> VJEPA2Model:
    """Return a V-JEPA 2 with an encoder of 6 layers of width 192 and a predictor of 4 of 96; ViT-L has 24 of 1,024.

    A patch of 16 px is as large as a cell of the world's denoiser.

    Raises:
        ValueError: for frames with fewer than 2 x 2 patches, of which no part can be hidden.
    """
    if image_size_px < 2 * _PATCH_PX or image_size_px % _PATCH_PX:
        raise ValueError(f"image_size_px={image_size_px}: the stage ssl expects a multiple of {_PATCH_PX}, 32 or more")
    config = VJEPA2Config(
        crop_size=image_size_px,
        frames_per_clip=2 * _NUM_TUBELETS,
        patch_size=_PATCH_PX,
        hidden_size=192,
        num_attention_heads=6,
        num_hidden_layers=6,
        pred_hidden_size=96,
        pred_num_attention_heads=3,
        pred_num_hidden_layers=4,
        pred_num_mask_tokens=1,  # the predictor's forward reads one
    )
    return VJEPA2Model(config)


def hide_tubes(num_clips: int, side: int) -> Bool[Tensor, "B 9 side side"]:
    """Hide a block of patches in all tubelets of each clip: one size, at a place of its own in every clip."""
    areas = range(round(_LEAST_HIDDEN * side**2), round(_MOST_HIDDEN * side**2) + 1)
    sizes = [size for size in product(range(1, side + 1), repeat=2) if size[0] * size[1] in areas]
    height, width = sizes[int(torch.randint(len(sizes), ()))]
    top, left = (torch.randint(side - length + 1, (num_clips, 1)) for length in (height, width))
    place = torch.arange(side)
    rows, columns = (place >= top) & (place < top + height), (place >= left) & (place < left + width)
    block = rows[:, :, None] & columns[:, None, :]
    return block[:, None].expand(-1, _NUM_TUBELETS, -1, -1)


def hide_future(num_clips: int, side: int, given_slots: int) -> Bool[Tensor, "B 9 side side"]:
    """Hide all tubelets after the given slots, as the tap does: the first slot is one tubelet, later ones two."""
    is_future = torch.arange(_NUM_TUBELETS) > TUBELETS_PER_SLOT * (given_slots - 1)
    return is_future[None, :, None, None].expand(num_clips, -1, side, side)


def places(mask: Bool[Tensor, "B T h w"]) -> Int[Tensor, "B N"]:
    """Return the indices of the patches that a mask marks, as many in each clip."""
    return mask.flatten(1).nonzero()[:, 1].view(len(mask), -1)


class SslObjective(Objective):
    """V-JEPA: predict the running average's features of hidden patches from the visible ones, in absolute error.

    Half of the steps hide a tube of space, the others the future after one or two slots.
    """

    def __init__(
        self, jepa: VJEPA2Model, held_out_clips: UInt8[np.ndarray, "N 17 H W 3"], average_decay: float
    ) -> None:
        super().__init__()
        self.jepa = jepa
        self.average = AveragedModel(jepa, multi_avg_fn=get_ema_multi_avg_fn(average_decay)).requires_grad_(False)
        self._side = jepa.config.crop_size // _PATCH_PX
        self._held_out = held_out_clips

    def forward(self, clips: UInt8[Tensor, "B 17 H W 3"]) -> dict[str, Tensor]:
        """Return the loss of a batch, with one kind of mask for all its clips."""
        kind = int(torch.randint(2 * len(_GIVEN_SLOTS), ()))
        if kind < len(_GIVEN_SLOTS):
            hidden = hide_future(len(clips), self._side, _GIVEN_SLOTS[kind])
        else:
            hidden = hide_tubes(len(clips), self._side)
        video = _to_video(clips)
        with sdpa_kernel(SDPBackend.MATH):  # on a CPU the fused kernel's backward takes longer
            targets = features(self.average.module, video)
            return {"loss": l1_loss(predict(self.jepa, video, hidden), take(targets, places(hidden)))}

    def after_step(self) -> None:
        """Update the average, whose encoder gives the targets, and which the stage keeps."""
        self.average.update_parameters(self.jepa)

    def measure(self) -> dict[str, float]:
        """Measure the average on held-out clips, as `measure_jepa`."""
        return measure_jepa(self.average.module, self._held_out)


def _to_video(clips: UInt8[Tensor, "B F H W 3"]) -> Float[Tensor, "B G 3 H W"]:
    return as_video(clips.permute(0, 1, 4, 2, 3))


def take(states: Float[Tensor, "B N C"], at: Int[Tensor, "B M"]) -> Float[Tensor, "B M C"]:
    """Return the states of the patches at these places of each clip."""
    return states.gather(1, at[:, :, None].expand(-1, -1, states.shape[-1]))


@torch.no_grad()
def features(jepa: Any, video: Float[Tensor, "B G 3 H W"]) -> Float[Tensor, "B N C"]:
    """Return the encoder's states of whole clips, each patch with mean 0 and spread 1, as V-JEPA's targets are."""
    states = jepa.encoder(pixel_values_videos=video).last_hidden_state.float()
    return layer_norm(states, states.shape[-1:])


def predict(jepa: Any, video: Float[Tensor, "B G 3 H W"], hidden: Bool[Tensor, "B T h w"]) -> Float[Tensor, "B M C"]:
    """Encode the visible patches alone, and predict the features of the hidden ones.

    `VJEPA2Model.forward` encodes all patches before it hides some, which is no training.
    """
    visible = places(~hidden)
    patches = jepa.encoder.embeddings(video)
    states = take(patches, visible)
    for layer in jepa.encoder.layer:
        states = layer(states, visible)[0]
    states = jepa.encoder.layernorm(states)
    at = visible[:, :, None].expand(-1, -1, states.shape[-1])
    everywhere = states.new_zeros(patches.shape).scatter(1, at, states)  # the predictor takes the visible ones again
    predicted = jepa.predictor(everywhere, context_mask=[visible], target_mask=[places(hidden)])
    return predicted.last_hidden_state.float()


@torch.no_grad()
def measure_jepa(jepa: Any, clips: UInt8[np.ndarray, "N 17 H W 3"]) -> dict[str, float]:
    """Measure a V-JEPA 2 on clips: how well it predicts the future, and that its features have not collapsed.

    Returns:
        future_loss: mean absolute error of future features after one slot, and after two.
        mean_loss: the same error of the mean over the clips at each place, which a predictor without eyes reaches.
        feature_std: standard deviation of a feature over the clips at one place, the mean over features and places;
            0 after a collapse, 1 at most.
        feature_rank: number of directions in which features vary over clips and places: (sum of the eigenvalues of
            their covariance)² / sum of the squares.
    """
    side = jepa.config.crop_size // _PATCH_PX
    batches = torch.from_numpy(np.ascontiguousarray(clips)).split(_BATCH_WITHOUT_GRADIENT)
    encoded, predicted = [], [[] for _ in _GIVEN_SLOTS]
    for batch in batches:
        video = _to_video(batch)
        encoded.append(features(jepa, video))
        for outputs, slots in zip(predicted, _GIVEN_SLOTS, strict=True):
            outputs.append(predict(jepa, video, hide_future(len(batch), side, slots)))
    states = torch.cat(encoded)
    losses, of_means = [], []
    for outputs in predicted:
        future = torch.cat(outputs)
        true = states[:, -future.shape[1] :]
        losses.append(l1_loss(future, true).item())
        of_means.append((true - true.mean(0)).abs().mean().item())
    variances = torch.linalg.eigvalsh(torch.cov(states.flatten(0, 1).T.double()))
    return {
        "future_loss": round(float(np.mean(losses)), 5),
        "mean_loss": round(float(np.mean(of_means)), 5),
        "feature_std": round(states.std(0, correction=0).mean().item(), 5),
        "feature_rank": round((variances.sum() ** 2 / variances.square().sum()).item(), 2),
    }


def build_ssl(settings: TinySettings) -> dict[str, Any]:
    """Train a V-JEPA 2, and write `ssl` of the build folder, a checkpoint for the tap `v-jepa2`.

        output_dir/clips/         the pool of clips, shared with stage vae
        output_dir/ssl-training/  recipe, curves, checkpoint
        output_dir/ssl/           the running average of encoder and predictor, a VJEPA2Model

    Returns:
        The folder and the quality, as `verify_ssl`.

    Raises:
        ValueError: if the features have collapsed, or the frames are too small.
    """
    recipe, size_px = settings.ssl, settings.image_size_px
    torch.manual_seed(settings.seed)
    jepa = tiny_jepa(size_px)
    start = start_from(settings.start_from, FOLDER, jepa)
    objective = SslObjective(jepa, held_out(recipe.num_held_out, size_px, settings.scenes), recipe.average_decay)
    train_on_cpu(
        objective,
        ClipPool(settings.output_dir / "clips", recipe.num_clips, size_px, settings.num_threads, settings.scenes),
        settings.output_dir / f"{FOLDER}-training",
        recipe={**settings.identity, **start, **dataclasses.asdict(recipe)},
        measure_steps=recipe.measure_steps,
        optimizer=MuonAdamW(jepa, recipe.matrix_learning_rate, recipe.learning_rate, recipe.weight_decay),
        max_steps=recipe.num_steps,
        per_device_train_batch_size=recipe.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        max_grad_norm=1.0,
        seed=settings.seed,
    )
    average: Any = objective.average.module
    if (spread := objective.measure()["feature_std"]) < _COLLAPSED:
        raise ValueError(
            f"{settings.output_dir / FOLDER}: features have collapsed (feature_std {spread}, expected {_COLLAPSED} or"
            " more); raise average_decay, or lower the learning rates, in another output_dir"
        )
    with whole_folder(settings.output_dir / FOLDER) as aside:
        with without_progress_bars():
            average.save_pretrained(aside)
        halve(aside)
    return verify_ssl(settings)


def verify_ssl(settings: TinySettings) -> dict[str, Any]:
    """Measure the V-JEPA 2 of a build folder on held-out clips.

    Returns:
        ssl: its folder; the results of `measure_jepa`; num_clips.

    Raises:
        ValueError: without a finished stage.
    """
    folder = settings.output_dir / FOLDER
    if not folder.is_dir():
        raise ValueError(f"{folder}: no V-JEPA 2; build the stage ssl first")
    with without_progress_bars():
        jepa = VJEPA2Model.from_pretrained(folder, dtype=torch.float32)
    clips = held_out(settings.ssl.num_held_out, settings.image_size_px, settings.scenes)
    return {"ssl": str(folder), **measure_jepa(jepa.eval(), clips), "num_clips": len(clips)}
