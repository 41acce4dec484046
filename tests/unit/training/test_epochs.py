"""num_epochs: another way to say how long a run trains, for one data set of known length."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theworld import train
from theworld.config import DataSettings, MixturePart, OptimSettings, TrainingConfig
from theworld.config.commands import PlanSettings
from theworld.datasets.samplers import LengthSampler, ShapeSampler, num_batches
from theworld.planning.plan import planned

MakeConfig = Callable[..., TrainingConfig]


def state(run: Path, step: int) -> dict[str, Any]:
    return json.loads((run / f"checkpoint-{step}" / "trainer_state.json").read_text())


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("num_train", "accumulation", "num_steps"),
    [(8, 1, 4), (9, 1, 6), (9, 2, 4)],  # 2 or 3 batches of 4 an epoch, two epochs
)
def test_a_run_of_epochs_ends_with_the_last_of_them(
    make_config: MakeConfig, num_train: int, accumulation: int, num_steps: int
) -> None:
    data = replace(make_config().data, num_train=num_train)
    config = make_config(
        num_steps=None, num_epochs=2, data=data, gradient_accumulation_steps=accumulation, save_steps=num_steps
    )

    train(config)

    last = state(config.output_dir, num_steps)
    assert last["epoch"] == 2
    assert last["max_steps"] == num_steps
    assert json.loads((config.output_dir / "config.json").read_text())["num_epochs"] == 2


def test_epochs_and_the_same_number_of_steps_give_the_same_losses(make_config: MakeConfig) -> None:
    optim = OptimSettings(learning_rate=1e-3, warmup_steps=1)

    train(make_config("steps", num_steps=4, optim=optim))
    train(make_config("epochs", num_steps=None, num_epochs=2, optim=optim))

    steps, epochs = (losses(make_config(name).output_dir) for name in ("steps", "epochs"))
    assert steps == epochs


def test_a_continued_run_of_epochs_has_the_losses_of_an_unbroken_one(make_config: MakeConfig) -> None:
    config = make_config(num_steps=None, num_epochs=2)
    train(config)
    unbroken = losses(config.output_dir)
    for path in config.output_dir.glob("checkpoint-4/*"):
        path.unlink()
    (config.output_dir / "checkpoint-4").rmdir()

    train(replace(config, resume=True))

    assert losses(config.output_dir) == unbroken


def test_a_run_is_not_continued_once_an_epoch_has_another_length(make_config: MakeConfig, tmp_path: Path) -> None:
    def rows(number: int) -> None:
        lines = [json.dumps({"question": f"{index}?", "answer": "yes"}) for index in range(number)]
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / "train.jsonl").write_text("\n".join(lines))

    rows(8)
    data = DataSettings(dataset="hf", source=str(tmp_path / "rows"), image_column=None)
    config = make_config(num_steps=None, num_epochs=2, data=data)
    train(config)
    rows(12)

    with pytest.raises(ValueError, match="of a run of 4 steps, and here there are 6: the training data have changed"):
        train(replace(config, resume=True))


def test_a_warm_up_longer_than_the_epochs_is_refused(make_config: MakeConfig) -> None:
    config = make_config(num_steps=None, num_epochs=1, optim=OptimSettings(warmup_steps=3))

    with pytest.raises(ValueError, match=r"optim\.warmup_steps=3 is more than num_steps=2"):
        train(config)


def test_without_steps_and_epochs_a_run_has_a_thousand_steps(make_config: MakeConfig) -> None:
    assert make_config(num_steps=None).num_steps == 1_000


def test_steps_and_epochs_together_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="num_steps=4 and num_epochs=2 both say how long to train: give one"):
        make_config(num_epochs=2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": DataSettings(dataset="datacomp", source="shards")}, "dataset 'datacomp' is a stream"),
        ({"mixture": (MixturePart(data=DataSettings()),)}, "a mixture has no length of its own"),
    ],
)
def test_epochs_of_data_without_a_length_are_refused(
    make_config: MakeConfig, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"num_epochs=2: {reason}.*give num_steps"):
        make_config(num_steps=None, num_epochs=2, **changes)


class Clips(list[Any]):
    """Samples of three clip lengths."""

    def shape_of(self, index: int) -> int:
        return index % 3


def test_an_epoch_has_the_batches_of_its_sampler() -> None:
    samples = Clips(range(20))
    shapes = [samples.shape_of(index) for index in range(20)]

    assert num_batches(samples, 4) == len(ShapeSampler(shapes, 4, seed=0)) // 4 == 3
    assert num_batches(list(range(10)), 4) == 3  # pyright: ignore[reportArgumentType]
    lengths = np.arange(10.0)
    assert num_batches(list(range(10)), 4, by_length=True) == len(LengthSampler(lengths, None, 4, 0)) // 4 == 2  # pyright: ignore[reportArgumentType]


def test_a_plan_shows_the_steps_of_the_epochs(make_config: MakeConfig) -> None:
    config = make_config(num_steps=None, num_epochs=3)
    settings = PlanSettings(
        **{name: getattr(config, name) for name in config.__dataclass_fields__ if name != "peak_tflops"},
        peak_tflops=1.0,
    )

    tables, values = planned(settings)

    assert values["num_steps"] == 6
    assert tables[2].rows[0][3] == "6"
    with pytest.raises(ValueError, match="num_epochs with a stated length"):
        planned(replace(settings, length=40))
    assert planned(replace(settings, num_devices=2))[1]["num_steps"] == 3
