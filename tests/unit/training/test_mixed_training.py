"""A run learns from several data sets at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import write_llava, write_vsr
from theworld.config import DataSettings, MixturePart, TrainingConfig, loader
from theworld.datasets.factory import open_training
from theworld.training.run import train


@pytest.fixture
def parts(tmp_path: Path) -> tuple[MixturePart, ...]:
    """LLaVA's kinds of rows, and statements."""
    llava, pictures = write_llava(tmp_path / "llava")
    vsr, coco = write_vsr(tmp_path / "vsr", [1, 0, 1, 0], "train")
    return (
        MixturePart(weight=3.0, data=DataSettings(dataset="llava", source=str(llava), image_dir=pictures)),
        MixturePart(data=DataSettings(dataset="vsr", source=str(vsr), image_dir=coco, num_train=2)),
    )


def test_a_mixture_is_as_long_as_the_run_and_takes_the_settings_of_its_parts(
    make_config: Callable[..., TrainingConfig], parts: Any
) -> None:
    samples = open_training(make_config(mixture=parts), 16)

    drawn = [samples[index] for index in range(len(samples))]
    ids = {name: [one.id for one in drawn if one.fields["part"] == name] for name in ("0-llava", "1-vsr")}

    assert {name: len(found) for name, found in ids.items()} == {"0-llava": 12, "1-vsr": 4}
    assert len(set(ids["0-llava"])) == 3  # one of four pictures is held out
    assert len(set(ids["1-vsr"])) == 2


def test_a_run_trains_on_a_mixture_and_its_settings_come_back_from_its_folder(
    make_config: Callable[..., TrainingConfig], parts: Any, tmp_path: Path
) -> None:
    config = make_config(mixture=parts, num_steps=2)

    found = train(config)

    assert found["step"] == 2
    assert loader.load(TrainingConfig, tmp_path / "run" / "config.json", []) == config


def test_a_mixture_is_given_in_a_file_and_its_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mixed.json"
    part = {"weight": 2.0, "data": {"dataset": "hf", "source": "x"}}
    path.write_text(json.dumps({"output_dir": "runs/mixed", "mixture": [part, {"data": {}}]}))
    config = loader.load(TrainingConfig, path, [])

    assert [(one.weight, one.data.dataset) for one in config.mixture] == [(2.0, "hf"), (1.0, "foresight")]

    path.write_text(json.dumps({"output_dir": "runs/mixed", "mixture": [{**part, "weight": 0}]}))
    with pytest.raises(ValueError, match=r"mixture\.0\.weight"):
        loader.load(TrainingConfig, path, [])
