"""One rule makes a clip of a video in any form: files, arrays, lists of frames, decoders."""

import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_video import WIDTH, animation, film, numbered, numbers_of
from theworld.datasets.errors import ImageError, MissingImageError, RecordError, VideoError
from theworld.datasets.row_keys import guessed_keys
from theworld.datasets.row_videos import span_of
from theworld.datasets.video import (
    ClipRule,
    clip_indices,
    frames_at,
    is_video,
    open_video,
    read_clip,
    shown_at,
    video_of,
)
from theworld.datasets.video_limits import VideoLimits


def pictures(count: int) -> list[Image.Image]:
    return [numbered(number) for number in range(count)]


def array(count: int) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in pictures(count)])


def tensor(count: int) -> torch.Tensor:
    return torch.from_numpy(array(count)).permute(0, 3, 1, 2)


class Decoder:
    """A double of torchcodec's VideoDecoder: frame n is shown from its time to that of the next."""

    def __init__(self, times_s: list[float], end_s: float, order: str = "NCHW") -> None:
        self.times_s, self.order = times_s, order
        span = end_s - times_s[0]
        self.metadata = SimpleNamespace(
            num_frames=len(times_s),
            average_fps=len(times_s) / span,
            begin_stream_seconds=times_s[0],
            end_stream_seconds=end_s,
            width=96,
            height=64,
        )

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        if not all(self.times_s[0] <= moment < self.metadata.end_stream_seconds for moment in seconds):
            raise RuntimeError(f"frame pts is {seconds}")
        indices = [int(np.searchsorted(self.times_s, moment, side="right")) - 1 for moment in seconds]
        batch = tensor(len(self.times_s))[indices]
        return SimpleNamespace(data=batch if self.order == "NCHW" else batch.permute(0, 2, 3, 1))


def decoder(count: int, rate_hz: float, start_s: float = 0.0, order: str = "NCHW") -> Decoder:
    return Decoder([start_s + number / rate_hz for number in range(count)], start_s + count / rate_hz, order)


RULE = ClipRule(5.0, 5)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (lambda: film(21, rate=20), {}),
        (lambda: film(21, "webm", "libvpx", rate=20), {}),
        (lambda: animation(21, duration_ms=50), {}),
        (lambda: array(21), {"source_rate_hz": 20.0}),
        (lambda: tensor(21), {"source_rate_hz": 20.0}),
        (lambda: tensor(21) / 255, {"source_rate_hz": 20.0}),
        (lambda: pictures(21), {"source_rate_hz": 20.0}),
        (lambda: tuple(array(21)), {"source_rate_hz": 20.0}),
        (lambda: decoder(21, 20.0), {}),
        (lambda: decoder(21, 20.0, start_s=3.0), {}),
        (lambda: decoder(21, 20.0, order="NHWC"), {}),
        (lambda: {"bytes": film(21, rate=20), "path": None}, {}),
    ],
    ids=["mp4", "webm", "gif", "array", "tensor", "floats", "list", "tuple", "decoder", "late", "nhwc", "column"],
)
def test_a_video_of_any_form_gives_the_same_clip(source, options):
    clip = read_clip(source(), RULE, **options)
    assert numbers_of(clip.frames) == [4, 8, 12, 16, 20]
    assert numbers_of(clip.shown) == [20]
    assert clip.note == "The models see the last 5 of 6 frames at 5 a second."


def test_frames_without_a_rate_are_all_used():
    clip = read_clip(pictures(7), RULE)
    assert numbers_of(clip.frames) == [2, 3, 4, 5, 6]
    assert clip.note == "The models see the last 5 of 7 frames."


def test_a_short_video_repeats_its_first_frame():
    clip = read_clip(film(12), ClipRule(5.0, 9))
    assert numbers_of(clip.frames) == [1, 1, 1, 1, 3, 5, 7, 9, 11]  # from the last frame back
    assert clip.note == "The video has 6 frames at 5 a second, and the clip 9: the first is repeated."


