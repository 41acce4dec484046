"""Regions: boxes stay inside, masks are COCO's, and each region has its own colour and number."""

import numpy as np
import pytest
from PIL import Image

from theworld.datasets.images import ImageError
from theworld.datasets.regions import clamp, decode_mask, draw_regions


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
