"""A run on a stream goes on where it was: with the batches and losses of an unbroken run, and no record read anew."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fixtures_shards import record, write_shards, write_tar
from theworld.config import DataSettings, TrainingConfig
from theworld.config.data import MixturePart
from theworld.datasets import DataCompDataset
from theworld.datasets.errors import LeftOut, RecordError
from theworld.datasets.sample import Sample
from theworld.training.bad_records import read_bad_records
from theworld.training.dataloading import StreamFeed
from theworld.training.metrics import read_metrics
from theworld.training.run import train
from theworld.training.trainer import TheWorldTrainer

MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four shards of five records, of which one has no text and one is damaged."""
    folder = tmp_path / "datacomp"
    write_shards(folder, 4, 5)
    parts = {f"{number:09d}": record(number) for number in range(5, 10)}
    parts["000000007"] |= {"txt": b""}
    parts["000000008"] |= {"jpg": parts["000000008"]["jpg"][:200]}
    write_tar(folder / "shards" / "00000001.tar", parts)
    return folder


@pytest.fixture
def on_stream(make_config: MakeConfig, source: Path) -> MakeConfig:
    def make(name: str, **changes: Any) -> TrainingConfig:
        fields: dict[str, Any] = {
            "data": DataSettings(dataset="datacomp", source=str(source)),
            "num_steps": 5,
            "save_steps": 3,
            "max_bad_share": 1.0,
        }
        return make_config(name, **{**fields, **changes})

    return make


