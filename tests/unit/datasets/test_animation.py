"""Animations: what a GIF and an MP4 of a clip hold."""

import time

import jaxtyping
import numpy as np
import pytest
from PIL import Image, ImageSequence

from theworld.datasets.animation import write_gif, write_mp4
from theworld.datasets.video import open_video

# Four frames of 2 x 3 pixels, a white pixel that moves on.
FRAMES = np.zeros((4, 2, 3, 3), np.uint8)
for place in range(4):
    FRAMES[place, place // 3, place % 3] = 255


def frames_of(path) -> list[tuple[int, np.ndarray]]:
    """Duration in ms and pixels of each frame."""
    with Image.open(path) as image:
        return [(frame.info["duration"], np.asarray(frame.convert("RGB"))) for frame in ImageSequence.Iterator(image)]


def test_frames_come_back_enlarged_by_whole_pixels(tmp_path):
    write_gif(FRAMES, tmp_path / "a.gif", 10.0, 3)
    for (_, shown), frame in zip(frames_of(tmp_path / "a.gif"), FRAMES, strict=True):
        np.testing.assert_array_equal(shown, frame.repeat(3, axis=0).repeat(3, axis=1))


def test_it_loops_for_ever_and_rests_a_second_on_the_last_frame(tmp_path):
    write_gif(FRAMES, tmp_path / "a.gif", 10.0, 1)
    assert [duration for duration, _ in frames_of(tmp_path / "a.gif")] == [100, 100, 100, 1000]
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0


def test_rounded_delays_add_up_to_the_true_length(tmp_path):
    frames = np.arange(17, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3) * 10
    write_gif(frames, tmp_path / "a.gif", 16.0, 1)
    durations = [duration for duration, _ in frames_of(tmp_path / "a.gif")]
    assert set(durations[:-1]) == {60, 70}
    assert sum(durations) == 1000 + 1000


def test_the_same_frames_give_the_same_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(3, 8, 8, 3), dtype=np.uint8)
    for name in ("a.gif", "b.gif"):
        write_gif(noise, tmp_path / name, 6.0, 2)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_a_few_colours_come_back_exactly_and_many_come_back_close(tmp_path):
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    few = np.stack([np.stack([ramp, ramp[::-1], ramp // 2], axis=-1).reshape(10, 20, 3)] * 2)
    few[1] = few[1, ::-1]
    write_gif(few, tmp_path / "few.gif", 6.0, 1)
    np.testing.assert_array_equal([pixels for _, pixels in frames_of(tmp_path / "few.gif")], few)
    many = np.random.default_rng(0).integers(100, 160, size=(2, 32, 32, 3), dtype=np.uint8)
    write_gif(many, tmp_path / "many.gif", 6.0, 1)
    shown = np.array([pixels for _, pixels in frames_of(tmp_path / "many.gif")], dtype=int)
    assert np.abs(shown - many).max() < 24


@pytest.mark.parametrize(
    ("frames", "rate", "scale", "message"),
    [
        (FRAMES[:0], 10.0, 1, "one at least"),
        (FRAMES, 0.0, 1, "above 0 and at most 50"),
        (FRAMES, 60.0, 1, "above 0 and at most 50"),
        (FRAMES, 10.0, 0, "expected 1 or more"),
    ],
)
def test_what_no_gif_can_show_is_refused(tmp_path, frames, rate, scale, message):
    with pytest.raises(ValueError, match=message):
        write_gif(frames, tmp_path / "a.gif", rate, scale)


def test_frames_that_are_no_pictures_are_refused(tmp_path):
    with pytest.raises(jaxtyping.TypeCheckError):
        write_gif(FRAMES.astype(np.float32), tmp_path / "a.gif", 10.0, 1)


def test_a_film_of_many_colours_is_written_in_seconds_and_comes_back_close(tmp_path):
    x, y = np.meshgrid(np.linspace(0, 255, 160), np.linspace(0, 255, 120))
    frames = np.stack([np.stack([x, y, np.full_like(x, 12 * number)], axis=-1) for number in range(12)])
    frames = (frames + np.random.default_rng(0).normal(0, 6, frames.shape)).clip(0, 255).astype(np.uint8)
    started = time.perf_counter()
    write_gif(frames, tmp_path / "film.gif", 6.0, 1)
    assert time.perf_counter() - started < 10  # minutes, if every pixel counts
    shown = np.array([pixels for _, pixels in frames_of(tmp_path / "film.gif")], dtype=int)
    assert np.abs(shown - frames).mean() < 16


def test_an_mp4_has_the_frames_at_their_rate(tmp_path):
    frames = np.stack([np.full((32, 48, 3), 20 * number, np.uint8) for number in range(9)])
    write_mp4(frames, tmp_path / "a.mp4", 6.0)
    with open_video(tmp_path / "a.mp4") as video:
        np.testing.assert_allclose(video.times_s, np.arange(9) / 6, atol=1e-3)
        pictures = np.stack([np.asarray(picture) for picture in video.pictures(range(9))])
    assert np.abs(pictures.astype(int) - frames).max() <= 4


def test_an_mp4_of_odd_sides_or_without_frames_is_refused(tmp_path):
    for shape in ((2, 3, 4, 3), (2, 4, 3, 3), (0, 4, 4, 3)):
        with pytest.raises(ValueError, match="expected one at least, of even height and width"):
            write_mp4(np.zeros(shape, np.uint8), tmp_path / "a.mp4", 6.0)
    with pytest.raises(ValueError, match="expected above 0"):
        write_mp4(np.zeros((1, 4, 4, 3), np.uint8), tmp_path / "a.mp4", 0.0)