def test_a_slow_video_keeps_each_frame():
    clip = read_clip(film(4, rate=2), ClipRule(16.0, 5))
    assert numbers_of(clip.frames) == [0, 0, 1, 2, 3]
    assert "4 frames at 2 a second (the world model expects 16)" in clip.note


class Timed:
    """An opened video of these times."""

    def __init__(self, times_s: np.ndarray) -> None:
        self.times_s, self.num_frames = times_s, len(times_s)

    def pictures(self, indices: Any) -> list[Image.Image]:
        return [numbered(index % 64) for index in indices]


SLOW_THEN_FAST = np.concatenate([np.arange(100.0), 100 + np.arange(61) / 60])
FAST_THEN_SLOW = np.concatenate([np.arange(600) / 60, 10 + np.arange(10.0)])


def test_a_clip_of_a_variable_rate_spans_its_time():
    rule = ClipRule(10.0, 5)
    indices, _ = clip_indices(Timed(SLOW_THEN_FAST), rule)
    assert SLOW_THEN_FAST[indices] == pytest.approx([100.6, 100.7, 100.8, 100.9, 101.0])
    assert clip_indices(Timed(FAST_THEN_SLOW), rule)[0] == list(range(605, 610))
    indices, _ = clip_indices(Timed(FAST_THEN_SLOW), rule, end_s=5.0)
    assert FAST_THEN_SLOW[indices] == pytest.approx([4.6, 4.7, 4.8, 4.9, 5.0])


def test_frames_of_irregular_distances_are_those_shown_at_the_moments():
    indices, _ = clip_indices(Timed(np.asarray([0.0, 1.0, 2.0, 3.0, 3.05])), ClipRule(10.0, 5))
    assert indices == [2, 2, 2, 2, 4]


def test_a_clip_shows_no_frame_after_its_end():
    times_s = np.asarray([0.0, 0.1, 0.2, 0.3, 0.4, 0.41, 0.42, 0.5])
    assert clip_indices(Timed(times_s), ClipRule(10.0, 5), end_s=0.405)[0] == [0, 1, 2, 3, 4]


def test_one_frame_is_no_frames():
    for source, unit in ((pictures(1), "1 frame,"), (film(1), "1 frame at 5 a second,")):
        assert read_clip(source, RULE).note.startswith(f"The video has {unit} and the clip 5")


@pytest.mark.parametrize("rate_hz", [1e-320, 0.0, -1.0, 1e4, float("inf"), float("nan")])
def test_an_impossible_rate_of_frames_is_refused(rate_hz):
    with pytest.raises(VideoError, match=r"^frame_rate=.*: expected 0\.000001 to 1,000 frames a second$"):
        read_clip(pictures(9), RULE, source_rate_hz=rate_hz)


@pytest.mark.parametrize("start", [-1, -0.5, "-1", "-0:05"])
def test_a_negative_start_of_all_rows_is_refused(start):
    rows = [{"video": "a.mp4", "start": start, "question": "What?", "answer": "red"}]
    keys = guessed_keys(rows, (), "rows.json")
    with pytest.raises(RecordError, match="as the start: expected seconds, 0 or more") as refusal:
        span_of(keys.value(rows[0], "start", "row 0"), None, "row 0")
    assert refusal.value.cause == "malformed"


def test_a_clip_of_all_frames_has_no_note():
    assert read_clip(pictures(5), RULE).note == ""
    assert read_clip(pictures(1), ClipRule(5.0, 1)).note == ""


