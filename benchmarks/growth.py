"""Memory that training and answering hold more after 200 times than before them, on the tiny stack."""

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
    """Scenes of Foresight, with questions of several lengths."""
    dataset = ForesightDataset("train", number, tasks=("drop",))
    return [dataset[index] for index in range(number)]


class Watch(TrainerCallback):
    """Notes what is held after the steps that warm up, and at the end."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in (WARM_UP, WARM_UP + COUNTED):
            gc.collect()
            self.held.append(rss())


def training() -> int:
    """Bytes more after COUNTED steps of the whole loop; the world model runs in each of them."""
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
    """Bytes more after COUNTED answers, each with the world, each to a picture and a question of its own."""
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
    """Bytes more after COUNTED calls than after WARM_UP ones before them."""
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
    """Each in a process of its own, MB."""
    for name in MEASURES:
        grown = in_a_process("growth", name)["bytes"] / 1e6
        yield Figure(f"memory_growth_of_{COUNTED}_times_{name}", grown, 10, unit="MB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"bytes": MEASURES[sys.argv[1]]()}))
