"""Memory growth of training and answering over 200 repetitions, on the tiny stack."""

import contextlib
import gc
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from benchmarks.figures import Figure
from benchmarks.memory import in_a_process, rss
from theworld.datasets.collator import Collator
from theworld.datasets.foresight import ForesightDataset
from theworld.modeling import TheWorld
from theworld.training.bad_records import BadRecords
from theworld.training.dataloading import MapFeed
from theworld.training.metrics import Metrics
from theworld.training.trainer import TheWorldTrainer

WARM_UP, COUNTED = 50, 200
QUESTIONS = ("In which bin does the ball come to rest? Answer with one word.", "Which bin?", "Is it red, and why?")


def samples(number: int) -> list[Any]:
    """Return scenes of Foresight, with questions of several lengths."""
    dataset = ForesightDataset("train", number, tasks=("drop",))
    return [dataset[index] for index in range(number)]


class Watch(TrainerCallback):
    """Notes the memory after the warm-up steps and at the end."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in (WARM_UP, WARM_UP + COUNTED):
            gc.collect()
            self.held.append(rss())


def training() -> int:
    """Return the growth in bytes over COUNTED steps of the whole loop, with the world model in each step."""
    model = TheWorld.from_pretrained("tiny", world_grid=4)
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=WARM_UP + COUNTED,
            per_device_train_batch_size=8,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=1,
        )
        trainer = TheWorldTrainer(
            model=model,
            args=arguments,
            train_dataset=MapFeed(samples(64)),
            collator=Collator(model.processor, supervise=True),
            metrics=Metrics(Path(folder, "m.jsonl")),
            bad_records=BadRecords(Path(folder, "bad.jsonl"), 1.0),
        )
        trainer.add_callback(watch)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.train()
    before, after = watch.held
    return after - before


def answering() -> int:
    """Return the growth in bytes over COUNTED answers with the world, to changing pictures and questions."""
    model = TheWorld.from_pretrained("tiny-foresight", num_world_steps=1).eval()
    pictures = [sample.images[-1] for sample in samples(16)]

    def answer(number: int) -> None:
        picture, question = pictures[number % 16], QUESTIONS[number % 3]
        if number % 2:
            model.generate(picture, question, max_new_tokens=1 + number % 8)
        else:
            model.look(picture).ask(question, max_new_tokens=1 + number % 8)

    return growth(answer)


def growth(work: Callable[[int], None]) -> int:
    """Return the growth in bytes over COUNTED calls, after WARM_UP calls."""
    held = []
    for number in range(WARM_UP + COUNTED):
        if number == WARM_UP:
            gc.collect()
            held.append(rss())
        work(number)
    gc.collect()
    return rss() - held[0]


MEASURES = {"training": training, "answering": answering}


def figures() -> Iterator[Figure]:
    """Measure each in its own process, MB."""
    for name in MEASURES:
        grown = in_a_process("growth", name)["bytes"] / 1e6
        yield Figure(f"memory_growth_of_{COUNTED}_times_{name}", grown, 10, unit="MB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"bytes": MEASURES[sys.argv[1]]()}))