@pytest.mark.parametrize(
    ("start", "end", "numbers"), [(0.0, 1.0, [2, 4, 6, 8, 10]), (0.4, 1.0, [4, 4, 6, 8, 10]), (1.1, None, [11] * 5)]
)
def test_a_clip_ends_at_the_end_and_begins_at_the_start(start, end, numbers):
    clip = read_clip(film(12), RULE, start_s=start, end_s=end)
    assert numbers_of(clip.frames) == numbers


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start_s": -1.0}, "start=-1.0: expected 0 or more seconds"),
        ({"start_s": float("nan")}, "start=nan: expected 0 or more seconds"),
        ({"start_s": 2.0, "end_s": 1.0}, "end=1.0: expected 2 s, the start, or more"),
        ({"start_s": 5.0}, "no frame between 5 s and its end: the video has 1.1 s"),
        ({"start_s": 0.31, "end_s": 0.39}, "no frame between 0.31 s and 0.39 s: the video has 1.1 s"),
        ({"end_s": 2.2}, "end=2.2 s: the video has 1.1 s; give a time within it"),
    ],
)
def test_a_part_without_a_frame_is_refused(options, sentence):
    with pytest.raises(VideoError, match=f"^{sentence}"):
        read_clip(film(12), RULE, **options)


def test_an_end_may_be_rounded_up_to_a_second_beyond_that_of_the_video():
    whole = read_clip(film(12), RULE)
    assert numbers_of(read_clip(film(12), RULE, end_s=2.0).frames) == numbers_of(whole.frames)


def test_an_end_may_come_while_the_last_of_slow_frames_is_shown():
    slow = animation(4, duration_ms=3_000)
    whole = read_clip(slow, RULE)
    assert numbers_of(read_clip(slow, RULE, end_s=12.0).frames) == numbers_of(whole.frames)
    with pytest.raises(VideoError, match=r"^end=12\.5 s: the video has 9 s"):
        read_clip(slow, RULE, end_s=12.5)


