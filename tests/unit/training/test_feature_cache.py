"""A feature store is filled beforehand, share by share, and the run that reads it computes nothing."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures_processes import run_ranks, start
from theworld import tiny
from theworld.config import DataSettings, ModelSettings
from theworld.config.commands import FillSettings
from theworld.config.data import MixturePart
from theworld.config.training import ValidationSettings
from theworld.config.world import WorldSettings
from theworld.training.feature_cache import fill
from theworld.world.store import FeatureStore, stored_fingerprint


@pytest.fixture
def config(tmp_path: Path) -> FillSettings:
    return FillSettings(
        output_dir=tmp_path / "run",
        store_dir=tmp_path / "features",
        model=ModelSettings(
            gemma_model_name="tiny",
            dtype="float32",
            world_grid=4,
            world=WorldSettings(cosmos_model_name="tiny", image_size_px=64),
        ),
        data=DataSettings(tasks=("drop",), questions="future", image_size_px=64, num_train=10, num_validation=3),
        fill_batch_size=4,
    )


def test_shares_add_up_to_the_whole_and_a_second_time_costs_nothing(config: FillSettings):
    shares = [fill(replace(config, num_shards=3, shard_index=index)) for index in range(3)]

    assert [one["samples"] for one in shares] == [4, 3, 3]
    assert [one["computed"] for one in shares] == [4, 3, 3]
    again = fill(config)
    assert (again["samples"], again["computed"], again["found"]) == (10, 0, 10)
    assert again["store_gb"] == pytest.approx(10 * 16 * 8 * 8 * 2 / 1e9)


def fill_in_turn(stack: Path, config: FillSettings) -> None:
    """Fill as one of several processes, and write what it counted."""
    tiny.stack = lambda: stack
    counts = fill(config)
    (config.output_dir / f"{os.environ['RANK']}.json").write_text(json.dumps(counts))


def test_processes_of_a_launcher_fill_one_share_together(config: FillSettings):
    config.output_dir.mkdir()

    assert run_ranks(2, fill_in_turn, tiny.stack(), config) == [0, 0]

    for rank in (0, 1):  # each knows the work of both, and has the whole store before it
        counts = json.loads((config.output_dir / f"{rank}.json").read_text())
        assert (counts["samples"], counts["computed"], counts["found"]) == (10, 10, 0)
        assert counts["store_gb"] == pytest.approx(10 * 16 * 8 * 8 * 2 / 1e9)
    shards = list((config.output_dir.parent / "features" / "shards").glob("*"))
    assert len({shard.stat().st_size for shard in shards}) == 1  # five features each
    assert len(shards) == 2
    again = fill(config)
    assert (again["computed"], again["found"]) == (0, 10)


def test_what_a_run_is_asked_and_every_part_of_its_mixture_are_filled(config: FillSettings):
    parts = tuple(MixturePart(weight=1.0, data=replace(config.data, num_train=number)) for number in (2, 3))
    found = fill(replace(config, mixture=parts, validation=ValidationSettings(eval_steps=10)))

    assert found["samples"] == 2 + 3 + 3
    assert found["computed"] == 3 + 3  # two of three are the same scenes


@pytest.mark.usefixtures("embedded")  # as processes have it
def test_a_share_that_is_killed_is_started_again_and_the_store_is_whole(config: FillSettings, tmp_path: Path):
    config, store = replace(config, fill_batch_size=1), tmp_path / "features"
    killed = start(fill, replace(config, data=replace(config.data, num_train=2000)))
    deadline = time.monotonic() + 120
    while len(list(store.glob("commits/*.json"))) < 5:
        assert time.monotonic() < deadline
        assert killed.is_alive()
        time.sleep(0.01)
    killed.kill()
    killed.join()

    found = fill(config)

    assert found["computed"] <= 5
    assert found["computed"] + found["found"] == 10
    report = FeatureStore(store, stored_fingerprint(store)).verify()
    report.raise_if_damaged()
    assert report.num_features >= 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store_dir": None}, "store_dir is missing"),
        ({"num_shards": 2, "shard_index": 2}, "shard_index=2 of num_shards=2: expected 0 to 1"),
        ({"model": ModelSettings(enable_world=False, freeze_gemma_language=False)}, "there are no world features"),
    ],
)
def test_a_share_that_cannot_be_done_is_refused(config: FillSettings, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)
