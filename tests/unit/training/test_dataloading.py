"""A record that gives no sample is left out of its batch, listed once, and many of them stop the run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from theworld.config import TrainingConfig, WorldSettings
from theworld.datasets.errors import LeftOut, RecordError
from theworld.datasets.images import ImageError
from theworld.datasets.sample import Sample, question
from theworld.modeling.processor import TheWorldProcessor
from theworld.training import bad_records, dataloading
from theworld.training.bad_records import BadRecords, read_bad_records
from theworld.training.dataloading import FeedBatch, MapFeed
from theworld.training.feature_cache import fill_store
from theworld.training.metrics import read_metrics
from theworld.training.run import train
from theworld.world.cached import open_stored
from theworld.world.factory import open_tap

MakeConfig = Callable[..., TrainingConfig]


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


class WithBad:
    """Samples of noise; the records of some indices are bad, each in its way."""

    def __init__(self, size: int, bad: dict[int, Exception | str | None]) -> None:
        self.size = size
        self.bad = bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        fault = self.bad.get(index, "good")
        if isinstance(fault, Exception):
            raise fault
        image = picture(index) if fault == "good" else fault
        return question(str(index), [image] if image is not None else [], "Which?", "red" if image is not None else "")


def ids(batch: FeedBatch) -> list[str]:
    return [sample.id for sample in batch.samples]


def test_a_bad_record_makes_its_batch_smaller_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    Image.fromarray(picture(0)).save(broken)
    broken.write_bytes(broken.read_bytes()[:300])
    samples = WithBad(
        8,
        {
            1: RecordError("wrong region", "box 3 of record 1 is empty"),
            2: str(tmp_path / "none.jpg"),
            3: str(broken),
            5: None,
            6: ImageError("looked at by its reader"),
        },
    )

    batch = MapFeed(samples).__getitems__([0, 1, 2, 3, 5, 6, 7])

    assert ids(batch) == ["0", "7"]
    assert [(one.record, one.cause) for one in batch.left_out] == [
        (1, "wrong region"),
        (2, "missing picture"),
        (3, "unreadable picture"),
        (5, "empty answer"),
        (6, "unreadable picture"),
    ]
    assert batch.left_out[0].message == "box 3 of record 1 is empty"
    assert "none.jpg" in batch.left_out[1].message


def test_a_batch_that_would_be_empty_takes_the_next_record_that_is_good() -> None:
    bad = {index: RecordError("malformed", f"record {index}") for index in (0, 1, 6, 7)}

    batch = MapFeed(WithBad(8, bad)).__getitems__([6, 7])

    assert ids(batch) == ["2"]
    assert [one.record for one in batch.left_out] == [6, 7, 0, 1]


def test_a_batch_stays_empty_where_no_record_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {index: RecordError("malformed", f"record {index}") for index in range(8)}
    feed = MapFeed(WithBad(8, bad))

    assert len(feed.__getitems__([3]).left_out) == 8
    monkeypatch.setattr(dataloading, "MAX_TRIED", 5)
    assert feed.__getitems__([3]) == FeedBatch([], [LeftOut(i, "malformed", f"record {i}") for i in (3, 4, 5, 6, 7)])


def test_another_fault_of_a_reader_is_not_taken_for_a_bad_record() -> None:
    with pytest.raises(ValueError, match="no column image"):
        MapFeed(WithBad(2, {0: ValueError("no column image")})).__getitems__([0, 1])


def test_pictures_of_a_batch_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(picture(0)).save(path)
    frames = np.stack([picture(index) for index in range(5)])
    sample = question("0", [path], "Which?", "red", clips=([path.read_bytes()],), future=(frames,))

    (decoded,) = MapFeed([sample]).__getitems__([0]).samples

    assert isinstance(decoded.images[0], Image.Image)
    assert isinstance(decoded.clips[0][0], Image.Image)
    assert decoded.future[0] is frames
    np.testing.assert_array_equal(np.asarray(decoded.images[0]), picture(0))


def bad(*records: int, cause: Any = "malformed") -> list[LeftOut]:
    return [LeftOut(record, cause, f"record {record}") for record in records]


def test_each_bad_record_is_listed_once_and_counted_whenever_it_comes_by(tmp_path: Path) -> None:
    books = BadRecords(tmp_path / "bad.jsonl", 1.0)

    books.note(2, bad(2))
    books.note(1, bad(4, 2, cause="overlong"))
    books.settle()

    assert [(row["record"], row["cause"]) for row in read_bad_records(books.path)] == [
        (2, "malformed"),
        (4, "overlong"),
    ]
    assert (books.num_drawn, books.counts) == (6, {"malformed": 1, "overlong": 2})


def test_a_list_that_a_kill_cut_off_is_continued_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"record": 2, "cause": "malformed", "message": "record 2"}) + '\n{"record": 4, "cau')
    books = BadRecords(path, 1.0)

    books.note(1, bad(2, 4))
    books.settle()

    assert [row["record"] for row in read_bad_records(path)] == [2, 4]


def test_too_many_bad_records_stop_the_run_and_name_the_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_records, "MIN_RECORDS", 8)
    books = BadRecords(tmp_path / "bad.jsonl", 0.25)
    books.note(2, bad(2))
    books.note(1, bad(4, 5, 6))
    books.settle()  # 4 of 7, too few to judge

    books.note(1, bad(8, cause="missing picture"))
    with pytest.raises(ValueError, match=r"55\.6% of 9 records gave no sample, more than max_bad_share=0\.25") as told:
        books.settle()

    assert "4 malformed, 1 missing picture; such as: record 8" in str(told.value)
    assert len(read_bad_records(books.path)) == 5


def test_as_many_as_are_allowed_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_records, "MIN_RECORDS", 4)
    books = BadRecords(tmp_path / "bad.jsonl", 0.25)

    books.note(3, bad(3))
    books.settle()


def test_a_batch_without_a_sample_stops_the_run(tmp_path: Path) -> None:
    books = BadRecords(tmp_path / "bad.jsonl", 1.0)

    with pytest.raises(ValueError, match="none of 2 records in a row gave a sample: 2 missing picture"):
        books.note(0, bad(0, 1, cause="missing picture"))

    assert len(read_bad_records(books.path)) == 2


def test_every_process_judges_by_the_records_of_all_and_the_main_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Any] = []
    for rank in (1, 0):  # what the other noted is known to the one that comes last
        process = SimpleNamespace(num_processes=2, is_main_process=rank == 0)
        monkeypatch.setattr(bad_records, "PartialState", lambda process=process: process)
        monkeypatch.setattr(bad_records, "gather_object", lambda mine: noted.append(mine[0]) or list(noted))
        books = BadRecords(tmp_path / "bad.jsonl", 1.0)
        books.note(2, bad(10 + rank))
        books.settle()
        assert books.path.exists() == (rank == 0)

    assert (books.num_drawn, books.counts) == (6, {"malformed": 2})
    assert [row["record"] for row in read_bad_records(books.path)] == [11, 10]


BAD = {3: RecordError("malformed", "record 3"), 5: "/none.jpg"}


@pytest.fixture
def of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs train on twelve records, two of them bad."""
    monkeypatch.setattr(dataloading, "open_training", lambda *args: WithBad(12, BAD))


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


