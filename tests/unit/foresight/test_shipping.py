"""Validation and test items come with the package: the same on every machine, and what simulation gives."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from theworld.foresight import shipping
from theworld.foresight.items import DESIGNS, NUM_SHIPPED, SCENES, Item, find_item, make_item, shipped_path
from theworld.foresight.physics import simulate
from theworld.foresight.scene import TASKS

GOLDEN = Path(__file__).parents[2] / "golden" / "scenes.sha256"


def test_the_shipped_files_are_those_of_the_golden_list():
    expected = {name: digest for digest, name in (line.split() for line in GOLDEN.read_text().splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SCENES.iterdir()}
    assert found == expected, "run `theworld foresight --write-scenes` only if items are meant to change"
    assert len(found) == len(NUM_SHIPPED) * len(TASKS)
    assert sum(path.stat().st_size for path in SCENES.iterdir()) < 3e6


def test_each_file_has_an_item_per_line(task):
    for split, size in NUM_SHIPPED.items():
        lines = gzip.decompress(shipped_path(SCENES, split, task).read_bytes()).splitlines()
        assert len(lines) == size
        assert set(json.loads(lines[-1])) == {"scene", "outcome", "poses"}


@pytest.mark.usefixtures("unchecked")
def test_simulating_a_shipped_description_again_gives_the_shipped_outcome(items, task):
    for item in items[:20]:
        motion = simulate(item.scene)
        assert DESIGNS[task].outcome(item.scene, motion) == item.outcome
        # Rounded to 4 decimals; on another processor a bounce may amplify a last digit.
        assert np.median(np.abs(motion.poses - item.poses)) < 1e-3


@pytest.mark.usefixtures("unchecked")
def test_a_shipped_item_is_what_is_found_by_simulation(task):
    found = find_item("test", 1, task)
    assert found.scene == make_item("test", 1, task).scene
    np.testing.assert_allclose(found.poses, make_item("test", 1, task).poses, atol=1e-3)


def test_an_item_survives_its_json_form(items):
    item = items[0]
    again = Item.from_dict(item.split, item.index, json.loads(json.dumps(item.to_dict())))
    assert (again.scene, again.outcome) == (item.scene, item.outcome)
    np.testing.assert_array_equal(again.poses, item.poses)


def test_writing_gives_the_same_bytes_again(tmp_path, monkeypatch, items_of):
    monkeypatch.setattr(shipping, "NUM_SHIPPED", {"test": 3})
    monkeypatch.setattr(shipping, "find_item", lambda split, index, task: items_of[task][index])
    first, again = (shipping.write_scenes(tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in first] == [f"test-{task}.jsonl.gz" for task in TASKS]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    lines = gzip.decompress(first[0].read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps([i.to_dict() for i in items_of["drop"][:3]]))
