"""Regions: boxes stay inside, masks are COCO's, and each region has its own colour and number."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from theworld.datasets.images import ImageError
from theworld.datasets.regions import as_box, clamp, decode_mask, draw_regions, short


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-5, -5, 10, 10), (0, 0, 10, 10)),
        ((90, 40, 300, 300), (90, 40, 99, 49)),
        ((99, 10, 99, 20), (98, 10, 99, 20)),  # at the right edge, and no width: one pixel is left
        ((0, 0, 0, 0), (0, 0, 1, 1)),
    ],
)
def test_a_box_is_cut_to_the_picture_and_never_empty(box, expected):
    assert clamp(tuple(map(float, box)), (100, 50)) == expected


@pytest.mark.parametrize("box", [(100, 0, 120, 10), (0, -20, 10, -1), (20, 0, 10, 10), (float("nan"), 0, 1, 1)])
def test_a_box_outside_of_the_picture_is_none(box):
    with pytest.raises(ImageError, match="expected left, top, right, bottom"):
        clamp(tuple(map(float, box)), (100, 50))


def test_regions_have_colours_of_their_own_and_the_picture_stays_as_it_was():
    image = Image.new("RGB", (200, 100), "white")

    drawn = np.asarray(draw_regions(image, [(10.0, 10.0, 80.0, 90.0), (110.0, 10.0, 190.0, 90.0)]))

    assert np.asarray(image).min() == 255
    assert tuple(drawn[90, 40]) != tuple(drawn[90, 150]) != (255, 255, 255)
    assert tuple(drawn[5, 5]) == tuple(drawn[70, 40]) == (255, 255, 255)


def test_a_mask_is_read_from_both_forms_of_cocos_code():
    runs = decode_mask({"size": [2, 3], "counts": [1, 2, 3]})  # column by column: 1 off, 2 on, 3 off

    assert runs.astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("rle", [{"size": [2, 3]}, {"size": [2, 3], "counts": [1, 2]}, {"counts": "abc"}])
def test_what_is_no_mask_is_refused(rle):
    with pytest.raises(ImageError, match="a mask"):
        decode_mask(rle)


def test_boxes_and_masks_are_of_the_same_regions():
    with pytest.raises(ImageError, match="1 boxes and 0 masks"):
        draw_regions(Image.new("RGB", (20, 20)), [(0.0, 0.0, 5.0, 5.0)], [])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.randoms(use_true_random=False), st.booleans())
def test_every_mask_of_coco_is_decoded_as_coco_does(height, width, random, is_dense):
    from pycocotools import mask as coco

    values = [random.random() < (0.5 if is_dense else 0.03) for _ in range(height * width)]
    mask = np.asfortranarray(np.array(values, np.uint8).reshape(height, width))
    code = coco.encode(mask)

    for counts in (code["counts"], code["counts"].decode()):
        decoded = decode_mask({"size": [height, width], "counts": counts}, (height, width))
        assert decoded.dtype == bool
        assert (decoded == mask.astype(bool)).all()


HUGE = 10**5_000
WRONG_TEXTS = ("", "1", "o", "ooooooooo", "é", "\udcff", " ", "0" * 500, b"\xff", "o" * 10**6, "o" * 10**6 + "0")
WRONG_NUMBERS = ([], [79], [81], [90, -10], ["26", "54"], ["a"], [[1]], [None], [True, 79], [0.5, 79.5], [HUGE])
WRONG_COUNTS = (*WRONG_TEXTS, *WRONG_NUMBERS, [float("nan")], [float("inf")], None, 5, {}, {"a": 1}, True)
WRONG_SIZES = ([0, 10], [-8, -10], [8], [8, 10, 1], "ab", None, 5, {}, ["8", "10"], [8.5, 10], [True, 80])
LARGE_SIZES = ([70_000, 70_000], [10**9, 10**9], [HUGE, 1])
WRONG_MASKS = [
    *(None, 5, "text", [1, 2], [[1, 1, 5, 5]], {}),
    *({"size": [8, 10], "counts": counts} for counts in WRONG_COUNTS),
    *({"size": size, "counts": "1"} for size in (*WRONG_SIZES, *LARGE_SIZES)),
]


@pytest.mark.parametrize("size", [None, (8, 10)])
@pytest.mark.parametrize("rle", WRONG_MASKS, ids=range(len(WRONG_MASKS)))
def test_a_wrong_mask_is_refused_in_one_line_before_it_takes_memory(rle, size):
    tracemalloc.start()
    with pytest.raises(ImageError, match="a mask") as caught:
        decode_mask(rle, size)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=20), st.binary(max_size=20), st.text("0123456789:;<=>?@ABOPQRo", max_size=12)))
def test_a_code_of_chance_is_a_mask_of_the_right_size_or_refused(counts):
    try:
        mask = decode_mask({"size": [8, 10], "counts": counts})
    except ImageError:
        return
    assert mask.shape == (8, 10)


def test_a_mask_of_another_size_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="a mask of 10 x 8 px on a picture of 32 x 24"):
        decode_mask({"size": [8, 10], "counts": [80]}, (24, 32))


@pytest.mark.parametrize(
    "values",
    [None, 5, "abcd", {}, [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, None], [1, 2, 3, [4]], [True, 2, 3, 4], [HUGE, 2, 3, 4]],
)
def test_a_value_that_is_no_box_is_refused(values):
    with pytest.raises(ImageError, match="a box") as caught:
        as_box(values)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_box_has_finite_numbers(number):
    with pytest.raises(ImageError, match="four finite numbers"):
        as_box([0, 0, number, 5])


def test_values_are_shortened_for_messages():
    assert short([1, 2.5, "a"]) == "[1, 2.5, 'a']"
    assert short(HUGE).endswith(" bits")
    assert len(short("x" * 1000)) <= 60
    assert len(short([["x" * 1000] * 9] * 9)) < 1200
