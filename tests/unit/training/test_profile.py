"""A run may profile one of its steps."""

import json
import shutil
from dataclasses import replace
from typing import Any

import torch

from theworld import TheWorld
from theworld.training.run import train


def test_a_profile_names_the_parts_of_the_model_and_changes_nothing(make_config: Any) -> None:
    plain = make_config("plain")
    train(plain)
    profiled = make_config("profiled", profile=True)
    train(profiled)

    folder = profiled.output_dir / "profile"
    table = (folder / "table.txt").read_text()
    assert table.startswith("step 3\n")
    for part in ("world", "model.vision_tower", "model.language_model"):
        assert f"forward of {part} " in table
    names = {event.get("name") for event in json.loads((folder / "trace.json").read_text())["traceEvents"]}
    assert "forward of world" in names
    before, after = (TheWorld.from_pretrained(run.output_dir / "model").state_dict() for run in (plain, profiled))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_shorter_than_the_profiled_step_profiles_its_last(make_config: Any) -> None:
    config = make_config(num_steps=1, profile=True)
    train(config)
    assert (config.output_dir / "profile" / "table.txt").read_text().startswith("step 1\n")


def test_a_continuation_profiles_its_own_third_step_or_its_last(make_config: Any) -> None:
    config = make_config(num_steps=4)
    train(config)
    for left in ("checkpoint-4", "model"):
        shutil.rmtree(config.output_dir / left)

    train(replace(config, resume=True, profile=True))

    assert (config.output_dir / "profile" / "table.txt").read_text().startswith("step 4\n")
