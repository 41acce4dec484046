"""The trainer closes the traps of transformers' Trainer."""

from pathlib import Path

import pytest
from transformers import TrainingArguments

from theworld.datasets.collator import Collator
from theworld.datasets.sample import question
from theworld.modeling import TheWorld
from theworld.training.bad_records import BadRecords
from theworld.training.dataloading import MapFeed
from theworld.training.metrics import Metrics, read_metrics
from theworld.training.trainer import TheWorldTrainer


def trainer(tmp_path: Path, samples: list, **arguments: object) -> TheWorldTrainer:
    model = TheWorld.from_pretrained("tiny", world_grid=4)
    return TheWorldTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=2,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=1,
            **arguments,
        ),
        train_dataset=MapFeed(samples),
        collator=Collator(model.processor, supervise=True),
        metrics=Metrics(tmp_path / "metrics.jsonl"),
        bad_records=BadRecords(tmp_path / "bad_records.jsonl", 0.05),
    )


def test_label_smoothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing_factor=0\.1"):
        trainer(tmp_path, [], label_smoothing_factor=0.1)


def test_a_batch_of_text_alone_trains_and_moves_nothing(tmp_path: Path) -> None:
    text = [question(str(index), [], "What falls?", "the ball") for index in range(2)]
    one = trainer(tmp_path, text, weight_decay=0.0)
    before = {name: value.clone() for name, value in one.model.world.named_parameters()}

    one.train()

    assert all(value.equal(before[name]) for name, value in one.model.world.named_parameters())


def test_batches_are_never_sliced_by_the_loader_or_by_data_parallel(tmp_path: Path) -> None:
    one = trainer(tmp_path, [question("0", [], "What?", "that")])

    assert one.args.accelerator_config.dispatch_batches is False
    assert one.args.n_gpu <= 1


def test_rows_after_the_step_that_a_run_continues_from_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "loss": 3.0}\n{"step": 5, "loss": 2.0}\n{"step": 6, "lo')

    trainer(tmp_path, [question(str(index), [], "What?", "that") for index in range(2)]).train()

    assert [row["step"] for row in read_metrics(path)] == [0, 1]
