"""Uploaded files become frames for the world model, or a message that says why not."""

import io
import re
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av", reason="the extra `app` is not installed")

from PIL import Image

from fixtures_model import picture
from theworld.config.data_base import Shift
from theworld.config.serving import AppSettings, ServeSettings
from theworld.datasets.video import ClipRule
from theworld.serving.media import decode_video
from theworld.serving.refusals import RequestError
from theworld.serving.web.uploads import LONGEST_SIDE_PX, SHOWN_SIDE_PX, read_files, read_scene, shown, strip

LIMITS = AppSettings()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def grey(level: int, side: int = 32) -> Image.Image:
    return Image.new("RGB", (side, side), (level,) * 3)


def levels(clip) -> list[int]:
    """Identify frames by their brightness, up to the loss of the codec."""
    return [round(float(np.asarray(frame).mean()), -1) for frame in clip.frames]


def gif(num_frames: int, duration_ms: int) -> bytes:
    file = io.BytesIO()
    first, *rest = [grey(10 * number) for number in range(num_frames)]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=duration_ms)
    return file.getvalue()


def video(num_frames: int, rate_hz: int, format: str = "mp4", side: int = 32) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream("mpeg4" if format != "webm" else "libvpx", rate=rate_hz)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            for packet in stream.encode(av.VideoFrame.from_image(grey(10 * number, side))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def test_one_picture_is_a_clip_of_one_frame():
    clip = read_files([png(picture(1))], LIMITS, 6.0, 5)
    assert len(clip.frames) == 1
    assert np.array_equal(np.asarray(clip.current), np.asarray(picture(1)))
    assert clip.note == ""


def test_a_clip_of_seven_pictures_keeps_the_last_five():
    clip = read_files([png(grey(10 * number)) for number in range(7)], LIMITS, 6.0, 5)
    assert levels(clip) == [20, 30, 40, 50, 60]
    assert clip.note == "The models see the last 5 of 7 pictures."


def test_three_pictures_keep_the_last_since_no_clip_has_three_frames():
    clip = read_files([png(grey(10 * number)) for number in range(3)], LIMITS, 6.0, 5)
    assert levels(clip) == [20]
    assert clip.note == "The models see the last of 3 pictures."


@pytest.mark.parametrize("content", [gif(21, 50), video(21, 20), video(21, 20, "webm"), video(21, 20, "matroska")])
def test_a_video_is_sampled_at_the_rate_of_the_world_model(content):
    clip = read_files([content], LIMITS, 5.0, 5)  # 20 frames a second: every fourth, 0, 4, 8, 12, 16, 20
    assert levels(clip) == [40, 80, 120, 160, 200]
    assert clip.note == "The models see the last 5 of 6 frames at 5 a second."


def test_a_slow_clip_keeps_all_its_frames():
    assert levels(read_files([gif(5, 500)], LIMITS, 6.0, 5)) == [0, 10, 20, 30, 40]


def test_a_large_picture_is_scaled_down():
    clip = read_files([png(Image.new("RGB", (4000, 1000)))], LIMITS, 6.0, 5)
    assert clip.current.size == (LONGEST_SIDE_PX, LONGEST_SIDE_PX // 4)


def grown(side: int) -> bytes:
    """Return a GIF whose second frame is larger than the first."""

    def parts(side: int) -> tuple[bytes, bytes]:
        file = io.BytesIO()
        Image.new("P", (side, side), 200).save(file, "GIF", optimize=False)
        content = file.getvalue()
        end = 13 + 3 * (2 << (content[10] & 7))  # length of the header and its colours
        return content[:end], content[end:-1]

    return b"".join(parts(10)) + parts(side)[1] + b";"


def unknown_codec() -> bytes:
    """Return a video with an unknown name of its codec."""
    return video(9, 20, "webm").replace(b"V_VP8", b"V_VPX")


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "no file"),
        ([png(grey(0))] * 33, "33 files: expected at most 32"),
        ([b"no picture"], "not a readable picture or video: expected PNG, JPEG, WEBP, GIF, BMP, MP4"),
        ([PLAYLIST], "not a readable picture or video"),  # FFmpeg would open the file in it
        ([b"ffconcat version 1.0\nfile '/etc/passwd'\n"], "not a readable picture or video"),
        ([png(picture(1))[:-40]], "not a readable picture"),
        ([gif(4, 50)[:-30]], "cut short: its last part is missing"),
        ([video(9, 20, "mpegts")], "not a readable picture or video"),  # FFmpeg knows it, the list of formats does not
        ([video(9, 20)[:400]], "a file without pictures"),
        ([png(Image.new("1", (6000, 5000)))], "a picture of 6000 x 5000 px: expected at most 25,000,000 pixels"),
        ([png(grey(0)), b"no picture"], "not a readable picture"),
        *[([gif(9, 50)[:length]], "cut short: its last part is missing") for length in (180, 190, 200)],
        ([grown(5100)], "frames of 5100 x 5100 px: expected at most 25,000,000 pixels; send it smaller"),
        ([unknown_codec()], "a video of an unknown codec: convert it to H.264"),
        ([gif(20, 2000)], "a video of more than 30 s: cut it"),
        ([video(40, 1)], "a video of more than 30 s: cut it"),
    ],
)
def test_an_unsupported_file_is_refused_with_a_message(files, sentence):
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}"):
        read_files(files, LIMITS, 6.0, 5)