def test_a_part_that_a_file_does_not_have_is_refused_by_its_name(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(film(12))
    for options in ({"start_s": 5.0}, {"end_s": 9.0}):
        for source in (tmp_path / "clip.mp4", {"path": str(tmp_path / "clip.mp4"), "bytes": None}):
            with pytest.raises(VideoError, match=r"clip\.mp4: .*the video has 1\.1 s"):
                read_clip(source, RULE, **options)


def test_a_start_of_frames_without_times_is_refused():
    with pytest.raises(VideoError, match="a start or an end needs their frame rate"):
        read_clip(pictures(9), RULE, start_s=1.0)


def test_gemma_sees_frames_from_the_first_to_the_last_of_the_clip():
    clip = read_clip(pictures(9), ClipRule(5.0, 9, 3))
    assert numbers_of(clip.shown) == [0, 4, 8]


@pytest.mark.parametrize("values", [(0.0, 5, 1), (5.0, 4, 1), (5.0, 0, 1), (5.0, 5, 6), (5.0, 5, 0)])
def test_an_impossible_rule_is_refused(values):
    with pytest.raises(ValueError, match="expected"):
        ClipRule(*values)


def test_a_viewer_sees_the_last_frame_that_has_come():
    times = np.asarray([0.0, 0.1, 0.5, 0.501])
    assert shown_at(times, np.asarray([-1.0, 0.0, 0.07, 0.3, 0.47, 0.6]), 0.1) == [0, 0, 0, 1, 1, 3]


def test_a_fast_video_shows_no_later_frame():
    times = np.arange(240) / 240
    assert shown_at(times, np.asarray([0.0, 0.5, 0.75]), 1 / 16) == [0, 120, 180]


def test_frames_at_moments_beyond_the_end_are_the_last():
    with open_video(film(12)) as video:
        assert video.times_s is not None
        assert video.times_s[-1] == pytest.approx(1.1)
        assert numbers_of(frames_at(video, np.asarray([0.0, 0.45, 0.5, 3.0]), 0.1)) == [0, 4, 5, 11]
        with pytest.raises(VideoError, match="back in time"):
            frames_at(video, np.asarray([0.5, 0.1]), 0.1)
    with open_video(pictures(3)) as video, pytest.raises(VideoError, match="give their frame rate"):
        frames_at(video, np.asarray([0.0]), 0.1)


def test_a_decoder_of_a_variable_rate_counts_as_one_of_its_average_rate():
    source = Decoder([0.0, 0.01, 0.02, 0.03, 1.0, 1.5], 2.0)  # on average 3 a second: 1/12, 5/12, 9/12, 13/12 ... s
    with open_video(source) as video:
        assert numbers_of(video.pictures(range(6))) == [3, 3, 3, 4, 4, 5]


def test_a_damaged_decoder_is_refused_in_one_line():
    source = decoder(12, 10.0)
    source.metadata.end_stream_seconds = 0.5
    with pytest.raises(VideoError, match=r"^a decoder: not a readable video \(frame pts is "):
        read_clip(source, RULE)
    source.metadata.num_frames = None
    with pytest.raises(VideoError, match="a decoder of a video without frames"):
        read_clip(source, RULE)


def test_torchcodec_decodes_the_same_frames(tmp_path):
    decoders = pytest.importorskip("torchcodec.decoders")
    for name, content in (
        ("a.mp4", film(21, rate=20, options={"bf": "2", "preset": "veryfast"})),
        ("b.webm", film(21, "webm", "libvpx", rate=20)),
        ("c.mp4", film(12, ticks=[0, 40, 80, 300, 310, 320, 700, 1500, 1510, 1520, 1530, 2000])),
    ):
        (tmp_path / name).write_bytes(content)
        source = decoders.VideoDecoder(str(tmp_path / name))
        with open_video(tmp_path / name) as video, open_video(source) as other:
            assert other.num_frames == video.num_frames
            if name != "c.mp4":  # torchcodec does not tell the times
                assert other.times_s == pytest.approx(video.times_s, abs=2e-3)
                for ours, theirs in zip(*(each.pictures(range(21)) for each in (video, other)), strict=True):
                    assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        assert len(read_clip(decoders.VideoDecoder(content), RULE).frames) == 5


def test_files_are_known_by_their_names_and_their_contents(tmp_path):
    for name, content in (("clip", film(3)), ("clip.bin", film(3, "matroska")), ("clip.gif", animation(3))):
        (tmp_path / name).write_bytes(content)
        assert is_video(tmp_path / name)
        assert is_video(str(tmp_path / name))
        assert is_video(content)
    numbered(1).save(tmp_path / "picture.png")
    assert not is_video(tmp_path / "picture.png")
    assert is_video("nowhere.mp4")
    assert is_video({"bytes": film(3), "path": "a"})
    assert is_video(decoder(3, 1.0))
    for other in ("nowhere.png", "a" * 5000, "\0", b"", numbered(1), pictures(3), array(3)[0], None, 3):
        assert not is_video(other)


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(film(12))
    assert numbers_of(read_clip(path, RULE).frames) == [3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (None, "a video given as a NoneType"),
        (3, "a video given as a int"),
        ([], "a video given as no frames"),
        (np.zeros((4, 8, 8), np.uint8), "a video given as a ndarray"),
        (np.zeros((0, 8, 8, 3), np.uint8), "a video given as no frames"),
        (np.zeros((4, 8, 8, 3)), r"an array of shape \(8, 8, 3\), float64: expected \(H, W, 3\), uint8"),
        (torch.full((4, 3, 8, 8), 2.0), r"a float picture with values in \[2, 2\]"),
        (torch.zeros(4, 8, 8, 3, dtype=torch.uint8), r"a tensor of shape \(8, 8, 3\): expected \(3, H, W\)"),
        ([numbered(1), "nowhere.png"], "nowhere.png: no such file"),
        (["http://127.0.0.1/a.png"], "addresses are not opened"),
    ],
)
def test_other_things_are_refused_with_the_expected_form(source, sentence):
    with pytest.raises(ImageError, match=sentence):
        read_clip(source, ClipRule(5.0, 5))


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/clip.mp4", "rtsp://127.0.0.1/clip", "file:///etc/passwd", "data:video/mp4;base64,AAAA"],
)
def test_addresses_are_never_opened(address):
    with pytest.raises(MissingImageError, match="not opened"):
        read_clip(address)


