"""Imagine the future of a clip, compare it with the clip's own continuation, and write both as a video or picture."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theworld.config.commands import ImagineSettings
from theworld.config.world import check_world_steps
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.animation import write_gif, write_mp4
from theworld.datasets.errors import VideoError
from theworld.datasets.images import square_frames
from theworld.datasets.video import LATE_SHARE, ClipRule, frames_at, open_video
from theworld.datasets.window_index import period_of
from theworld.io import whole_file
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine, to_be_asked
from theworld.modeling.introspection import check_shown, decoded, future_latents, world_vae
from theworld.report.future_frames import Future, contact_sheet, side_by_side
from theworld.tables import ABSENT, Table
from theworld.world.forecast import READING, errors_of, psnr

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """A moment of a video: the given frames before it, and the true ones after it."""

    now_s: float
    """Time of the current frame, seconds from the first."""
    period_s: float
    """Time between two frames."""
    num_given: int
    """Given frames, 1 + 4j."""
    num_true: int
    """Slots that followed, 4 frames each."""

    @property
    def moments_s(self) -> Float[np.ndarray, " N"]:
        """Times of the given frames and of those that followed."""
        return self.now_s + self.period_s * np.arange(1 - self.num_given, 1 + TEMPORAL_STRIDE * self.num_true)


def cut_at(times_s: Float[np.ndarray, " M"], rule: ClipRule, steps: int, at_s: float | None) -> Cut:
    """Choose the given frames of a video, and the true ones that follow.

    Args:
        times_s: of the frames of the video.
        rule: rate and most given frames.
        steps: K, slots to compare.
        at_s: time of the current frame; None: the last one with K true slots after it, or the end if there is none.

    Raises:
        VideoError: for a time beyond the end.
    """
    period, end = period_of(times_s, rule.frame_rate_hz), float(times_s[-1])
    if at_s is not None and at_s > end + LATE_SHARE * period:
        raise VideoError(f"at={at_s:g} s: the video lasts {end:.3g} s; give a time within it")
    now = end if at_s is None else min(at_s, end)
    if at_s is None and end - TEMPORAL_STRIDE * steps * period >= -LATE_SHARE * period:
        now = max(0.0, end - TEMPORAL_STRIDE * steps * period)
    before, after = int(now / period + LATE_SHARE), int((end - now) / period + LATE_SHARE)
    num_given = min(rule.num_frames, 1 + TEMPORAL_STRIDE * (before // TEMPORAL_STRIDE))
    return Cut(now, period, num_given, min(steps, after // TEMPORAL_STRIDE))


def imagine_clip(settings: ImagineSettings) -> tuple[dict[str, Any], Table]:
    """Imagine the future of a clip, and write it beside the true one.

    Returns:
        The values for a program, and the table of errors by slot.

    Raises:
        ValueError: for a file of another kind, a clip that cannot be read, a K or a time that does not fit, or a model
            that imagines no video.
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not installed.
        UnsafeVideoError: if the guardrail rejects the video.
    """
    out = settings.out
    _check_before_loading(settings)
    model = TheWorld.from_pretrained(to_be_asked(settings.model), **on_this_machine(settings.dtype))
    check_shown(model)
    steps = model.config.num_world_steps if settings.steps is None else settings.steps
    if steps == 0:
        raise ValueError(f"{settings.model} looks no slot ahead: give --steps, the slots to imagine")
    try:
        check_world_steps(steps, model.config.max_world_steps)
    except ValueError as error:
        raise ValueError(f"--steps: {error}, the slots of {settings.model}") from None
    cut, frames, aspect = _read(settings, model, steps)
    given = frames[: cut.num_given][None].contiguous()
    latents = future_latents(model, given, steps)
    pictures = decoded(model, latents).numpy()
    future = Future(
        given=_as_pictures(frames[: cut.num_given]),
        imagined=pictures[cut.num_given :],
        true=_as_pictures(frames[cut.num_given :]),
        period_s=cut.period_s,
        aspect=aspect,
    )
    rows = _errors(model, frames, latents, future) if cut.num_true else []
    _write(future, out, [f"error {row['relative']:.2f}" for row in rows])
    values = {
        "out": str(out),
        "model": settings.model,
        "at_s": round(cut.now_s, 3),
        "num_given_frames": cut.num_given,
        "num_slots": steps,
        "seconds_per_slot": round(TEMPORAL_STRIDE * cut.period_s, 4),
        "num_true_slots": cut.num_true,
        "slots": rows,
    }
    return values, _table(rows, cut)


def _check_before_loading(settings: ImagineSettings) -> None:
    """Refuse an output that cannot be written, and a clip or a time that does not fit; no model loads for it."""
    out = settings.out
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out}: its folder does not exist; create it first")
    if out.is_dir():
        raise ValueError(f"{out}: a folder; give the name of a new file with --out")
    with open_video(settings.clip) as video:
        if out.exists() and out.samefile(settings.clip):
            raise ValueError(f"{out}: the clip itself; give another name with --out")
        assert video.times_s is not None  # of a file
        if settings.at is not None:
            cut_at(video.times_s, ClipRule(), 1, settings.at)


def _read(settings: ImagineSettings, model: TheWorld, steps: int) -> tuple[Cut, Tensor, float]:
    """Return the cut, its frames (F, 3, S, S), and the aspect ratio of the video."""
    rule = model.config.clip_rule
    with open_video(settings.clip) as video:
        assert video.times_s is not None  # of a file
        cut = cut_at(video.times_s, rule, steps, settings.at)
        pictures = frames_at(video, cut.moments_s, cut.period_s)
    if cut.num_given < rule.num_frames:
        logger.info("%d given frames are there, and not %d", cut.num_given, rule.num_frames)
    if cut.period_s * rule.frame_rate_hz > 1 + LATE_SHARE:
        logger.warning(
            "the video has %.3g frames a second, and the world model expects %g", 1 / cut.period_s, rule.frame_rate_hz
        )
    width, height = pictures[-1].size
    return cut, square_frames(pictures, model.config.world_image_size), width / height


def _errors(model: TheWorld, frames: Tensor, latents: Tensor, future: Future) -> list[dict[str, Any]]:
    """Return a row for each slot whose truth is known: errors of latents and pixels."""
    errors = errors_of(world_vae(model), latents, frames[None], len(future.given))
    happened = torch.from_numpy(future.true).unflatten(0, (-1, TEMPORAL_STRIDE))
    imagined = torch.from_numpy(future.imagined[: len(future.true)]).unflatten(0, (-1, TEMPORAL_STRIDE))
    still = torch.from_numpy(future.given[-1]).expand_as(happened)
    ratios = psnr(imagined, happened), psnr(still, happened)
    return [
        {
            "slot": slot + 1,
            "after_s": round((slot + 1) * TEMPORAL_STRIDE * future.period_s, 4),
            "imagined": float(errors.imagined[0, slot]),
            "still": float(errors.still[0, slot]),
            "repeated": float(errors.repeated[0, slot]),
            "extrapolated": None if errors.extrapolated is None else float(errors.extrapolated[0, slot]),
            "relative": float(errors.relative[0, slot]),
            "psnr_db": float(ratios[0][slot]),
            "still_psnr_db": float(ratios[1][slot]),
        }
        for slot in range(len(happened))
    ]


def _table(rows: list[dict[str, Any]], cut: Cut) -> Table:
    names = ("imagined", "still", "repeated", "extrapolated")
    columns = ("slot", "after", *names, "imagined / still", "PSNR", "PSNR still")
    if not rows:
        return Table(
            f"Future from {cut.now_s:.2f} s", columns, (), "The clip ends there, so there is no true future to compare."
        )
    cells = tuple(
        (
            str(row["slot"]),
            f"{row['after_s']:.2f} s",
            *(ABSENT if row[name] is None else f"{row[name]:.3f}" for name in names),
            f"{row['relative']:.2f}",
            f"{row['psnr_db']:.1f} dB",
            f"{row['still_psnr_db']:.1f} dB",
        )
        for row in rows
    )
    return Table(f"Future from {cut.now_s:.2f} s", columns, cells, READING)


def _as_pictures(frames: Tensor) -> np.ndarray:
    return frames.permute(0, 2, 3, 1).contiguous().numpy()


def _write(future: Future, out: Path, notes: list[str]) -> None:
    suffix = out.suffix.lower()
    with whole_file(out) as aside:
        if suffix == ".png":
            contact_sheet(future, notes).save(aside, format="PNG")
        elif suffix == ".gif":
            write_gif(side_by_side(future), aside, min(1 / future.period_s, 50.0), scale=1)
        else:
            write_mp4(side_by_side(future), aside, 1 / future.period_s)