def test_a_video_of_too_large_frames_is_refused_before_one_is_decoded():
    with pytest.raises(RequestError, match=r"^frames of 64 x 64 px: expected at most 4,000 pixels"):
        read_files([video(2, 20, side=64)], AppSettings(max_image_pixels=4000), 6.0, 5)


def test_a_clip_whose_frames_all_have_one_time_ends_by_the_time_limit():
    with pytest.raises(RequestError, match=r"^a video that takes too long to decode: send a smaller one$"):
        read_files([gif(4, 50)], AppSettings(max_seconds=1e-9), 6.0, 5)


@pytest.mark.parametrize(
    ("content", "limits", "code"),
    [
        (video(9, 20)[:400], {}, "invalid_video"),
        (gif(9, 50)[:190], {}, "invalid_video"),
        (video(2, 20, side=64), {"pixels": 1000}, "video_too_large"),
        (video(40, 1), {"seconds": 30}, "video_too_large"),
        (gif(4, 50), {"decode_seconds": 1e-9}, "video_too_large"),
    ],
    ids=["cut video", "cut animation", "large", "long", "slow"],
)
def test_the_page_and_the_api_refuse_a_video_in_the_same_words(
    content: bytes, limits: dict[str, Any], code: str
) -> None:
    pixels, seconds, decode_seconds = (limits.get(name) for name in ("pixels", "seconds", "decode_seconds"))
    page = AppSettings(max_image_pixels=pixels or 25_000_000, max_video_seconds=30, max_seconds=decode_seconds or 60)
    api = ServeSettings(
        model="test",
        max_video_pixels=pixels or 25_000_000,
        max_video_seconds=seconds or 30,
        max_video_decode_seconds=decode_seconds or 60,
    )

    refusals = []
    for read in (lambda: read_files([content], page, 6.0, 5), lambda: decode_video(content, ClipRule(6.0, 5), api)):
        with pytest.raises(RequestError) as caught:
            read()
        refusals.append((caught.value.status, caught.value.code, str(caught.value)))
    assert refusals[0] == refusals[1]
    assert refusals[0][:2] == (400, code)


def test_a_scene_has_its_questions_and_its_future():
    clip = read_scene("hide", 3, 64, 5)
    assert (len(clip.frames), len(clip.future), clip.num_world_steps) == (5, 12, 3)
    assert clip.questions[0].text.startswith("On which side of the screen does the ball come out")
    assert clip.current.size == (64, 64)


def test_a_scene_has_at_most_the_frames_that_the_model_supports():
    clip = read_scene("hide", 3, 64, 1)
    assert (len(clip.frames), len(clip.future)) == (1, 12)
    assert clip.note == "The models see the last of 5 frames."


def test_the_page_shows_frames_at_the_size_of_the_current_one_up_to_the_limit():
    with Image.open(io.BytesIO(shown([grey(10, 64), grey(20, 2000).crop((0, 0, 2000, 1000))]))) as image:
        assert image.size == (2 * SHOWN_SIDE_PX, SHOWN_SIDE_PX // 2)
        assert [image.getpixel((x, 100)) for x in (4, SHOWN_SIDE_PX + 4)] == [(10, 10, 10), (20, 20, 20)]


def test_frames_lie_side_by_side_in_a_strip():
    with Image.open(io.BytesIO(strip([grey(10), grey(20)], 16))) as image:
        assert image.size == (32, 16)
        assert [image.getpixel((x, 8)) for x in (4, 20)] == [(10, 10, 10), (20, 20, 20)]


def test_a_scene_without_an_outcome_under_its_gravity_is_asked_about_the_present_alone():
    asked = [
        [question.kind for question in read_scene("drop", 1, 32, 5, gravity=factor).questions] for factor in (1.0, 0.25)
    ]
    assert asked[0] == ["end", *asked[1]]


def test_a_shift_of_the_scene_shows_in_the_given_frames_and_in_the_true_future():
    plain, dark = read_scene("collide", 1, 32, 5), read_scene("collide", 1, 32, 5, Shift(light=0.5))
    for one, other in zip((*plain.frames, *plain.future), (*dark.frames, *dark.future), strict=True):
        assert np.asarray(other).mean() < 0.6 * np.asarray(one).mean()
