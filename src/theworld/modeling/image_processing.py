"""A fast path for Gemma's image processor: equal pixels, written once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional
from transformers import Gemma3ImageProcessor
from transformers.image_utils import SizeDict

_KNOWN_OPTIONS = {
    "return_tensors",
    "do_convert_rgb",
    "do_pan_and_scan",
    "pan_and_scan_min_crop_size",
    "pan_and_scan_max_num_crops",
    "pan_and_scan_min_ratio_to_activate",
}
"""Options that Gemma3Processor passes with every call; any other comes from the user."""


def is_plain(image_processor: Any, pictures: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Return True if `plain_pixels` gives the result of the image processor.

    It does for RGB pictures that are resized as a whole to one size, rescaled and normalised, as one torch tensor on
    the CPU.

    Args:
        image_processor: Gemma 3's, or another.
        pictures: of a call.
        options: of that call, besides the image processor's own settings.
    """
    processor = image_processor
    return (
        type(processor) is Gemma3ImageProcessor
        and all((processor.do_resize, processor.do_rescale, processor.do_normalize))
        and dict(processor.size or {}).keys() == {"height", "width"}
        and getattr(processor, "device", None) is None
        and not options.get("do_pan_and_scan", processor.do_pan_and_scan)
        and options.get("return_tensors") == "pt"
        and options.keys() <= _KNOWN_OPTIONS
        and len(pictures) > 0
        and all(map(_is_opaque, pictures))
    )


def _is_opaque(picture: Any) -> bool:
    """Return True for RGB without a transparent colour, which transformers would turn white."""
    return isinstance(picture, Image.Image) and picture.mode == "RGB" and picture.info.get("transparency") is None


def plain_pixels(image_processor: Gemma3ImageProcessor, pictures: Sequence[Image.Image]) -> Float[Tensor, "N 3 H W"]:
    """Resize, rescale and normalise pictures, bit for bit as the image processor does.

    The image processor writes each picture as floats into new memory, and copies all of them into the batch. At 896 px
    most of the time is the allocation of that memory. Here each picture is written into its place in the batch.

    Args:
        image_processor: with settings for which `is_plain` is true.
        pictures: RGB, of any sizes.
    """
    size = dict(image_processor.size)
    levels_per_unit = 1.0 / image_processor.rescale_factor  # pixels stay in levels 0..255
    mean, std = (
        (torch.tensor(values) * levels_per_unit).view(-1, 1, 1)
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    # NumPy requests huge pages, torch does not; they save half of the time of a batch.
    batch = torch.from_numpy(np.empty((len(pictures), 3, size["height"], size["width"]), np.float32))
    for row, picture in zip(batch, pictures, strict=True):
        levels = functional.pil_to_tensor(picture)  # a view: in memory (H, W, 3), which is resized without reordering
        row.copy_(image_processor.resize(levels, SizeDict(**size), image_processor.resample)).sub_(mean).div_(std)
    return batch
