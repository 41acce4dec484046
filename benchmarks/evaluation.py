"""Evaluation on the tiny stack: in batches over one item at a time, and with a prefill per picture over one per row."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.figures import Figure, paired_ratio
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import Sample, Turn
from theworld.evaluation.generation import Answerer
from theworld.modeling import TheWorld

ITEMS, BATCH = 48, 24
QUESTIONS = 6
"""Questions about each picture: benchmarks have 4 to 9."""


class Alone(Answerer):
    """Prefills the pictures of every row."""

    def _sharing(self, samples: Sequence[Sample]) -> Any:
        return None


def figures() -> Iterator[Figure]:
    """Compare the speed of a batch of answers with the same answers one by one."""
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


def asked_again(sample: Sample, number: int) -> Sample:
    """Return another question about the picture of a sample."""
    text = f"Question {number}: {sample.prompt[-1].text}"
    return replace(sample, id=f"{sample.id}/{number}", turns=(Turn("user", text), *sample.turns[1:]))
