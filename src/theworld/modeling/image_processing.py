"""Pixels: pictures as Gemma's vision tower takes them, the numbers of transformers' image processor written once."""

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
"""What Gemma3Processor hands on with every call; whatever else there is, a user asked for."""


def is_plain(image_processor: Any, pictures: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether `plain_pixels` gives what the image processor would; else the image processor must be asked.

    Plain are RGB pictures, each whole and to one size, rescaled and normalised, as one torch tensor on the CPU.

    Args:
        image_processor: Gemma 3's, or another.
        pictures: as a call gives them.
        options: of that call, beside the image processor's own settings.
    """
    own = image_processor
    return (
        type(own) is Gemma3ImageProcessor
        and all((own.do_resize, own.do_rescale, own.do_normalize))
        and dict(own.size or {}).keys() == {"height", "width"}
        and getattr(own, "device", None) is None
        and not options.get("do_pan_and_scan", own.do_pan_and_scan)
        and options.get("return_tensors") == "pt"
        and options.keys() <= _KNOWN_OPTIONS
        and len(pictures) > 0
        and all(map(_is_opaque, pictures))
    )


def _is_opaque(picture: Any) -> bool:
    """RGB, and no colour of it stands for transparency, which the library would turn white."""
    return isinstance(picture, Image.Image) and picture.mode == "RGB" and picture.info.get("transparency") is None


def plain_pixels(image_processor: Gemma3ImageProcessor, pictures: Sequence[Image.Image]) -> Float[Tensor, "N 3 H W"]:
    """Pictures resized, rescaled and normalised, bit for bit as the image processor does it.

    That one writes each picture as floats into memory of its own, and all of them once more into the batch. At 896 px
    most of the time goes into being given that memory. Here each picture is written into its place in the batch.

    Args:
        image_processor: its settings are those for which `is_plain` holds.
        pictures: RGB, of any sizes.
    """
    size = dict(image_processor.size)
    mean, std = (
        (torch.tensor(values) * (1.0 / image_processor.rescale_factor)).view(-1, 1, 1)  # of levels, not of [0, 1]
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    # NumPy's memory comes in huge pages where the system has them, torch's does not: half of the time of a batch.
    batch = torch.from_numpy(np.empty((len(pictures), 3, size["height"], size["width"]), np.float32))
    for row, picture in zip(batch, pictures, strict=True):
        levels = functional.pil_to_tensor(picture)  # a view: in memory (H, W, 3), which is resized without reordering
        row.copy_(image_processor.resize(levels, SizeDict(**size), image_processor.resample)).sub_(mean).div_(std)
    return batch
