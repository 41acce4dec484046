"""A shift changes pictures and leaves questions and answers; another gravity changes motion, and maybe the outcome."""

import numpy as np
import pytest

from theworld.config import EvaluationConfig, ForesightData, loader
from theworld.config.data_base import NO_SHIFT, Shift
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight import ForesightDataset, draw, draw_clip, dynamic_question, make_item
from theworld.datasets.foresight.shifts import shifted_look, under_gravity

ITEM = make_item("test", 1)


def pixels(shift: Shift, size_px: int = 64) -> np.ndarray:
    return np.asarray(draw(ITEM.scene, ITEM.poses[0], size_px, shifted_look(ITEM.scene, shift))).astype(int)


def test_no_shift_leaves_every_pixel():
    assert np.array_equal(pixels(NO_SHIFT), np.asarray(draw(ITEM.scene, ITEM.poses[0], 64)))


def test_a_camera_shift_of_four_pixels_moves_the_picture_by_four_pixels_to_the_right():
    assert np.array_equal(pixels(Shift(camera_px=4))[:, 8:-4], pixels(NO_SHIFT)[:, 4:-8])


def test_a_camera_shift_is_measured_in_pixels_of_a_picture_of_64():
    assert np.array_equal(pixels(Shift(camera_px=4), 128)[:, 16:-8], pixels(NO_SHIFT, 128)[:, 8:-16])


def test_light_multiplies_every_colour():
    assert np.abs(pixels(Shift(light=0.5)) - pixels(NO_SHIFT) / 2).max() <= 1


def test_zoom_keeps_the_middle_and_makes_things_smaller():
    def num_coloured(shift: Shift) -> int:
        picture = pixels(shift, 128)[:64]  # the upper half: the ball, without bins
        return int((picture.max(-1) - picture.min(-1) > 80).sum())

    assert num_coloured(Shift(zoom=0.8)) == pytest.approx(0.64 * num_coloured(NO_SHIFT), rel=0.15)


@pytest.mark.parametrize("scenes", ["plain", "varied"])
def test_shifted_samples_have_the_same_questions_answers_and_ids_about_other_pictures(scenes):
    plain, shifted = (
        ForesightDataset("test", 5, questions="both", with_future=True, scenes=scenes, shift=shift)
        for shift in (NO_SHIFT, Shift(light=0.8))
    )
    for index in range(len(plain)):
        one, other = plain[index], shifted[index]
        assert (one.id, one.turns, one.fields) == (other.id, other.turns, other.fields)
        assert np.asarray(other.images[0]).mean() < np.asarray(one.images[0]).mean()
        assert other.future[0].mean() < one.future[0].mean()
        assert all(b.mean() < a.mean() for a, b in zip(one.clips or (), other.clips or (), strict=True))


def test_settings_open_shifted_samples_and_keep_drawn_ones_apart_from_the_others(tmp_path):
    def picture(shift: Shift) -> np.ndarray:
        data = ForesightData(image_size_px=64, num_validation=1, shift=shift, drawn_dir=tmp_path)
        return np.asarray(open_samples(data, "validation", 1)[0].images[0])

    plain, dark = picture(NO_SHIFT), picture(Shift(light=0.5))
    assert dark.mean() < 0.6 * plain.mean()
    assert np.array_equal(picture(NO_SHIFT), plain)


def test_a_training_never_sees_shifted_scenes():
    with pytest.raises(ValueError, match="a shift is for measurements"):
        ForesightData(questions="labels", shift=Shift(light=0.8))
    plain, dark = ForesightData(image_size_px=64), ForesightData(image_size_px=64, shift=Shift(light=0.5))
    first, second = (np.asarray(open_samples(data, "train", 1)[0].images[0]) for data in (plain, dark))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("values", [{"light": 0.0}, {"zoom": 9.0}, {"camera_px": 99.0}, {"light": float("nan")}])
def test_absurd_shifts_are_refused(values):
    with pytest.raises(ValueError, match="|".join(values)):
        Shift(**values)


def test_a_ball_under_half_the_gravity_falls_half_as_far_at_first():
    first = make_item("test", 1, "drop")
    slow, _ = under_gravity(first, 0.5)
    fallen = [item.poses[1, 0, 1] - item.poses[0, 0, 1] for item in (slow, first)]
    assert fallen[0] == pytest.approx(fallen[1] / 2, rel=0.05)


def test_gravity_times_one_and_gravity_of_a_table_change_nothing():
    for item, factor in ((ITEM, 1.0), (make_item("test", 0, "collide"), 0.5)):
        assert under_gravity(item, factor) == (item, True)


def test_a_ball_that_has_not_reached_a_bin_has_no_outcome():
    assert under_gravity(ITEM, 0.25)[1] is False


def test_an_outcome_under_another_gravity_is_that_of_the_new_motion():
    item, ends = under_gravity(ITEM, 2.0)
    assert ends
    assert item.scene.bins is not None
    bin_below = item.scene.bins[int(3 * item.poses[-1, 0, 0])]
    assert dynamic_question(item).answer == bin_below
    assert draw_clip(item.scene, item.poses, 32).shape == (17, 32, 32, 3)


def test_a_shift_on_the_command_line_is_for_foresight_alone():
    common = ["--checkpoint", "tiny", "--output-dir", "runs/eval"]
    chosen = loader.load(EvaluationConfig, None, [*common, "--data.shift.light", "0.8"])
    assert isinstance(chosen.data, ForesightData)
    assert chosen.data.shift == Shift(light=0.8)
    blink = [*common, "--data.dataset", "blink"]
    assert loader.load(EvaluationConfig, None, blink).data.dataset == "blink"
    with pytest.raises(ValueError, match=r"--data\.shift: for dataset 'foresight', not 'blink'"):
        loader.load(EvaluationConfig, None, [*blink, "--data.shift.light", "0.8"])