def test_a_path_without_a_readable_file_is_refused_in_one_line(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "nowhere.mp4", "a\0b.mp4", "a" * 5000 + ".mp4", "\ud800.mp4"):
        with pytest.raises(ImageError):
            read_clip(path)
    (tmp_path / "clip.mp4").write_bytes(film(3))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(VideoError, match=r"cannot be opened \(Permission denied\): check its permissions"):
        read_clip(tmp_path / "clip.mp4")


def test_a_record_without_a_readable_video_has_a_cause(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"text")
    for source, cause in (
        (None, "missing video"),
        (tmp_path / "no.mp4", "missing video"),
        (tmp_path / "clip.mp4", "unreadable video"),
    ):
        with pytest.raises(RecordError, match=r"^row 3: ") as refusal:
            video_of(source, RULE, "row 3")
        assert refusal.value.cause == cause
    with pytest.raises(RecordError, match="no frame between") as refusal:
        video_of(film(12), RULE, "row 3", start_s=9.0)
    assert refusal.value.cause == "unreadable video"
    assert numbers_of(video_of(film(12), RULE, "row 3", end_s=0.8).frames) == [0, 2, 4, 6, 8]


def test_limits_hold_for_each_form():
    few = VideoLimits(max_frames=10)
    for source in (film(12), animation(12), decoder(12, 10.0)):
        with pytest.raises(VideoError, match="a video of more than 10 frames: cut it"):
            read_clip(source, RULE, limits=few)
    short = VideoLimits(max_seconds=0.5)
    for source in (film(12), film(12, "matroska"), animation(12), decoder(12, 10.0)):
        with pytest.raises(VideoError, match=r"a video of more than 0\.5 s: cut it"):
            read_clip(source, RULE, limits=short)
    for source in (film(12), film(12, "avi", "mpeg4"), animation(12)):
        with pytest.raises(VideoError, match="takes too long"):
            read_clip(source, RULE, limits=VideoLimits(max_decode_seconds=-1.0))
    for source in (film(2), animation(2), decoder(2, 10.0)):
        with pytest.raises(VideoError, match="frames of 96 x 64 px: expected at most 6,000 pixels"):
            read_clip(source, RULE, limits=VideoLimits(max_pixels=6000))
    small = read_clip(pictures(5), RULE, limits=VideoLimits(max_side_px=48))
    assert small.frames[0].size == (WIDTH // 2, 32)


def test_a_file_is_closed_after_reading_and_after_errors(tmp_path):
    folder = Path("/proc/self/fd")
    if sys.platform != "linux":
        pytest.skip("counts files in /proc")
    content = film(12, options={"g": "4"})
    (tmp_path / "clip.mp4").write_bytes(content)
    (tmp_path / "clip.gif").write_bytes(animation())
    (tmp_path / "cut.mp4").write_bytes(content[:-300])
    before = len(list(folder.iterdir()))
    for _ in range(3):
        read_clip(tmp_path / "clip.mp4", RULE)
        read_clip(tmp_path / "clip.gif", RULE)
        for options in ({"start_s": 9.0}, {"limits": VideoLimits(max_pixels=9)}):
            with pytest.raises(VideoError):
                read_clip(tmp_path / "clip.mp4", RULE, **options)
        with pytest.raises(VideoError):
            read_clip(tmp_path / "cut.mp4", RULE)
    assert len(list(folder.iterdir())) == before


def test_many_clips_leave_no_memory_behind():
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    sources = [film(12), film(12, "matroska", options={"bf": "2"}), film(12, "avi", "mpeg4"), animation(12)]
    sources += [content[: len(content) // 2] for content in sources]

    def read_all() -> None:
        for source in sources:
            with suppress(VideoError):
                read_clip(source, RULE)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(20):
        read_all()
    before = resident()
    for _ in range(40):
        read_all()
    assert resident() - before < 4 << 20  # 320 clips; a leaked frame of each would be 6 MB