class KilledError(Exception):
    """Ends a run amid a step."""


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[str]]:
    """Notes the samples of every forward pass, and ends a run at one of them."""
    step = TheWorldTrainer.training_step

    def watching(last: int | None) -> list[str]:
        seen: list[str] = []
        passes: list[None] = []

        def noted(self: TheWorldTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            passes.append(None)
            if len(passes) == last:
                raise KilledError
            seen.extend(self._sample_ids[0])
            return step(self, model, inputs, *rest)

        monkeypatch.setattr(TheWorldTrainer, "training_step", noted)
        return seen

    return watching


@pytest.mark.parametrize(("num_workers", "accumulation"), [(0, 2), (2, 1)])
def test_a_run_stopped_amid_an_epoch_continues_bit_for_bit(
    num_workers: int, accumulation: int, on_stream: MakeConfig, watch: Callable[[int | None], list[str]]
) -> None:
    batch_size = 4 // accumulation  # 20 samples in all, of 18 records: from one epoch into the next
    common = {"num_workers": num_workers, "gradient_accumulation_steps": accumulation, "batch_size": batch_size}
    unbroken, broken = on_stream("unbroken", **common), on_stream("broken", **common)
    expected = watch(None)
    train(unbroken)
    watch(5 * accumulation)  # in the second step after the checkpoint; of two workers, not the first has its turn
    with pytest.raises(KilledError):
        train(broken)

    rest = watch(None)
    train(on_stream("broken", resume=True, **common))

    assert rest == expected[-len(rest) :]
    assert len(rest) == 2 * 4
    assert losses(broken.output_dir) == losses(unbroken.output_dir)
    assert read_bad_records(broken.output_dir / "bad_records.jsonl") == read_bad_records(
        unbroken.output_dir / "bad_records.jsonl"
    )
    counts, wanted = (
        {name: value for name, value in read_metrics(run.output_dir / "metrics.jsonl")[-1].items() if "/" in name}
        for run in (broken, unbroken)
    )
    assert counts == wanted


def test_a_run_on_a_stream_is_continued_with_as_many_workers_alone(on_stream: MakeConfig) -> None:
    config = on_stream("run", num_steps=1, save_steps=1)
    train(config)

    with pytest.raises(ValueError, match="num_workers=1, but the checkpoint's stream was read with 0"):
        train(on_stream("run", num_steps=1, save_steps=1, resume=True, num_workers=1))


def test_a_checkpoint_without_the_places_of_its_stream_is_refused(on_stream: MakeConfig) -> None:
    config = on_stream("run", num_steps=1, save_steps=1)
    train(config)
    (config.output_dir / "checkpoint-1" / "stream_0.json").unlink()

    with pytest.raises(ValueError, match=r"stream_0\.json is missing"):
        train(on_stream("run", num_steps=1, save_steps=1, resume=True))


def test_a_batch_of_a_stream_is_full_whatever_was_left_out(source: Path) -> None:
    batches = list(islice(StreamFeed(DataCompDataset(source), batch_size=9, seed=0), 2))  # an epoch: 18 good records

    assert [len(batch.samples) for batch in batches] == [9, 9]
    assert sorted(int(sample.id, 16) for batch in batches for sample in batch.samples) == [
        number for number in range(20) if number not in (7, 8)
    ]
    assert sorted((one.record, one.cause) for batch in batches for one in batch.left_out) == [
        ("00000001.tar/000000007", "empty answer"),
        ("00000001.tar/000000008", "unreadable picture"),
    ]


def test_what_is_refused_is_left_out_of_a_stream_too(source: Path) -> None:
    def refuse(sample: Sample) -> Sample:
        if sample.id == f"{3:032x}":
            raise RecordError("overlong", "sample 3 is too long")
        return sample

    (batch,) = islice(StreamFeed(DataCompDataset(source), 17, seed=0, refuse=refuse), 1)

    assert len(batch.samples) == 17
    assert LeftOut("00000000.tar/000000003", "overlong", "sample 3 is too long") in batch.left_out


def test_processes_and_workers_read_parts_of_their_own(source: Path) -> None:
    feeds = [
        StreamFeed(DataCompDataset(source), 1, seed=0, num_workers=2, rank=rank, num_processes=2) for rank in (0, 1)
    ]

    ids = [
        batch["sample_ids"][0]
        for feed in feeds
        for batch in islice(feed.loader(lambda one: {"sample_ids": [sample.id for sample in one.samples]}), 6)
    ]

    assert len(ids) == len(set(ids)) == 12


def test_more_workers_than_shards_are_refused_before_anything_is_read(source: Path) -> None:
    with pytest.raises(ValueError, match="num_workers=3 in 2 processes need 6 shards, one each; there are 4"):
        StreamFeed(DataCompDataset(source), 1, seed=0, num_workers=3, num_processes=2)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"store_dir": Path("store")}, "is a stream without an end: leave store_dir out"),
        ({"group_by_length": True}, "needs lengths beforehand"),
        ({"data": {"num_train": 5}}, "num_train: given .*; should be None"),
        ({"data": {"source": None}}, "source: given .*; should be a valid string"),
        ({"data": {"image_size_px": 64}}, "image_size_px is for dataset 'foresight', not 'datacomp'"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(fields: dict[str, Any], said: str, on_stream: MakeConfig) -> None:
    rest = dict(fields)
    of_data = {"dataset": "datacomp", "source": "shards", **rest.pop("data", {})}

    with pytest.raises(ValueError, match=said):
        on_stream("run", data=DataSettings(**of_data), **rest)


def test_a_stream_is_not_mixed(make_config: MakeConfig, source: Path) -> None:
    part = MixturePart(data=DataSettings(dataset="datacomp", source=str(source)), weight=1.0)

    with pytest.raises(ValueError, match="a stream without indices, which cannot be mixed"):
        make_config(mixture=(part,))


def test_places_go_through_a_checkpoint_as_json(source: Path, tmp_path: Path) -> None:
    feed = StreamFeed(DataCompDataset(source), 2, seed=0)
    for batch in islice(feed, 3):
        feed.advance(batch.place)
    (tmp_path / feed.state_name).write_text(json.dumps(feed.state()))
    other = StreamFeed(DataCompDataset(source), 2, seed=0)

    other.load_state(tmp_path)

    assert other.state() == feed.state()
