"""Held-out samples: by picture and share, the same for every order, and enough of them or a warning."""

import logging

import numpy as np
import pytest

from theworld.datasets.held_out import id_hashes, places_by_picture, usual_share


def sides(pictures: list[str], share: float | None = None) -> tuple[set[int], set[int]]:
    hashes = id_hashes(pictures)
    return (
        set(places_by_picture(hashes, "train", share, "x").tolist()),
        set(places_by_picture(hashes, "validation", share, "x").tolist()),
    )


def test_every_sample_is_on_one_side_and_those_of_a_picture_are_together() -> None:
    pictures = [f"{number // 3}.png" for number in range(300)]

    train, held_out = sides(pictures)

    assert train | held_out == set(range(300))
    assert not train & held_out
    assert not {pictures[index] for index in train} & {pictures[index] for index in held_out}
    assert len(held_out) == 60


def test_the_order_of_the_rows_does_not_matter() -> None:
    pictures = [f"{number}.png" for number in range(100)]
    order = np.random.default_rng(0).permutation(100).tolist()

    held_out = {pictures[index] for index in sides(pictures)[1]}

    assert {pictures[order[index]] for index in sides([pictures[index] for index in order])[1]} == held_out


@pytest.mark.parametrize(("share", "expected"), [(0.1, 20), (0.5, 100), (0.001, 1), (0.999, 199)])
def test_a_share_is_a_share_of_the_pictures_and_leaves_some_on_both_sides(share: float, expected: int) -> None:
    assert len(sides([f"{number}.png" for number in range(200)], share)[1]) == expected


@pytest.mark.parametrize(
    ("num_samples", "num_held_out"), [(200, 40), (5_000, 1_000), (50_000, 1_000), (665_000, 6_650), (1_200_000, 12_000)]
)
def test_large_data_sets_hold_out_about_a_thousand_or_one_in_a_hundred(num_samples: int, num_held_out: int) -> None:
    assert round(num_samples * usual_share(num_samples)) == num_held_out


def test_one_picture_alone_is_trained_on() -> None:
    assert sides(["a.png"] * 5) == (set(range(5)), set())
    assert sides([]) == (set(), set())


def test_few_held_out_samples_are_warned_of_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    for name, number in (("few.json", 60), ("many.json", 400)):
        places_by_picture(id_hashes(f"{index}.png" for index in range(number)), "train", None, name)

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "few.json: accuracies will rest on n = 12 held-out samples, fewer than 50" in warnings[0]
