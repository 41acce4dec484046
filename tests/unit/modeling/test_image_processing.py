"""Pixels written into their batch are the image processor's own, and what is unusual is left to it."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Gemma3ImageProcessor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from fixtures_model import picture
from theworld.modeling.image_processing import is_plain, plain_pixels

PROMPT = "<start_of_image> What is it?"
SHAPES = ((640, 480), (480, 640), (64, 64), (3, 211), (301, 7), (2, 2), (1, 1), (97, 80))


def noise(*shapes):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in shapes]


def made(height=64, width=64, **settings):
    return Gemma3ImageProcessor(size={"height": height, "width": width}, **settings)


@pytest.mark.parametrize(
    "image_processor",
    [
        made(896, 896, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]),  # of the real models
        made(),
        made(80, 97),
        made(image_mean=[0.1, 0.2, 0.3], image_std=[0.7, 0.9, 1.1], rescale_factor=0.01),
        made(resample=Image.Resampling.BICUBIC),
        made(resample=Image.Resampling.LANCZOS),
        made(resample=Image.Resampling.NEAREST),
    ],
    ids=["gemma", "default", "oblong", "statistics", "bicubic", "lanczos", "nearest"],
)
def test_pixels_equal_the_image_processors_bit_for_bit(image_processor):
    pictures = noise(*SHAPES)
    expected = image_processor(pictures, return_tensors="pt")["pixel_values"]
    pixels = plain_pixels(image_processor, pictures)
    assert torch.equal(pixels, expected)
    assert (pixels.dtype, pixels.stride()) == (expected.dtype, expected.stride())


def test_a_size_that_is_set_afterwards_counts():
    image_processor = made()
    image_processor.size = {"height": 32, "width": 48}
    assert is_plain(image_processor, noise((20, 30)), {"return_tensors": "pt"})
    assert plain_pixels(image_processor, noise((20, 30))).shape == (1, 3, 32, 48)


def keyed():
    """RGB, with black as the colour that stands for nothing."""
    image = Image.new("RGB", (8, 8))
    image.info["transparency"] = (0, 0, 0)
    return image


@pytest.mark.parametrize(
    ("image_processor", "pictures", "options"),
    [
        (made(), noise((8, 8)), {"do_pan_and_scan": True}),
        (made(do_pan_and_scan=True), noise((8, 8)), {}),
        (made(), noise((8, 8)), {"size": {"height": 32, "width": 32}}),
        (made(), noise((8, 8)), {"do_normalize": False}),
        (made(), noise((8, 8)), {"return_tensors": "np"}),
        (made(), noise((8, 8)), {"return_tensors": None}),
        (made(do_resize=False), noise((8, 8)), {}),
        (made(do_rescale=False), noise((8, 8)), {}),
        (made(do_normalize=False), noise((8, 8)), {}),
        (made(device="cpu"), noise((8, 8)), {}),
        (Gemma3ImageProcessor(size={"shortest_edge": 64}), noise((8, 8)), {}),
        (Gemma3ImageProcessorPil(size={"height": 64, "width": 64}), noise((8, 8)), {}),
        (made(), [], {}),
        (made(), [keyed()], {}),
        (made(), [Image.new("L", (8, 8))], {}),
        (made(), [np.zeros((8, 8, 3), np.uint8)], {}),
    ],
)
def test_what_is_unusual_is_left_to_the_image_processor(image_processor, pictures, options):
    assert is_plain(made(), noise((8, 8)), {"return_tensors": "pt", "do_pan_and_scan": False})
    assert not is_plain(image_processor, pictures, {"return_tensors": "pt", **options})


@pytest.mark.parametrize("options", [{}, {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 8}])
@pytest.mark.parametrize("pictures", [noise((40, 20)), [keyed()]], ids=["plain", "keyed"])
def test_a_call_gives_what_gemmas_processor_gives(processor, gemma_processor, pictures, options):
    calls = {"text": [PROMPT], "images": [pictures], "return_tensors": "pt", **options}
    batch, expected = processor(**calls), gemma_processor(**calls)
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    is_image = expected["token_type_ids"].sum()
    assert batch["token_type_ids"].sum() == is_image > 0


def test_plain_pictures_do_not_pass_through_the_image_processor(processor, monkeypatch):
    monkeypatch.setattr(Gemma3ImageProcessor, "preprocess", None)
    batch = processor(text=[PROMPT], images=[[picture(0)]], return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 3, 64, 64)
