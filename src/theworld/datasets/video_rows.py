"""Rows about videos: captions, or questions that are asked at a moment, before the answer is visible."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.conversations import checked, num_characters
from theworld.datasets.errors import ImageError, MissingImageError, RecordError
from theworld.datasets.held_out import HeldOut, Part
from theworld.datasets.images import path_in
from theworld.datasets.public.json_index import IndexedSamples, Measures
from theworld.datasets.records import answer_text, id_of, short
from theworld.datasets.row_files import rows_of
from theworld.datasets.row_keys import NAMES, choices_of, chosen_answer
from theworld.datasets.row_videos import seconds_of
from theworld.datasets.sample import Sample, Turn
from theworld.datasets.video import LATE_SHARE, check_end, frames_at, open_video
from theworld.datasets.video_list import VideoColumn
from theworld.datasets.window_index import WindowRule, period_of

CAPTION_QUESTION: Final = "What happens in the video?"
"""Question of a caption."""
SCHEMA: Final = '{"video": "clips/1.mp4", "question": "Where does it land?", "answer": "on the left", "time": 1.5}'

_CAPTIONS: Final = ("caption", "captions", "text", "description", "sentence", "summary")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "video": (
        *("video", "videos", "video_path", "video_file", "video_name", "clip", "clip_path", "clip_file", "film"),
        *("file_name", "filename", "file", "file_path", "filepath", "path", "mp4", "webm", "avi"),
    ),
    "question": NAMES["question"],
    "answer": (*NAMES["answer"], *_CAPTIONS),
    "time": ("time", "time_s", "moment", "end", "end_s", "end_time", "end_sec", "end_seconds"),
    "start": ("start", "start_s", "start_time", "start_sec", "start_seconds", "begin", "timestamp"),
    "choices": NAMES["choices"],
    "id": NAMES["id"],
    "category": NAMES["category"],
}
"""By role, the usual names of its key, the usual one first."""


def video_keys(rows: Sequence[Any], given: Sequence[str], source: str, video_key: str | None = None) -> dict[str, str]:
    """Find the key of each role in the first rows of a file.

    Args:
        rows: the first rows.
        given: ROLE=KEY, for keys that the names do not tell.
        source: name of the file, for messages.
        video_key: key of the videos, if it is known.

    Returns:
        Keys by role. Without `answer` the rows have no labels.

    Raises:
        ValueError: on one line, for rows without a video, a question without an answer, or a given key that no row has.
    """
    keys = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
    chosen = {} if video_key is None else {"video": video_key}
    for pair in given:
        role, _, key = pair.partition("=")
        if key not in keys:
            raise ValueError(f"{source}: no key {key!r} for {role}; its rows have {', '.join(map(repr, keys[:12]))}")
        chosen[role] = key
    plain = {key.strip().lower().replace(" ", "_").replace("-", "_"): key for key in keys}
    for role, names in _KEYS.items():
        taken = set(chosen.values())
        fitting = [plain[name] for name in names if name in plain and plain[name] not in taken]
        if role not in chosen and fitting:
            chosen[role] = fitting[0]
    if "video" not in chosen:
        raise ValueError(
            f"{source}: no video among the keys {', '.join(map(repr, keys[:12]))}; expected rows like {SCHEMA}, or name"
            " the key: --data.keys video=KEY"
        )
    if "answer" not in chosen and "question" in chosen:
        if chosen["question"] not in _CAPTIONS and chosen["question"].lower() not in _CAPTIONS:
            raise ValueError(
                f"{source}: questions in {chosen['question']!r}, and no answers; expected rows like {SCHEMA}, or name"
                " the key: --data.keys answer=KEY"
            )
        chosen["answer"] = chosen.pop("question")
    return chosen


class VideoQuestions(IndexedSamples):
    """Samples of rows about videos.

        {"video": "clips/1.mp4", "question": "Where does it land?", "answer": "on the left", "time": 1.5}
        {"video": "clips/2.mp4", "caption": "A ball rolls off the table."}

    The given frames end at `time`, seconds, so that a question can be asked before its answer is visible; without it,
    they end where the future that the models look at begins. `start` limits them on the other side. What follows is the
    future of the sample.

    Args:
        source: the file of rows, or a split of a Hugging Face data set without its videos.
        keys: as `video_keys` returns them, with `answer`.
        folder: that the videos' paths start from, and may not leave.
        rule: the given frames and those that follow.
        videos: the videos of the rows of a data set; None: the rows name files.
        part: as for IndexedSamples.
        size: number of samples, from the first; None: all.
        index_dir: as for IndexedSamples.
        held_out: as for IndexedSamples.
        with_future: True if samples have the frames that follow; rows without enough of them are bad records then.
    """

    def __init__(
        self,
        source: Any,
        keys: Mapping[str, str],
        folder: Path,
        rule: WindowRule,
        *,
        videos: VideoColumn | None = None,
        part: Part | None = None,
        size: int | None = None,
        index_dir: Path | None = None,
        held_out: HeldOut,
        with_future: bool = False,
    ) -> None:
        self.keys, self.folder, self.windows, self.videos = dict(keys), folder, rule, videos
        self.with_future = with_future
        read: dict[str, Any] = {} if videos is not None else {"read": partial(rows_of, Path(source))}
        super().__init__(source, f"video: {self.keys}", part, size, index_dir, held_out, **read)

    def _value(self, row: Mapping[str, Any], role: str) -> Any:
        return row.get(self.keys[role]) if role in self.keys else None

    def _measure(self, row: Any, place: int) -> Measures:
        if not isinstance(row, Mapping):
            return Measures(str(place), 0, 0)
        video = self._value(row, "video") if self.videos is None else self.videos.keys[place]
        video = video.strip() if isinstance(video, str) else ""
        id = id_of(self._value(row, "id"), video if self.videos is None and video else place)
        try:
            characters = num_characters(self._turns(row, id)[0])
        except RecordError:
            characters = 0
        return Measures(id, characters, 0, video, videos=1)

    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        video = self._value(row, "video") if self.videos is None else None
        id = id_of(self._value(row, "id"), video.strip() if isinstance(video, str) and video.strip() else place)
        turns, fields = self._turns(row, id)
        if isinstance(video, str):
            fields["video"] = video.strip()
        try:
            frames, now_s = self._frames(row, place, id)
        except MissingImageError as error:
            raise RecordError("missing video", f"{id}: {error}") from error
        except (ImageError, OSError) as error:
            raise RecordError("unreadable video", f"{id}: {error}") from error
        num_given = self.windows.clip.num_frames
        given, future = tuple(frames[:num_given]), tuple(frames[num_given:])
        return Sample(
            id=id,
            turns=turns,
            images=self.windows.clip.shown(given),
            clips=(given,),
            future=(future,) if self.with_future else None,
            num_world_steps=self.windows.num_future_frames // TEMPORAL_STRIDE,
            fields={**fields, "now_s": round(now_s, 4)},
        )

    def _frames(self, row: Mapping[str, Any], place: int, id: str) -> tuple[list[Any], float]:
        """The frames of a sample, and the time of the current one."""
        start_s, time_s = (_seconds(self._value(row, role), role, id) for role in ("start", "time"))
        rule = self.windows
        with open_video(self._source(row, place, id)) as video:
            times_s = video.times_s
            assert times_s is not None  # of a file
            period, end = period_of(times_s, rule.clip.frame_rate_hz), float(times_s[-1])
            ahead = rule.num_future_frames * period
            now = (end - ahead if end - ahead >= -LATE_SHARE * period else end) if time_s is None else time_s
            if time_s is not None:
                name = self._value(row, "video") if self.videos is None else None
                check_end(f"{name.strip()}: time" if isinstance(name, str) else "time", time_s, times_s)
            now = min(max(now, 0.0), end)
            if (start_s or 0.0) > now:
                raise RecordError("malformed", f"{id}: start={start_s:g} s, and the given part ends at {now:g} s")
            if self.with_future and now + ahead > end + LATE_SHARE * period:
                raise RecordError(
                    "short video",
                    f"{id}: {end - now:.3g} s of video after {now:.3g} s; {rule.num_future_frames} frames that follow"
                    f" take {ahead:.3g} s",
                )
            moments = np.maximum(now + period * rule.offsets(self.with_future), start_s or 0.0)
            return frames_at(video, moments, period), now

    def _source(self, row: Mapping[str, Any], place: int, id: str) -> Any:
        if self.videos is not None:
            content = self.videos.source(place)
            if content is None:
                raise RecordError("missing video", f"{id}: no video")
            return content
        name = self._value(row, "video")
        if name is None:
            raise RecordError("missing video", f"{id}: no video")
        if not isinstance(name, str) or not name.strip():
            raise RecordError("malformed", f"{id}: {short(name)} as the video: expected a path")
        return path_in(self.folder, name.strip(), id)

    def _turns(self, row: Mapping[str, Any], id: str) -> tuple[tuple[Turn, ...], dict[str, Any]]:
        """The turns of a row, and the fields that go with them."""
        category = self._value(row, "category")
        fields: dict[str, Any] = {"category": str(category)} if isinstance(category, str | int) else {}
        question = self._value(row, "question") if "question" in self.keys else CAPTION_QUESTION
        if not isinstance(question, str) or not question.strip():
            raise RecordError("malformed", f"{id}: {short(question)} as the question: expected a text")
        choices = choices_of(self._value(row, "choices"), id)
        answer = answer_text(_single(self._value(row, "answer"), is_caption="question" not in self.keys), id)
        if answer is None:
            raise RecordError("empty answer", f"{id}: no answer")
        if choices is not None:
            fields["choices"] = choices
            answer = chosen_answer(answer, choices, id)
        return checked((Turn("user", question), Turn("assistant", answer)), id), fields

    def _shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample, which is the same for all."""
        return (self.windows.clip.num_frames,), self.windows.num_future_frames // TEMPORAL_STRIDE


def _seconds(value: Any, role: str, id: str) -> float | None:
    """A time of a row in seconds; None: it has none."""
    if value is None or value == "":
        return None
    seconds = seconds_of(value)
    if seconds is None:
        raise RecordError("malformed", f"{id}: {short(value)} as the {role}: expected seconds, 0 or more")
    return seconds


def _single(value: Any, is_caption: bool) -> Any:
    """The first of several captions, which say the same in other words; the only one of equal answers."""
    if not isinstance(value, list) or not value:
        return value
    return value[0] if is_caption or all(item == value[0] for item in value) else value
