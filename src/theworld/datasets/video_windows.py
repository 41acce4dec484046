"""Videos without labels as samples: the frames up to a moment, a question without an answer, and what followed."""

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Int
from PIL import Image

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.held_out import Part, id_hash, places_by_picture, usual_share
from theworld.datasets.sample import Sample, Turn
from theworld.datasets.video import frames_at, open_video
from theworld.datasets.video_list import VideoList
from theworld.datasets.window_index import IndexedVideo, Window, WindowIndex, WindowRule

logger = logging.getLogger(__name__)
notes = logging.getLogger("theworld.notes")

QUESTION: Final = "What happens next?"
"""Question of a sample without an answer: the model is not trained on it."""

Fault = Literal["static", "black", "cut"]
_announced: set[str] = set()


@dataclass(frozen=True)
class Thresholds:
    """Limits of the measures of a window beyond which it is left out; grey levels of 256."""

    min_motion: float = 0.75
    """Below it a window is static."""
    min_luminance: float = 4.0
    """Below it a window is black."""
    max_jump: float = 15.0
    """Above it a window has a cut."""

    def fault(self, window: Window) -> Fault | None:
        """Return the reason to leave a window out; None: it is used."""
        if window.luminance < self.min_luminance:
            return "black"
        if window.jump > self.max_jump:
            return "cut"
        return "static" if window.motion < self.min_motion else None


@dataclass(frozen=True)
class _Record:
    """A window of a video, or a video that cannot be read."""

    video: int
    now_s: float | None


class VideoWindows:
    """Samples of videos without labels.

    A sample has the given frames of a window as its clip, the frames that follow as its future, and a question without
    an answer: it serves imitation, the tap `true-future`, probes and diagnostics. Static, black and cut windows and
    videos that are too short are left out and counted in a line of the log. A video that is missing or unreadable is a
    record of the training part that raises RecordError.

    Args:
        videos: the list.
        rule: of the windows.
        name: of the list, for messages.
        index_dir: folder of the index.
        part: train or validation. Whole videos are held out; of a single one the last windows, which share no frame
            with the others. None: all.
        size: number of samples, from the first; None: all.
        share: share of the videos to hold out; None: the usual one.
        thresholds: of the windows that are left out.
        with_future: True if samples have the future.

    Raises:
        ValueError: if no window is left, with the counts, or for an index that cannot be written.
    """

    def __init__(
        self,
        videos: VideoList,
        rule: WindowRule,
        name: str,
        index_dir: Path,
        part: Part | None = None,
        size: int | None = None,
        *,
        share: float | None = None,
        thresholds: Thresholds | None = None,
        with_future: bool = True,
    ) -> None:
        self.files = videos.files
        self.source, self.rule, self.with_future = videos, rule, with_future
        self.videos = WindowIndex(videos, rule, index_dir).videos
        self.left_out: Counter[str] = Counter()
        """Windows and videos that give no sample, by cause."""
        records = self._records(Thresholds() if thresholds is None else thresholds)
        self._announce(name, len(records))
        if not any(record.now_s is not None for record in records):
            faulty = next((f"; such as {video.message}" for video in self.videos if video.message), "")
            raise ValueError(
                f"{name}: no window of {_videos(len(self.videos))} is left{_counts(self.left_out)}{faulty};"
                f" {_remedy(self.left_out)}"
            )
        places = _places([self.videos[record.video] for record in records], records, rule, part, share, name)
        self.records = [records[place] for place in places[:size]]

    def _records(self, thresholds: Thresholds) -> list[_Record]:
        """The windows that are used, and the videos that cannot be read; counts the others."""
        records: list[_Record] = []
        for number, video in enumerate(self.videos):
            if video.cause == "short video":
                self.left_out["too short"] += 1
            elif video.cause:
                self.left_out[video.cause] += 1
                records.append(_Record(number, None))
            for window in video.windows:
                fault = thresholds.fault(window)
                if fault is None:
                    records.append(_Record(number, window.now_s))
                else:
                    self.left_out[fault] += 1
        return records

    def _announce(self, name: str, num_records: int) -> None:
        num_used = num_records - self.left_out["missing video"] - self.left_out["unreadable video"]
        sentence = f"{name}: {num_used:,} windows of {_videos(len(self.videos))}{_counts(self.left_out)}"
        if sentence not in _announced:
            _announced.add(sentence)
            notes.info("%s", sentence)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of an index.

        Raises:
            RecordError: missing or unreadable video.
        """
        if not 0 <= index < len(self.records):
            raise IndexError(f"sample {index} of {len(self.records)}")
        record = self.records[index]
        video = self.videos[record.video]
        if record.now_s is None:
            raise RecordError("missing video" if video.cause == "missing video" else "unreadable video", video.message)
        frames = self._frames(record.video, video, record.now_s)
        num_given = self.rule.clip.num_frames
        given, future = tuple(frames[:num_given]), tuple(frames[num_given:])
        return Sample(
            id=f"{video.name}@{record.now_s:.2f}s",
            turns=(Turn("user", QUESTION),),
            images=self.rule.clip.shown(given),
            clips=(given,),
            future=(future,) if self.with_future else None,
            num_world_steps=self.rule.num_future_frames // TEMPORAL_STRIDE,
            is_labelled=False,
            fields={"video": video.name, "now_s": record.now_s},
        )

    def _frames(self, number: int, video: IndexedVideo, now_s: float) -> list[Image.Image]:
        moments = now_s + video.period_s * self.rule.offsets(self.with_future)
        try:
            with open_video(self.source.source(number)) as opened:
                return frames_at(opened, moments, video.period_s)
        except (ImageError, OSError) as error:
            raise RecordError("unreadable video", f"{video.name}: {error}") from error

    def shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample, which is the same for all."""
        return (self.rule.clip.num_frames,), self.rule.num_future_frames // TEMPORAL_STRIDE

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's question."""
        return len(QUESTION)

    def num_images_of(self, index: int) -> int:
        """Return the number of a sample's pictures."""
        return self.rule.clip.num_gemma_frames


