"""World diagnostics: how far imagined latents are from true ones on any videos, by slot, beside the baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from theworld.config import VideoData
from theworld.config.experiments import VideoProbe
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.errors import RecordError
from theworld.datasets.images import to_frames
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.samplers import grouped
from theworld.datasets.video import ClipRule
from theworld.datasets.video_source import open_video_data
from theworld.evaluation.statistics import Interval
from theworld.tables import ABSENT, Table
from theworld.world.factory import open_tap
from theworld.world.forecast import READING, errors_of
from theworld.world.tap import clip_seeds

_NUM_RESAMPLES: Final = 2_000
_NAMES: Final = ("imagined", "still", "repeated", "extrapolated")
_STYLES: Final = {"imagined": "C0-o", "still": "C1--s", "repeated": "C2:^", "extrapolated": "C3:v"}


@dataclass(frozen=True)
class SlotResult:
    """Errors of one future slot: means over the clips."""

    slot: int
    """1: the first one after the current slot."""
    after_s: float
    """Time of its last frame after the current one, seconds, at the rate of the models."""
    imagined: float
    """Root mean square distance of the imagined latent from the true one."""
    still: float
    """Of the latent of a still future."""
    repeated: float
    """Of the current latent."""
    extrapolated: float | None
    """Of the latent that continues the last step; None: one given slot."""
    relative: float
    """imagined / still: below 1 the world model knows more than the present."""
    interval: Interval
    """Of it: 95 %, over videos."""
    share_closer: float
    """Share of the clips whose imagined latent is closer than that of a still future."""


def diagnose(settings: VideoProbe) -> tuple[list[SlotResult], dict[str, Any]]:
    """Measure the tap `rollout` on videos.

    Returns:
        A result for each slot, and the numbers of videos, clips, and records left out by cause.

    Raises:
        ValueError: for videos that cannot be opened.
    """
    data = VideoData(
        source=settings.source,
        video_dir=settings.video_dir,
        index_dir=settings.index_dir,
        num_future_steps=settings.num_future_steps,
    )
    rule = ClipRule(settings.world.frame_rate_hz, settings.num_clip_frames)
    samples = open_video_data(data, None, settings.num_test, with_future=True, rule=rule)
    left_out: dict[str, int] = {}
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in _NAMES}
    videos: list[str] = []
    tap: Any = open_tap(replace(settings.world, tap="rollout"))
    with tqdm(total=len(samples), desc="imagined futures", unit="clip") as progress:
        for batch in grouped(_readable(samples, left_out), settings.batch_size, lambda sample: sample.shape):
            frames = torch.stack([_frames(sample, settings.world.image_size_px) for sample in batch])
            given = frames[:, : settings.num_clip_frames].contiguous()
            imagined = tap.read(given, settings.num_future_steps, clip_seeds(given, tap.settings.seed))
            result = errors_of(tap.pipeline.vae, imagined, frames, settings.num_clip_frames)
            for name in _NAMES:
                if (value := getattr(result, name)) is not None:
                    errors[name].append(value)
            videos += [str(sample.fields["video"]) for sample in batch]
            progress.update(len(batch))
    if not videos:
        raise ValueError(f"{settings.source}: no clip could be read: {left_out}")
    stacked = {name: torch.cat(values).numpy() for name, values in errors.items() if values}
    counts = {"num_videos": len(set(videos)), "num_clips": len(videos), "left_out": left_out}
    return _results(stacked, videos, TEMPORAL_STRIDE / settings.world.frame_rate_hz), counts


def _readable(samples: Samples, left_out: dict[str, int]) -> Iterator[Sample]:
    for index in range(len(samples)):
        try:
            yield samples[index]
        except RecordError as error:
            left_out[error.cause] = left_out.get(error.cause, 0) + 1


def _frames(sample: Sample, side_px: int) -> torch.Tensor:
    assert sample.clips is not None
    assert sample.future is not None
    return to_frames([*sample.clips[0], *sample.future[0]], side_px)


def _results(errors: Mapping[str, np.ndarray], videos: Sequence[str], slot_s: float) -> list[SlotResult]:
    """Return the means over clips; `errors` has arrays (N, K)."""
    intervals = _ratio_intervals(errors["imagined"], errors["still"], videos)
    results = []
    for slot, interval in enumerate(intervals):
        means = {name: float(errors[name][:, slot].mean()) if name in errors else None for name in _NAMES}
        closer = errors["imagined"][:, slot] < errors["still"][:, slot]
        results.append(
            SlotResult(
                slot=slot + 1,
                after_s=(slot + 1) * slot_s,
                **means,  # pyright: ignore[reportArgumentType]  # only extrapolated may be None
                relative=float(errors["imagined"][:, slot].sum() / max(errors["still"][:, slot].sum(), 1e-12)),
                interval=interval,
                share_closer=float(closer.mean()),
            )
        )
    return results


def _ratio_intervals(values: np.ndarray, of: np.ndarray, videos: Sequence[str]) -> list[Interval]:
    """Return percentile bootstrap intervals of the ratio of two means, by slot; clips of a video stay together."""
    _, places = np.unique(videos, return_inverse=True)
    sums = [np.stack([np.bincount(places, column) for column in array.T], 1) for array in (values, of)]
    number = len(sums[0])
    draws = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=_NUM_RESAMPLES)
    ratios = (draws @ sums[0]) / np.maximum(draws @ sums[1], 1e-12)
    return [Interval(*map(float, np.quantile(column, (0.025, 0.975)))) for column in ratios.T]


def diagnostics_table(results: Sequence[SlotResult], counts: Mapping[str, Any]) -> Table:
    """Return a row for each slot."""
    rows = tuple(
        (
            str(row.slot),
            f"{row.after_s:.2f} s",
            *(ABSENT if (value := getattr(row, name)) is None else f"{value:.3f}" for name in _NAMES),
            f"{row.relative:.2f} ({row.interval.low:.2f} to {row.interval.high:.2f})",
            f"{row.share_closer:.0%}",
        )
        for row in results
    )
    note = f"{counts['num_clips']:,} clips of {counts['num_videos']:,} videos; intervals of 95 % over videos. {READING}"
    return Table("Imagined futures", ("slot", "after", *_NAMES, "imagined / still", "closer"), rows, note)


def draw_diagnostics(results: Sequence[SlotResult], path: Path) -> None:
    """Draw the distances by time after the current frame."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    times = [row.after_s for row in results]
    for name, style in _STYLES.items():
        values = [getattr(row, name) for row in results]
        if None not in values:
            axes.plot(times, values, style, label=name)
    axes.set_xlabel("seconds after the current frame")
    axes.set_ylabel("distance from the true latent")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=130)


def as_rows(results: Sequence[SlotResult]) -> list[dict[str, Any]]:
    """Return the results as JSON-like rows."""
    return [asdict(row) for row in results]
