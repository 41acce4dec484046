"""Evaluation on the tiny stack: in batches, with a prefill per picture, and with items loaded ahead.

`python -m benchmarks.evaluation` prints the figures of loading ahead alone.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.figures import Figure, paired_ratio
from benchmarks.video_decoding import write_clip
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import Sample, Samples, Turn
from theworld.datasets.wrappers import TheWorldDataset
from theworld.evaluation import collection
from theworld.evaluation.generation import Answerer
from theworld.evaluation.predictions import RunIdentity
from theworld.modeling import TheWorld

ITEMS, BATCH = 48, 24
QUESTIONS = 6
"""Questions about each picture: benchmarks have 4 to 9."""
AHEAD_ITEMS, AHEAD_BATCH = 24, 4
LARGE_PX = (2400, 1800)
WAIT_S = 0.03
"""Seconds until a file of a network has come."""


class Alone(Answerer):
    """Prefills the pictures of every row."""

    def _sharing(self, samples: Sequence[Sample]) -> Any:
        return None


def figures() -> Iterator[Figure]:
    """Compare batches with single answers, shared with repeated prefills, and loading ahead with loading in turn."""
    model = TheWorld.from_pretrained("tiny", world_grid=4).eval()
    dataset = ForesightDataset("validation", ITEMS, tasks=("drop",))
    samples = [dataset[index] for index in range(ITEMS)]
    answerer = Answerer(model, max_new_tokens=8)

    def in_batches() -> None:
        for start in range(0, ITEMS, BATCH):
            answerer(samples[start : start + BATCH])

    def one_by_one() -> None:
        for sample in samples:
            answerer([sample])

    ratio = paired_ratio(one_by_one, in_batches, num_pairs=5)
    yield Figure("batched_over_one_by_one_evaluation", ratio, 3.0, at_least=True)
    several = [asked_again(samples[index // QUESTIONS], index) for index in range(BATCH)]
    for score_choices, goal in ((False, 1.5), (True, 2.0)):
        shared, alone = (kind(model, max_new_tokens=8, score_choices=score_choices) for kind in (Answerer, Alone))
        ratio = paired_ratio(lambda: alone(several), lambda: shared(several), num_pairs=5)  # noqa: B023
        name = "choices" if score_choices else "replies"
        yield Figure(f"shared_over_repeated_pictures_{name}", ratio, goal, at_least=True)
    yield from ahead_figures(model)


def ahead_figures(model: TheWorld) -> Iterator[Figure]:
    """Compare the seconds, by the clock, of the loop of `theworld evaluate` with and without its loading thread.

    Decoding can run beside the model on a second core only. A wait, as for files of a network, needs none.
    """
    cores = len(os.sched_getaffinity(0))
    numbers = count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, samples, goal in (
            ("videos", videos(folder), 0.95),
            ("large_pictures", large_pictures(folder), 0.95),
            ("waits", Waiting(), 1.3),
        ):

            def collected(samples: Samples = samples) -> None:
                path = folder / f"{next(numbers)}.jsonl"
                identity = RunIdentity(settings_hash=path.stem, checkpoint="tiny")
                answerer = Answerer(model, max_new_tokens=8)
                collection.collect(answerer, samples, path, identity, title=path.stem, batch_size=AHEAD_BATCH)

            def in_turn(collected: Any = collected) -> None:
                with patch.object(collection, "ahead", iter):
                    collected()

            ratio = paired_ratio(in_turn, collected, num_pairs=7, clock=time.perf_counter)
            unit = f"ratio on {cores} core{'s' if cores > 1 else ''}"
            yield Figure(f"in_turn_over_ahead_{kind}", ratio, goal, at_least=True, unit=unit)


def asked_again(sample: Sample, number: int) -> Sample:
    """Return another question about the picture of a sample."""
    text = f"Question {number}: {sample.prompt[-1].text}"
    return replace(sample, id=f"{sample.id}/{number}", turns=(Turn("user", text), *sample.turns[1:]))


def videos(folder: Path) -> Samples:
    """Return questions about short videos of 854 x 480, of which each is decoded when it is opened."""
    paths = [folder / f"{number}.mp4" for number in range(4)]
    for seed, path in enumerate(paths):
        write_clip(path, seed, num_frames=60)
    return _asked("video", paths)


def large_pictures(folder: Path) -> Samples:
    """Return questions about JPEG files of a camera's size."""
    paths = [folder / f"{number}.jpg" for number in range(4)]
    for seed, path in enumerate(paths):
        noise = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8)
        Image.fromarray(noise).resize(LARGE_PX, Image.Resampling.BICUBIC).save(path, quality=90)
    return _asked("image", paths)


def _asked(key: str, paths: Sequence[Path]) -> Samples:
    return TheWorldDataset(
        [
            {key: str(paths[number % len(paths)]), "text": f"Question {number}: where does it go?", "label": "left"}
            for number in range(AHEAD_ITEMS)
        ]
    )


class Waiting:
    """Scenes that come after a wait, which takes no processor time."""

    def __init__(self) -> None:
        dataset = ForesightDataset("validation", AHEAD_ITEMS, tasks=("drop",))
        self._samples = [dataset[index] for index in range(AHEAD_ITEMS)]

    def __len__(self) -> int:
        return AHEAD_ITEMS

    def __getitem__(self, index: int) -> Sample:
        """Return a sample after the wait."""
        time.sleep(WAIT_S)
        return self._samples[index]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for figure in ahead_figures(TheWorld.from_pretrained("tiny", world_grid=4).eval()):
        print(figure.line(), flush=True)
