"""Evaluation in batches over one item at a time, on the tiny stack."""

from collections.abc import Iterator

from benchmarks.figures import Figure, paired_ratio
from theworld.datasets.foresight import ForesightDataset
from theworld.evaluation.generation import Answerer
from theworld.modeling import TheWorld

ITEMS, BATCH = 48, 24


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
