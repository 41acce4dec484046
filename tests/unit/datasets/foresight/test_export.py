"""Validation and test items come with the package: the same on every machine, and what simulation gives."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from theworld.datasets.foresight import export
from theworld.datasets.foresight.export import TEMPLATE, data_card
from theworld.datasets.foresight.items import DESIGNS, NUM_SHIPPED, SCENES, Item, find_item, make_item, shipped_path
from theworld.datasets.foresight.physics import simulate
from theworld.datasets.foresight.scene import TASKS

GOLDEN = Path(__file__).parents[3] / "golden" / "scenes.sha256"


def test_the_shipped_files_are_those_of_the_golden_list():
    expected = {name: digest for digest, name in (line.split() for line in GOLDEN.read_text().splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SCENES.glob("*.jsonl.gz")}
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
    monkeypatch.setattr(export, "NUM_SHIPPED", {"test": 3})
    monkeypatch.setattr(export, "find_item", lambda split, index, task: items_of[task][index])
    first, again = (export.write_scenes(tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in first] == [*(f"test-{task}.jsonl.gz" for task in TASKS), "README.md"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    lines = gzip.decompress(first[0].read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps([i.to_dict() for i in items_of["drop"][:3]]))


def test_the_card_counts_what_lies_beside_it_and_is_its_template_otherwise(items_of):
    items = [*items_of["drop"][:6], *items_of["collide"][:4]]
    card = data_card(items)
    counts = [sum(item.outcome == outcome for item in items_of["collide"][:4]) for outcome in (0, 1)]
    assert "| test | drop | 6 | " in card
    assert f"| test | collide | 4 | {counts[0]}, {counts[1]} |" in card
    assert "license: apache-2.0" in card.split("---")[1]
    assert "${" not in card
    fixed = re.split(r"\$\{\w+\}", TEMPLATE.read_text())
    assert len(fixed) == 5
    assert all(part in card for part in fixed)
