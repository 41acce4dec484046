"""Runs that pack, limit and group by length; one that packs learns what one that does not pack learns."""

import dataclasses
import json
from collections.abc import Callable

import pytest

from fixtures_model import picture
from theworld.config import TrainingConfig
from theworld.config.strict_yaml import SettingsError
from theworld.datasets.sample import question
from theworld.training import dataloading
from theworld.training.metrics import read_metrics
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]


def test_losses_of_a_packed_run_equal_those_of_an_unpacked_one(make_config: MakeConfig) -> None:
    settings = {"model": {"freeze_gemma_language": False}, "num_steps": 2, "gradient_accumulation_steps": 2}
    plain, packed = (make_config(f"packing-{packing}", packing=packing, **settings) for packing in (False, True))
    data = dataclasses.replace(plain.data, tasks=("drop", "hide"), questions="both")
    for config in (plain, packed):
        train(dataclasses.replace(config, data=data))

    before, after = (read_metrics(config.output_dir / "metrics.jsonl") for config in (plain, packed))
    assert [row["loss"] for row in after] == pytest.approx([row["loss"] for row in before], abs=1e-5)
    assert [row["grad_norm"] for row in after] == pytest.approx([row["grad_norm"] for row in before], rel=1e-3)
    assert all(0 <= row["padding_share"] < 1 for row in before + after)


def test_packing_is_refused_where_it_cannot_be(make_config: MakeConfig) -> None:
    with pytest.raises(SettingsError, match="'flash_attention_2', which takes no mask that keeps packed samples apart"):
        make_config(packing=True, model={"attn_implementation": "flash_attention_2"})
    with pytest.raises(SettingsError, match="objective='imitation', which reads no rows of tokens"):
        make_config(packing=True, objective="imitation")


def test_overlong_samples_are_left_out_counted_and_listed(make_config: MakeConfig) -> None:
    config = make_config("limited", max_length=80, max_bad_share=1.0, num_steps=2)
    few = [question(f"short-{n}", [], "What falls?", "the ball") for n in range(6)]
    samples = [
        *few,
        question("long", [], "What falls? " * 40, "the ball"),
        question("two", [picture()] * 2, "What?", "that"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataloading, "open_training", lambda *given, **named: samples)
        train(config)

    listed = [json.loads(line) for line in (config.output_dir / "bad_records.jsonl").read_text().splitlines()]
    assert {(row["record"], row["cause"]) for row in listed} == {(6, "overlong"), (7, "overlong")}
    assert read_metrics(config.output_dir / "metrics.jsonl")[-1]["left_out/overlong"] == 2


def test_batches_of_similar_length_pad_less(make_config: MakeConfig) -> None:
    class Known(list):
        def text_length_of(self, index: int) -> int:
            return len(self[index].turns[0].text)

        def num_images_of(self, index: int) -> int:
            return 0

    samples = Known(question(str(n), [], "why " * (1 + n * 7 % 32), "so") for n in range(32))
    shares = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataloading, "open_training", lambda *given, **named: samples)
        for grouped in (False, True):
            config = make_config(
                f"grouped-{grouped}", group_by_length=grouped, num_steps=8, logging_steps=8, save_steps=8
            )
            train(config)
            shares[grouped] = read_metrics(config.output_dir / "metrics.jsonl")[-1]["padding_share"]
    assert shares[True] < shares[False] / 2


def test_lengths_that_are_not_known_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="group_by_length=True needs a data set that knows"):
        train(make_config(group_by_length=True))
