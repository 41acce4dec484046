"""Samples per second with packing over without, on the tiny stack, with lengths of a mixture of conversations."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, paired_ratio
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, question
from theworld.modeling import TheWorld

BATCH, NUM_BATCHES = 16, 1
# Assumptions, since we have no statistics of the lengths of LLaVA's 665,000 conversations: text tokens are log-normal
# (short visual questions, captions, long dialogues), and one sample in sixteen has no picture. The median is a quarter
# of an assumed 120 tokens, since the tiny picture and its world take 34 tokens, and Gemma's picture takes 256.
MEDIAN_TOKENS, SIGMA, TEXT_ONLY = 30.0, 0.9, 1 / 16


def conversations(number: int, seed: int) -> list[Sample]:
    """Return samples whose numbers of words follow the assumed distribution."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(number):
        words = int(np.clip(rng.lognormal(np.log(MEDIAN_TOKENS), SIGMA), 4, 500))
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pictures = [] if rng.random() < TEXT_ONLY else [Image.fromarray(pixels)]
        text = " ".join(rng.choice(["the", "red", "ball", "falls", "left"], words // 2))
        samples.append(question(str(index), pictures, text, text))
    return samples


def figures() -> Iterator[Figure]:
    """Compare steps without an optimiser: collation, forward, backward."""
    model = TheWorld.from_pretrained("tiny", world_grid=4).train()
    batches = [conversations(BATCH, seed) for seed in range(NUM_BATCHES)]
    plain, packing = (Collator(model.processor, supervise=True, packing=packing) for packing in (False, True))

    def steps(collator: Collator) -> None:
        for samples in batches:
            model(**collator(samples)).loss.backward()
            model.zero_grad()

    ratio = paired_ratio(lambda: steps(plain), lambda: steps(packing), num_pairs=5)
    yield Figure("packed_over_unpacked_samples_per_second", ratio, 1.5, at_least=True)
