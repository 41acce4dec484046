"""A run that packs learns what a run that does not pack learns, in fewer rows."""

import dataclasses
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from theworld.config import TrainingConfig
from theworld.training.progress import read_metrics
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
    with pytest.raises(
        ValidationError, match="'flash_attention_2', which takes no mask that keeps packed samples apart"
    ):
        make_config(packing=True, model={"attn_implementation": "flash_attention_2"})
    with pytest.raises(ValidationError, match="objective='imitation', which reads no rows of tokens"):
        make_config(packing=True, objective="imitation")
