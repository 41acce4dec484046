"""Measure the surprise of a world model about clips, and compare possible with impossible ones."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from theworld.config import loader
from theworld.config.commands import SurpriseSettings
from theworld.datasets.errors import ImageError
from theworld.environment import commit
from theworld.evaluation.joint_scores import PairAccuracy, relative_accuracy
from theworld.evaluation.jsonl import RowFormat, RowWriter, error_text
from theworld.evaluation.statistics import Interval, wilson_interval
from theworld.experiments.surprise_sources import Clip, ClipPair, ClipSet, FutureWindow, open_clips
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.tables import Table, percent, percent_range, table_of
from theworld.world.factory import tap_fingerprint
from theworld.world.loading import describe_world
from theworld.world.surprise import SurpriseMeter, as_measured, measure_of, open_meter

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_MOST_SHOWN: Final = 20
"""Clips in the table for a reader."""
_LIBRARIES: Final = ("torch", "transformers", "diffusers", "theworld")


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class ClipRow:
    """Surprise of one clip, or an error."""

    sample_id: str
    """Id of the clip, unique in a file."""

    error: str | None = None
    """`TypeName: message` of the exception; an error is never a number."""

    mean: float | None = None
    """Mean over the windows; None for an error row."""

    max: float | None = None
    """Largest of a window."""

    at_s: float | None = None
    """Time of the current frame of that window, seconds."""

    change: float | None = None
    """Distance of the future from the current slot, mean over the windows: the baseline that predicts nothing."""

    levels: Mapping[str, float] = field(default_factory=dict)
    """Mean over the windows at each noise level; empty for V-JEPA 2."""

    windows: tuple[tuple[float, float], ...] = ()
    """Time of the current frame, seconds, and surprise of each window."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Facts about the clip: its pair, kind, scene."""

    seconds: float | None = None
    """Wall time."""


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class SurpriseIdentity:
    """Identity of the run that wrote a file of rows; rows of other runs are refused."""

    world: str
    """Fingerprint of weights, side, seed and format."""
    dtype: str
    frame_rate_hz: float
    """At which windows are cut; not every world reads it."""
    source: str
    subset: str
    noise_levels: tuple[float, ...]
    num_draws: int
    num_given_frames: int | None
    num_future_steps: int | None
    stride_s: float | None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version."""


_FORMAT: Final = RowFormat(ClipRow, SurpriseIdentity, "surprises")


def measure_surprise(settings: SurpriseSettings) -> tuple[dict[str, Any], list[Table]]:
    """Measure the surprise of every clip; a restarted measurement continues with the clips that are missing.

        output_dir/
          config.json           resolved settings
          surprise.jsonl        a row per clip, and surprise.run.json, the identity of the run
          results.json          numbers over clips and pairs, and their origin

    Returns:
        The content of results.json, and tables.

    Raises:
        ValueError: for a source or a world model that does not serve, a folder of another run, or if no clip could be
            measured.
    """
    clips = open_clips(settings)
    world = settings.world
    if clips.frame_rate_hz is not None:
        world = replace(world, frame_rate_hz=clips.frame_rate_hz)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measured = as_measured(world, device)
    identity = SurpriseIdentity(
        world=tap_fingerprint(measured),
        dtype=measured.dtype,
        frame_rate_hz=world.frame_rate_hz,
        source=settings.source,
        subset=settings.subset,
        noise_levels=settings.noise_levels,
        num_draws=settings.num_draws,
        num_given_frames=settings.num_given_frames,
        num_future_steps=settings.num_future_steps,
        stride_s=settings.stride_s,
        versions={name: version(name) for name in _LIBRARIES},
    )
    with in_use(settings.output_dir):
        path = settings.output_dir / "surprise.jsonl"
        _FORMAT.check(path, identity)  # first: the settings of another run stay as they are
        loader.save_over_earlier(settings, settings.output_dir / "config.json")
        rows = _fill(path, identity, clips, settings, measured, device)
        values, tables = _results(rows, clips, settings, measure_of(measured))
        values = {
            "world": f"{'drawn weights of ' if measured.tap == 'random' else ''}{describe_world(measured)}",
            "measure": measure_of(measured),
            **values,
            "origin": {"commit": commit(), **asdict(identity)},
        }
        write_whole(settings.output_dir / "results.json", json.dumps(values, indent=2))
    return values, tables


def _fill(
    path: Path,
    identity: SurpriseIdentity,
    clips: ClipSet,
    settings: SurpriseSettings,
    measured: Any,
    device: torch.device,
) -> list[ClipRow]:
    """Measure the clips that the file lacks; return the rows of all, in the order of the clips."""
    meter: SurpriseMeter | None = None
    with RowWriter(path, identity, _FORMAT) as writer:
        done = writer.done()
        missing = [clip for clip in clips.clips if clip.id not in done]
        for clip in tqdm(missing, desc="surprise", unit="clip", disable=not missing):
            meter = meter or open_meter(measured, settings.noise_levels, settings.num_draws, device)
            writer.append([_row(meter, clip, settings.batch_size)])
    rows = {row.sample_id: row for row in _FORMAT.read(path)}
    known = {clip.id for clip in clips.clips}
    foreign = sorted(rows.keys() - known) if settings.num_clips is None else ()
    if foreign:
        raise ValueError(
            f"{path} holds {len(foreign)} rows of other clips (the first: {foreign[0]!r}): the source held others;"
            " choose another output_dir, or remove the file and its .run.json"
        )
    result = [rows[clip.id] for clip in clips.clips]
    if all(row.error is not None for row in result):
        first = result[0].error
        raise ValueError(f"{settings.source}: none of {len(result)} clips could be measured; the first error: {first}")
    return result


def _row(meter: SurpriseMeter, clip: Clip, batch_size: int) -> ClipRow:
    """Measure a clip, window by window; an error becomes an error row."""
    started = perf_counter()
    times: list[float] = []
    by_level: list[torch.Tensor] = []
    change: list[torch.Tensor] = []
    try:
        for batch in _batches(clip.windows(), batch_size):
            times += [window.now_s for window in batch]
            result = meter.measure(torch.stack([window.frames for window in batch]), clip.num_given)
            by_level.append(result.by_level)
            change.append(result.change)
    except (ImageError, OSError) as error:
        return ClipRow(sample_id=clip.id, error=error_text(error), fields=dict(clip.fields))
    errors = torch.cat(by_level).double()
    surprises = errors.mean(1).tolist()
    if not all(map(math.isfinite, surprises)):
        message = f"{clip.id}: the error of the world model is no finite number; try --world.dtype float32"
        return ClipRow(sample_id=clip.id, error=f"ValueError: {message}", fields=dict(clip.fields))
    place = max(range(len(surprises)), key=surprises.__getitem__)
    return ClipRow(
        sample_id=clip.id,
        mean=sum(surprises) / len(surprises),
        max=surprises[place],
        at_s=times[place],
        change=float(torch.cat(change).double().mean()),
        levels={f"{level:g}": value for level, value in zip(meter.levels, errors.mean(0).tolist(), strict=False)},
        windows=tuple(zip(times, surprises, strict=True)),
        fields=dict(clip.fields),
        seconds=round(perf_counter() - started, 3),
    )


def _batches(windows: Iterator[FutureWindow], size: int) -> Iterator[list[FutureWindow]]:
    while batch := list(islice(windows, size)):
        yield batch


def _results(
    rows: Sequence[ClipRow], clips: ClipSet, settings: SurpriseSettings, measure: str
) -> tuple[dict[str, Any], list[Table]]:
    """Return the numbers over clips and pairs, and their tables."""
    whole = [row for row in rows if row.error is None]
    means = [row.mean for row in whole if row.mean is not None]
    values: dict[str, Any] = {
        "num_clips": len(rows),
        "num_missing": len(rows) - len(whole),
        "num_windows": sum(len(row.windows) for row in whole),
        "mean": sum(means) / len(means),
        "most_surprising": [
            {"clip": row.sample_id, "mean": row.mean, "max": row.max, "at_s": row.at_s} for row in _by_surprise(whole)
        ],
    }
    tables = []
    if clips.pairs:
        pairs = compare_pairs(clips.pairs, rows, settings.pair_by)
        values |= {"pair_by": settings.pair_by, "pairs": pairs}
        tables.append(_pairs_table(pairs, settings.pair_by))
    else:
        tables.append(_clips_table(rows, measure))
    return values, tables


def _by_surprise(rows: Sequence[ClipRow]) -> list[ClipRow]:
    """Return the most surprising clips, by the mean over their windows, those that could not be measured last."""
    return sorted(rows, key=lambda row: -(row.mean or 0.0))[:_MOST_SHOWN]


def compare_pairs(pairs: Sequence[ClipPair], rows: Sequence[ClipRow], by: Literal["mean", "max"]) -> dict[str, Any]:
    """Compare the clips of each pair: it is right if the possible one surprises less; a tie is wrong.

    Args:
        pairs: of clips, with a row each.
        rows: of all clips.
        by: surprise of a clip, the mean over its windows or the largest.

    Returns:
        For all pairs and each group of them: the accuracy by surprise, that of the baseline `change`, and the mean
        surprise of the possible and the impossible clips.
    """
    by_id = {row.sample_id: row for row in rows}
    groups = {pair.group: [other for other in pairs if other.group == pair.group] for pair in pairs}
    result = {"all": pairs, **groups} if len(groups) > 1 else {"all": pairs}
    return {name: _compared(members, by_id, by) for name, members in result.items()}


def _compared(pairs: Sequence[ClipPair], rows: Mapping[str, ClipRow], by: str) -> dict[str, Any]:
    def values(measure: str) -> list[float | None]:
        return [getattr(rows[side], measure) for pair in pairs for side in (pair.possible, pair.impossible)]

    def accuracy(measure: str) -> PairAccuracy:
        names = [pair.name for pair in pairs for _ in range(2)]
        clusters = [pair.cluster for pair in pairs for _ in range(2)]
        negative = [None if value is None else -value for value in values(measure)]
        return relative_accuracy(names, negative, [True, False] * len(pairs), clusters)

    surprises = values(by)
    both = [(a, b) for a, b in zip(surprises[::2], surprises[1::2], strict=True) if a is not None and b is not None]
    return {
        "by_surprise": asdict(accuracy(by)),
        "by_change": asdict(accuracy("change")),
        "mean_possible": sum(a for a, _ in both) / len(both) if both else None,
        "mean_impossible": sum(b for _, b in both) / len(both) if both else None,
    }


def _pairs_table(pairs: Mapping[str, Any], by: str) -> Table:
    numbers_of = ("n", "right, %", "95 % Wilson", "95 % bootstrap", "by change, %", "possible", "impossible")
    columns = ("pairs", *numbers_of, "incomplete")
    records = []
    for name, numbers in pairs.items():
        own, change = numbers["by_surprise"], numbers["by_change"]
        cells = {"pairs": name, "n": f"{own['num_pairs']:,}", "incomplete": f"{own['num_incomplete']:,}"}
        if own["value"] is not None:
            cells |= {
                "right, %": percent(own["value"]),
                "95 % Wilson": percent_range(wilson_interval(own["num_right"], own["num_pairs"])),
                "95 % bootstrap": percent_range(Interval(**own["bootstrap"])),
                "by change, %": percent(change["value"]),
                "possible": f"{numbers['mean_possible']:.3f}",
                "impossible": f"{numbers['mean_impossible']:.3f}",
            }
        records.append(cells)
    note = (
        f"Right: the possible clip surprises less, by the {'mean over' if by == 'mean' else 'largest of'} its windows;"
        " a tie is wrong, chance is 50. By change: the clip whose future is nearer to its present is taken for the"
        " possible one, without a prediction. The bootstrap resamples scenes."
    )
    return table_of("Pairs", columns, records, note)


def _clips_table(rows: Sequence[ClipRow], measure: str) -> Table:
    columns = ("clip", "windows", "mean", "largest", "at", "change")
    shown = rows if len(rows) <= _MOST_SHOWN else _by_surprise(rows)
    records = []
    for row in shown:
        cells = {"clip": row.sample_id, "windows": str(len(row.windows))}
        if row.mean is not None and row.max is not None and row.change is not None:
            cells |= {"mean": f"{row.mean:.4f}", "largest": f"{row.max:.4f}", "change": f"{row.change:.3f}"}
            cells["at"] = f"{row.at_s:.2f} s"
        else:
            cells["windows"] = str(row.error)
        records.append(cells)
    what = "All clips" if shown is rows else f"The {_MOST_SHOWN} most surprising of {len(rows):,} clips"
    note = (
        f"{what}. Surprise: {measure}. Largest: of a window, with the time of its last given frame. Change: distance of"
        " the future from the present in the same units, a baseline without a prediction."
    )
    return table_of("Surprise", columns, records, note)