@pytest.mark.usefixtures("of_noise")
def test_a_run_leaves_bad_records_out_and_continues_bit_for_bit(make_config: MakeConfig) -> None:
    config = make_config("unbroken", max_bad_share=1.0)  # 4 steps of 4: over the end of an epoch of 12
    train(config)
    broken = make_config("broken", max_bad_share=0.5, resume=True, num_workers=2)
    shutil.copytree(config.output_dir, broken.output_dir)
    shutil.rmtree(broken.output_dir / "checkpoint-4")

    train(broken)

    for run in (config.output_dir, broken.output_dir):
        assert {(row["record"], row["cause"]) for row in read_bad_records(run / "bad_records.jsonl")} == {
            (3, "malformed"),
            (5, "missing picture"),
        }
        assert len(read_bad_records(run / "bad_records.jsonl")) == 2
    counts, expected = (
        {name: value for name, value in read_metrics(run / "metrics.jsonl")[-1].items() if name.startswith("left_out/")}
        for run in (broken.output_dir, config.output_dir)
    )
    assert counts == expected
    assert sum(counts.values()) >= 2
    assert losses(broken.output_dir) == losses(config.output_dir)


@pytest.mark.usefixtures("of_noise")
def test_smaller_batches_weigh_every_answer_alike(make_config: MakeConfig) -> None:
    whole = make_config("whole", batch_size=12, num_steps=2, max_bad_share=1.0)
    parts = make_config("parts", batch_size=3, gradient_accumulation_steps=4, num_steps=2, max_bad_share=1.0)

    train(whole)
    train(parts)

    torch.testing.assert_close(losses(parts.output_dir), losses(whole.output_dir), rtol=1e-5, atol=1e-5)


def test_a_store_is_filled_from_the_good_records(tmp_path: Path) -> None:
    stored = open_stored(open_tap(WorldSettings(cosmos_model_name="tiny", image_size_px=64)), tmp_path)

    fill_store(stored, TheWorldProcessor.from_pretrained("tiny"), WithBad(12, BAD))

    assert stored.computed == 10