def _videos(number: int) -> str:
    return "1 video" if number == 1 else f"{number:,} videos"


def _counts(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    return f"; left out: {', '.join(f'{count:,} {cause}' for cause, count in left_out.most_common())}"


def _remedy(left_out: Counter[str]) -> str:
    """Say what to do about the causes for which windows and videos were left out."""
    remedies = []
    if "missing video" in left_out:
        remedies.append("check the videos' paths, and data.video_dir, the folder that they start from")
    if "unreadable video" in left_out:
        remedies.append("replace the unreadable videos, or permit reading them")
    if set(left_out) - {"missing video", "unreadable video"}:
        limits = "data.min_motion, min_luminance, max_jump, num_future_steps"
        remedies.append(f"give other videos, or other limits ({limits})")
    return "; ".join(remedies)


def _places(
    videos: Sequence[IndexedVideo],
    records: Sequence[_Record],
    rule: WindowRule,
    part: Part | None,
    share: float | None,
    name: str,
) -> Int[np.ndarray, " M"]:
    """Return the places of the records of a part; `videos` has that of each record.

    Videos with windows are divided; those that cannot be read stay with the training part, which counts them.
    """
    if part is None:
        return np.arange(len(records))
    moments = {place: record.now_s for place, record in enumerate(records) if record.now_s is not None}
    good = np.fromiter(moments, np.int64)
    hashes = np.fromiter((id_hash(videos[place].digest) for place in good), np.uint64)
    if len(np.unique(hashes)) > 1:
        places = good[places_by_picture(hashes, part, share, name, noun="videos")]
    else:
        places = good[_last_part(videos[good[0]].period_s, list(moments.values()), rule, part, share)]
    if part == "validation":
        return places
    return np.sort(np.append(places, np.setdiff1d(np.arange(len(records)), good)))


def _last_part(
    period_s: float, now_s: Sequence[float], rule: WindowRule, part: Part, share: float | None
) -> Int[np.ndarray, " M"]:
    """Return the places of the windows of a single video: the last ones are held out, without a frame in both parts.

    train       | g n f f f f | g n f f f f |
    held out                                  | g n f f f f |
    """
    num_windows = len(now_s)
    num_held_out = round((usual_share(num_windows) if share is None else share) * num_windows)
    first_held_out = num_windows - min(max(num_held_out, 1), num_windows - 1)
    if part == "validation":
        return np.arange(first_held_out, num_windows)
    if first_held_out == num_windows:
        return np.arange(num_windows)
    begins = now_s[first_held_out] - (rule.clip.num_frames - 1) * period_s
    ends = np.asarray(now_s) + rule.num_future_frames * period_s
    return np.flatnonzero((ends < begins) & (np.arange(num_windows) < first_held_out))
