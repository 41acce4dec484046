"""Loading of training data over bare decoding and resizing of the same pictures, on one core."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, paired_ratio
from theworld import TheWorldProcessor
from theworld.datasets.collator import Collator
from theworld.datasets.sample import question
from theworld.training.dataloading import MapFeed

NUM_SAMPLES, BATCH = 32, 8
WIDTH_PX, HEIGHT_PX = 640, 480
GEMMA_PX, WORLD_PX = 896, 224  # sizes of the real models


def photographs(folder: Path) -> list[Path]:
    """Write JPEG files of COCO's size that are smooth with some noise, like photographs."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(NUM_SAMPLES):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths


def figures() -> Iterator[Figure]:
    """Compare loading with the minimum of work in Pillow, in processor time.

    Both sides read and decode the same files, convert to RGB, and resize to Gemma's side by a bilinear and to the
    world's by a bicubic filter, both with antialiasing. The bare side ends there, with 8 bits a colour. Loading also
    normalises Gemma's pixels to floats, writes and tokenises the conversations, labels the answers and stacks the
    batch. It resizes Gemma's pictures with torchvision, like transformers, which is faster than Pillow.
    """
    processor = TheWorldProcessor.from_pretrained("tiny", world_image_size=WORLD_PX)
    processor.image_processor.size = {"height": GEMMA_PX, "width": GEMMA_PX}
    collator = Collator(processor, supervise=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder))
        turns = "What is to be seen here, and what will happen next? " * 4, "A ball falls to the left of the box. " * 8
        feed = MapFeed([question(path.stem, [path], *turns) for path in paths])

        def loaded() -> None:
            for start in range(0, NUM_SAMPLES, BATCH):
                collator(feed.__getitems__(range(start, start + BATCH)).samples)

        def bare() -> None:
            for path in paths:
                with Image.open(path) as file:
                    picture = file.convert("RGB")
                np.asarray(picture.resize((GEMMA_PX, GEMMA_PX), Image.Resampling.BILINEAR))
                np.asarray(picture.resize((WORLD_PX, WORLD_PX), Image.Resampling.BICUBIC))

        ratio = paired_ratio(bare, loaded, num_pairs=7)
        yield Figure("loading_over_bare_decoding", ratio, 0.8, at_least=True)
