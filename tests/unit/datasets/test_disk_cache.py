"""Samples that were drawn once are the same samples, read from disk."""

from pathlib import Path

import numpy as np
import pytest

from theworld.datasets.disk_cache import DrawnSamples
from theworld.datasets.sample import Sample, Turn, question
from theworld.datasets.wrappers import ClipsAsImages


def frames(number: int, *values: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), value, np.uint8) for value in values]) + np.uint8(number)


class Counted:
    """Samples that count how often they are read."""

    def __init__(self, asked: str = "What?") -> None:
        self.asked = asked
        self.reads = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return question(
            f"sample-{index}",
            [frames(index, 4)[0]],
            self.asked,
            "That.",
            clips=(frames(index, 0, 1, 2, 3, 4),),
            future=(frames(index, 5, 6, 7, 8),),
            num_world_steps=1,
            fields={"task": "hide", "choices": ("a", "b"), "index": index, "nothing": None},
        )


def assert_same(found: Sample, expected: Sample) -> None:
    assert (found.id, found.turns, found.num_world_steps) == (expected.id, expected.turns, expected.num_world_steps)
    assert dict(found.fields) == dict(expected.fields)
    assert found.shape == expected.shape
    assert all(np.array_equal(a, b) for a, b in zip(found.images, expected.images, strict=True))
    for name in ("clips", "future"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        assert all(np.array_equal(a, b) for a, b in zip(ours or (), theirs or (), strict=True))


def test_a_drawn_sample_is_the_sample(tmp_path: Path):
    samples = Counted()
    drawn = DrawnSamples(samples, tmp_path, {"name": "test"})

    assert len(drawn) == 3
    for index in range(3):
        assert_same(drawn[index], Counted()[index])
        assert drawn.shape_of(index) == drawn[index].shape


def test_what_is_drawn_is_not_drawn_again(tmp_path: Path):
    DrawnSamples(Counted(), tmp_path, {"name": "test"})
    again = Counted()

    drawn = DrawnSamples(again, tmp_path, {"name": "test"})

    assert again.reads == 1  # the first, to see whether it still says the same
    assert_same(drawn[2], Counted()[2])


def test_a_folder_of_other_samples_is_refused(tmp_path: Path):
    DrawnSamples(Counted(), tmp_path, {"name": "test"})

    with pytest.raises(ValueError, match="belongs to another run"):
        DrawnSamples(Counted(), tmp_path, {"name": "another"})


def test_a_folder_whose_questions_have_changed_since_is_refused(tmp_path: Path):
    DrawnSamples(Counted(), tmp_path, {"name": "test"})

    with pytest.raises(ValueError, match="belongs to another run"):
        DrawnSamples(Counted("Which?"), tmp_path, {"name": "test"})


def test_a_piece_that_was_not_finished_is_drawn(tmp_path: Path):
    DrawnSamples(Counted(), tmp_path, {"name": "test"})
    (tmp_path / "00000000.npy").unlink()

    assert_same(DrawnSamples(Counted(), tmp_path, {"name": "test"})[1], Counted()[1])


def test_text_alone_is_kept_as_it_is(tmp_path: Path):
    sample = Sample("a", (Turn("user", "Hello?"), Turn("assistant", "Hello.")))

    assert_same(DrawnSamples([sample], tmp_path, {})[0], sample)


def test_gemma_can_be_shown_every_given_frame():
    shown = ClipsAsImages([Counted()[0]])[0]

    assert [int(image[0, 0, 0]) for image in shown.images] == [0, 1, 2, 3, 4]
    assert shown.num_clips == 1


def test_of_a_conversation_about_a_true_clip_gemma_is_shown_the_last_frame_of_each_slot_and_its_own_picture():
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d"))
    sample = Sample("a", turns, images=(frames(9, 9)[0],), clips=(frames(0, 0),), future=(frames(0, 1, 2, 3, 4),))

    assert [int(image[0, 0, 0]) for image in ClipsAsImages([sample], of_slots=True)[0].images] == [0, 4, 18]


def test_a_sample_without_clips_stays_as_it_is():
    sample = question("a", [frames(0, 1)[0]], "What?")

    assert ClipsAsImages([sample])[0] is sample
