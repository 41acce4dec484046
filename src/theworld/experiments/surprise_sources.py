"""Clips whose surprise is measured: videos by windows, the pairs of IntPhys 2, and simulated scenes with futures."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from theworld.config.commands import SIMULATED, SurpriseSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.errors import VideoError
from theworld.datasets.foresight.items import Item
from theworld.datasets.foresight.scene import FRAME_RATE_HZ
from theworld.datasets.foresight.wrong_futures import Wrong, future_frames, given_frames, scenes_of, visible_wrongs
from theworld.datasets.images import square_frames
from theworld.datasets.public import intphys2
from theworld.datasets.public.choice_items import ChoiceItem
from theworld.datasets.video import ClipRule, frames_at, is_video, open_video
from theworld.datasets.video_limits import VideoLimits
from theworld.datasets.video_list import listed_videos, videos_in
from theworld.datasets.window_index import WindowRule, moments_of, period_of

NUM_GIVEN_FRAMES: Final = 5
"""Given frames of a video, unless the settings say more."""
NUM_FUTURE_STEPS: Final = 4
NUM_SCENES: Final = 250
"""Simulated scenes, 50 of each kind."""


class FutureWindow(NamedTuple):
    """Given frames and those that followed."""

    now_s: float
    """Time of the current frame, the last given one, seconds from the first of the clip."""
    frames: UInt8[Tensor, "F 3 S S"]


@dataclass(frozen=True)
class Clip:
    """A clip of any length."""

    id: str
    windows: Callable[[], Iterator[FutureWindow]]
    """Reads its windows in turn; may raise an ImageError or OSError."""
    num_given: int
    """Given frames of each window."""
    fields: Mapping[str, str]


@dataclass(frozen=True)
class ClipPair:
    """Two clips, of which the possible one should surprise less."""

    name: str
    possible: str
    """Id of the clip."""
    impossible: str
    cluster: str
    """Scene; pairs of one are dependent."""
    group: str
    """Kind of the impossible clip, for tables."""


@dataclass(frozen=True)
class ClipSet:
    """Clips of a source, and the pairs among them."""

    clips: tuple[Clip, ...]
    pairs: tuple[ClipPair, ...] = ()
    frame_rate_hz: float | None = None
    """Rate of simulated clips; None: that of the world model."""


def open_clips(settings: SurpriseSettings) -> ClipSet:
    """Open the clips of a source, without reading a frame.

    Raises:
        ValueError: on one line, for a source that is not there or holds no videos, or settings that do not fit it.
    """
    path = Path(settings.source).expanduser()
    if settings.source == SIMULATED and not path.exists():
        return _simulated(settings)
    if path.is_dir():
        if any((path / name / "metadata.csv").is_file() for name in (*intphys2.SUBSETS, "Test")):
            return _intphys2(settings, path)
        videos = videos_in(path)
    elif path.is_file() and path.suffix.lower() == ".txt":
        videos = listed_videos(path, path.parent)
    elif path.is_file():
        if not is_video(path):
            raise ValueError(f"{path}: no video; expected one, a folder of videos, or a list of their paths (.txt)")
        return ClipSet((_video(path, path.name, {}, settings),))
    else:
        raise ValueError(
            f"source={settings.source}: no such file or folder; expected a video, a folder of videos, a list of their"
            f" paths (.txt), the folder of IntPhys 2, or {SIMULATED}"
        )
    named = list(zip(videos.names, videos.paths, strict=True))[: settings.num_clips]
    return ClipSet(tuple(_video(file, name, {}, settings) for name, file in named))


def _rule(settings: SurpriseSettings) -> WindowRule:
    given = settings.num_given_frames or NUM_GIVEN_FRAMES
    num_future = TEMPORAL_STRIDE * (settings.num_future_steps or NUM_FUTURE_STEPS)
    rate_hz = settings.world.frame_rate_hz
    return WindowRule(ClipRule(rate_hz, given), num_future, windows_per_video=None, stride_s=settings.stride_s)


def _video(path: Path, name: str, fields: Mapping[str, str], settings: SurpriseSettings) -> Clip:
    rule = _rule(settings)
    read = partial(read_windows, path, rule, settings.world.image_size_px)
    return Clip(name, read, rule.clip.num_frames, fields)


def read_windows(path: Path, rule: WindowRule, side_px: int) -> Iterator[FutureWindow]:
    """Read the windows of a video at the rate of the rule; a slower video keeps its own rate.

    Raises:
        VideoError: for a video that cannot be read, or that is shorter than one window.
    """
    with open_video(path, limits=VideoLimits(max_decode_seconds=float("inf"))) as video:  # a long one has many windows
        times_s = video.times_s
        assert times_s is not None  # of a file
        period = period_of(times_s, rule.clip.frame_rate_hz)
        if rule.stride_s is None:
            rule = WindowRule(rule.clip, rule.num_future_frames, None, stride_s=rule.num_future_frames * period)
        moments = moments_of(times_s, rule, digest="")  # which chooses among windows; all are read
        if not moments:
            raise VideoError(
                f"{path}: {times_s[-1] + period:.3g} s; {rule.clip.num_frames} given frames and"
                f" {rule.num_future_frames} that follow take {len(rule.offsets()) * period:.3g} s: give fewer with"
                " --num-given-frames or --num-future-steps"
            )
        for now_s in moments:
            frames = frames_at(video, now_s + period * rule.offsets(), period)
            yield FutureWindow(now_s, square_frames(frames, side_px))


def _intphys2(settings: SurpriseSettings, folder: Path) -> ClipSet:
    """Open the videos of IntPhys 2, and pair each possible one with the impossible one of its number in its scene."""
    items = intphys2.read(folder, settings.subset)[: settings.num_clips]
    clips = []
    sides: dict[str, dict[bool, ChoiceItem]] = {}
    for item in items:
        fields = {name: str(value) for name, value in item.fields.items()}
        clips.append(_video(item.media[0], item.id, fields, settings))
        sides.setdefault(fields["pair"], {})[item.answer == "yes"] = item
    pairs = [
        ClipPair(name, side[True].id, side[False].id, str(side[True].fields["scene"]), str(side[True].fields["task"]))
        for name, side in sides.items()
        if len(side) == 2
    ]
    if not pairs:
        raise ValueError(f"{folder}: no pair of a possible and an impossible video among {len(items)}: read more")
    return ClipSet(tuple(clips), tuple(pairs))


def _simulated(settings: SurpriseSettings) -> ClipSet:
    """Open simulated scenes with their true future and all wrong ones that look different."""
    clips: list[Clip] = []
    pairs: list[ClipPair] = []
    for item in scenes_of("test", settings.num_clips or NUM_SCENES):
        num_given, num_future = _frames_of_scene(item, settings)
        for wrong in (None, *visible_wrongs(item)):
            name = f"{item.id}/{wrong or 'true'}"
            read = partial(_scene_window, item, wrong, settings.world.image_size_px, num_given, num_future)
            clips.append(Clip(name, read, num_given, {"task": item.scene.task, "future": wrong or "true"}))
            if wrong is not None:
                pairs.append(ClipPair(name, f"{item.id}/true", name, item.id, wrong))
    return ClipSet(tuple(clips), tuple(pairs), FRAME_RATE_HZ)


def _frames_of_scene(item: Item, settings: SurpriseSettings) -> tuple[int, int]:
    """Return the numbers of given and future frames of a scene.

    Raises:
        ValueError: for other given frames than the scene's own, or more future ones than it has.
    """
    own = item.scene.num_given_frames
    most = (len(item.poses) - own) // TEMPORAL_STRIDE
    if settings.num_given_frames is not None:
        raise ValueError(
            f"num_given_frames={settings.num_given_frames}: simulated scenes give the frames that their question shows,"
            " one or five: drop it"
        )
    steps = settings.num_future_steps or most
    if steps > most:
        raise ValueError(f"num_future_steps={steps}: a simulated scene of this kind has {most}: give fewer")
    return own, TEMPORAL_STRIDE * steps


def _scene_window(
    item: Item, wrong: Wrong | None, side_px: int, num_given: int, num_future: int
) -> Iterator[FutureWindow]:
    frames = np.concatenate([given_frames(item, side_px), future_frames(item, wrong, side_px)[:num_future]])
    yield FutureWindow((num_given - 1) / FRAME_RATE_HZ, torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous())
