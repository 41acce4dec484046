"""Public benchmarks: each is a data set that can be asked, and scores files by its own settings."""

from dataclasses import fields
from typing import get_args

import pytest

from theworld.config import DataSettings
from theworld.config.evaluation import Scoring
from theworld.evaluation.benchmarks.dispatch import BENCHMARKS, benchmark_scores, score
from theworld.evaluation.predictions import Prediction


def row(benchmark: str) -> Prediction:
    return Prediction(
        sample_id="a", question="", answer="true", prediction="yes", fields={"benchmark": benchmark}, prompt_hash=""
    )


def test_every_benchmark_has_a_data_set_and_settings_of_its_own():
    (datasets,) = [get_args(field.type) for field in fields(DataSettings) if field.name == "dataset"]
    assert {benchmark.name for benchmark in BENCHMARKS} <= set(datasets)
    assert {benchmark.files for benchmark in BENCHMARKS} == set(get_args(Scoring))


def test_rows_of_several_benchmarks_have_no_numbers_in_common():
    result = benchmark_scores([row("vsr")])
    assert result is not None
    assert result[0] == "vsr"
    assert benchmark_scores([row("vsr"), row("blink")]) is None


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(ValueError, match="benchmark 'mmlu': expected one of blink, spatial-rgpt, vsr"):
        score(row("mmlu"))
