"""Benchmarks about the future, asked end to end: from their files to numbers, an audit, a comparison and a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

import fixtures_future as made
from theworld.cli import main as cli
from theworld.config import AuditSettings, DataSettings, EvaluationConfig
from theworld.config.evaluation import ConditionName
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.report.page import write_report

SETS: dict[str, Callable[[Path], Path]] = {
    "vpct": lambda folder: made.write_vpct(folder, [1, 3, 2, 1]),
    "futurebench": lambda folder: made.write_futurebench(folder, ["A", "B", "C", "D"]),
    "openworldqa": lambda folder: made.write_openworldqa(folder, ["A", "B", "C", "D"]),
    "vrqabench": lambda folder: made.write_vrqabench(folder, ["A", "B", "C", "D"]),
    "sat": lambda folder: made.write_sat(folder, [0, 1, 1, 0]),
    "physbench": made.write_physbench,
    "mvp": lambda folder: made.write_mvp(folder, 2),
    "intphys2": lambda folder: made.write_intphys2(folder, 1),
}


def settings_of(name: str, folder: Path, **more: Any) -> DataSettings:
    if name == "mvp":
        more |= {"video_dir": folder / "videos", "subsets": ("intuitive_physics",)}
    return DataSettings(dataset=name, source=str(SETS[name](folder)), **more)


@pytest.mark.parametrize("name", SETS)
def test_each_benchmark_is_asked_scored_compared_and_reported(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=out,
        arms=("world", "majority"),
        answers="loglikelihood",
        data=settings_of(name, tmp_path / "set"),
    )

    results = evaluate(config)

    rows = read_predictions(out / "predictions" / "world.jsonl")
    assert results["arms"]["world"]["num_missing"] == 0
    assert results["arms"]["world"]["world_read"] == sum(row.world_read for row in rows) > 0
    numbers = results["benchmark"]["world"][name]
    assert numbers["overall"]["value"] == results["arms"]["world"]["accuracy"]["value"]
    heading = numbers["heading"]
    assert f"{heading}: majority" in write_report(out, name).read_text()
    files = [str(out / "predictions" / f"{arm}.jsonl") for arm in ("world", "majority")]
    assert cli.main(["score", name, "--predictions", files[0], "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["overall"] == numbers["overall"]
    assert cli.main(["compare", *files, "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["num_shared_by_all"] == len(rows)


@pytest.mark.parametrize("name", ["vpct", "futurebench", "intphys2"])
def test_each_kind_of_benchmark_can_be_audited(name: str, checkpoint: Path, tmp_path: Path):
    settings = AuditSettings(
        checkpoint=checkpoint,
        output_dir=tmp_path / "audit",
        answers="loglikelihood",
        data=settings_of(name, tmp_path / "set"),
    )

    result = audit(settings)

    assert result["verdict"] != "used"
    assert result["deciding"][0]["num_items"] >= 2


@pytest.mark.slow  # fifteen conditions with a tap that imagines
@pytest.mark.parametrize("name", SETS)
def test_each_benchmark_gets_a_table_of_all_conditions_from_the_embedded_model(
    name: str, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source, out = tmp_path / "set", tmp_path / "audit"
    if name == "physbench":  # videos and pictures under one kind of question
        made.write_physbench(source, made.MIXED_PHYSBENCH_ANSWERS)
    else:
        SETS[name](source)
    more = ("--data.video-dir", source / "videos", "--data.subsets", "intuitive_physics") if name == "mvp" else ()
    words = ("audit", "tiny-foresight", "--output-dir", out, "--answers", "loglikelihood", "--conditions", "all")
    data = ("--data.dataset", name, "--data.source", source)

    assert cli.main([str(word) for word in (*words, *data, *more)]) == cli.OK

    table = capsys.readouterr().out
    result = json.loads((out / "audit.json").read_text())
    drops = {drop["condition"]: drop for drop in (*result["deciding"], *result["reported"])}
    asked = {*get_args(ConditionName)} - {"real", "oracle"}
    assert drops.keys() == asked
    assert result["missing"] == {"oracle": "the data set shows no true future"}
    assert "oracle" in table
    for condition in asked:
        assert condition in table
        assert (drops[condition]["num_items"], drops[condition]["num_missing"]) == (4, 0)
        assert result["proofs"][condition]["num_replaced"] == 4


def test_an_audit_of_items_without_partners_is_refused_on_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
):
    source = made.write_physbench(tmp_path / "set")  # three items with an answer, each of another kind
    words = ("audit", checkpoint, "--output-dir", tmp_path / "audit", "--data.dataset", "physbench")

    assert cli.main([str(word) for word in (*words, "--data.source", source)]) == cli.REFUSED

    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "none of the 3 items has a partner" in error
    assert "ask more items, such as with --data.num-validation" in error


def test_circular_options_give_a_consistency(checkpoint: Path, tmp_path: Path):
    data = settings_of("openworldqa", tmp_path / "set", option_order="circular")
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", arms=("majority",), data=data)

    numbers = evaluate(config)["benchmark"]["majority"]["openworldqa"]

    assert numbers["samples"]["num_items"] == 4
    assert numbers["samples"]["num_samples"] == 4
    # one letter for all rotations of an item is right exactly once
    assert (numbers["samples"]["always"], numbers["samples"]["ever"]) == (0.0, 1.0)
    assert numbers["samples"]["expected"] == 0.25


@pytest.mark.parametrize(("name", "key", "number"), [("physbench", "idx", 5), ("intphys2", "row_id", 4)])
def test_where_answers_are_withheld_the_replies_are_written_for_the_server(
    name: str, key: str, number: int, checkpoint: Path, tmp_path: Path
):
    data = settings_of(name, tmp_path / "set", validation_split="test")
    if name == "intphys2":
        (tmp_path / "set" / "Main").rename(tmp_path / "set" / "HeldOut")
    config = EvaluationConfig(
        checkpoint=checkpoint, output_dir=tmp_path / "out", arms=("world",), answers="loglikelihood", data=data
    )

    results = evaluate(config)

    rows = json.loads(Path(results["submissions"]["world"]).read_text())
    assert len(rows) == len({row[key] for row in rows}) == number


def test_intervals_over_a_benchmark_are_clustered_by_scene(checkpoint: Path, tmp_path: Path):
    source = made.write_intphys2(tmp_path / "set", 2)
    data = DataSettings(dataset="intphys2", source=str(source))
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", arms=("majority",), data=data)

    interval = evaluate(config)["arms"]["majority"]["accuracy"]["bootstrap"]

    # each scene holds two possible and two impossible videos, so every draw of scenes gives one half
    assert (interval["low"], interval["high"]) == (0.5, 0.5)


def test_a_damaged_video_is_a_missing_item(checkpoint: Path, tmp_path: Path):
    data = settings_of("futurebench", tmp_path / "set")
    (tmp_path / "set" / "first_part_video" / "source" / "0.mp4").write_bytes(b"no film")
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", answers="loglikelihood", data=data)

    results = evaluate(config)

    assert results["arms"]["world"]["num_missing"] == 1
    assert results["benchmark"]["world"]["futurebench"]["overall"]["num_missing"] == 1
    [row] = [row for row in read_predictions(tmp_path / "out" / "predictions" / "world.jsonl") if row.error]
    assert "0.mp4" in str(row.error)
