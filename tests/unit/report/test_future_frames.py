"""Pictures of an imagined future: the frames of an animation, and a contact sheet."""

import numpy as np

from theworld.report.future_frames import Future, contact_sheet, side_by_side

GREEN, BLUE, RED = (0, 255, 0), (0, 0, 255), (255, 0, 0)


def frames(number: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((number, 16, 16, 3), colour, np.uint8)


def future(num_true: int = 8, aspect: float = 1.0) -> Future:
    return Future(frames(5, GREEN), frames(8, RED), frames(num_true, BLUE), 0.25, aspect)


def middle(picture: np.ndarray, share: float) -> tuple[int, ...]:
    """The colour at half the height, and at a share of the width."""
    return tuple(picture[picture.shape[0] // 2, int(share * picture.shape[1])].tolist())


def test_true_and_imagined_frames_are_side_by_side_after_the_given_ones():
    pages = side_by_side(future())
    assert len(pages) == 5 + 8
    assert not pages.shape[1] % 2
    assert not pages.shape[2] % 2
    assert [middle(pages[0], share) for share in (0.25, 0.75)] == [GREEN, GREEN]
    assert [middle(pages[5], share) for share in (0.25, 0.75)] == [BLUE, RED]


def test_a_true_future_that_ends_earlier_stays_on_its_last_frame():
    pages = side_by_side(future(num_true=4))
    assert [middle(pages[-1], share) for share in (0.25, 0.75)] == [BLUE, RED]


def test_without_a_truth_the_imagined_future_is_alone_and_the_width_is_that_of_the_video():
    alone, wide = side_by_side(future(num_true=0)), side_by_side(future(num_true=0, aspect=2.0))
    assert middle(alone[-1], 0.5) == RED
    assert abs(wide.shape[2] - 2 * alone.shape[2]) <= 2


def test_a_sheet_has_the_current_frame_and_the_last_of_each_slot():
    sheet = np.asarray(contact_sheet(future(), ["error 0.50", "error 0.70"]))
    plain = np.asarray(contact_sheet(future()))
    assert sheet.shape[0] > plain.shape[0]
    left = plain.shape[1] - 3 * 264
    top, bottom = 26 + 128, 26 + 264 + 128
    columns = [left + 264 * column + 128 for column in range(3)]
    assert [tuple(plain[top, x]) for x in columns] == [GREEN, BLUE, BLUE]
    assert [tuple(plain[bottom, x]) for x in columns] == [(255, 255, 255), RED, RED]
