"""Requests and uploads convert every mode as data sets do, and damaged metadata costs no picture."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from theworld.config.serving import AppSettings
from theworld.datasets.images import to_image
from theworld.serving.media import decode_picture
from theworld.serving.refusals import RequestError
from theworld.serving.web.uploads import read_files


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def damaged() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", b"1")
    return png(Image.new("RGB", (8, 8), "red"), pnginfo=info)


RAMP = Image.fromarray(np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8))
CLEAR = Image.new("RGBA", (8, 8), (0, 0, 0, 0))


@pytest.mark.parametrize("content", [png(RAMP), png(CLEAR), damaged()], ids=["16 bit", "clear", "damaged"])
def test_server_and_page_convert_a_picture_as_data_sets_do(content):
    expected = np.asarray(to_image(content))

    assert (np.asarray(decode_picture(content, 10_000)) == expected).all()
    assert (np.asarray(read_files([content], AppSettings(), 8.0, 5).current) == expected).all()


def test_the_frames_of_an_animation_are_composited_on_white():
    frames = [CLEAR, Image.new("RGBA", (8, 8), (0, 0, 0, 255))]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=500, lossless=True)

    clip = read_files([stream.getvalue()], AppSettings(), 2.0, 1)
    assert np.asarray(clip.current).max() == 0
    stream = io.BytesIO()
    frames[1].save(stream, "WEBP", save_all=True, append_images=frames[:1], duration=500, lossless=True)
    assert np.asarray(read_files([stream.getvalue()], AppSettings(), 2.0, 1).current).min() == 255


def test_a_large_picture_is_refused_also_with_damaged_metadata():
    with pytest.raises(RequestError, match="8 x 8 px: expected at most 63 pixels; send it smaller") as caught:
        decode_picture(damaged(), 63)
    assert caught.value.code == "image_too_large"
