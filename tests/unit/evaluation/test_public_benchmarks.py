"""Public benchmarks, asked end to end: from their files to numbers by their own rules."""

import json
from pathlib import Path

import pytest

from fixtures_public import SPATIAL_ROWS, write_blink, write_spatial_parquet, write_vsr
from theworld.config import AuditSettings, DataSettings, EvaluationConfig
from theworld.environment import commit
from theworld.evaluation.predictions import read_identity, read_predictions
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.report.page import write_report


def vsr(folder: Path, labels: list[int]) -> DataSettings:
    source, images = write_vsr(folder, labels)
    return DataSettings(dataset="vsr", source=str(source), image_dir=images)


def test_vsr_is_weighed_and_told_by_relation_and_meta_category(checkpoint: Path, tmp_path: Path):
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "out",
        arms=("world", "majority"),
        answers="loglikelihood",
        data=vsr(tmp_path, [1, 0, 1, 1]),
    )

    found = evaluate(config)

    [row, *_] = read_predictions(tmp_path / "out" / "predictions" / "world.jsonl")
    assert set(row.log_likelihoods) == {"true", "false"}
    own = found["benchmark"]["world"]["vsr"]
    assert {name: rate["num_items"] for name, rate in own["meta_categories"].items()} == {
        "Topological": 2,
        "Projective": 1,
        "Unallocated": 1,
    }
    assert set(own["relations"]) == {"on", "left of", "touching", "among"}
    assert own["overall"]["accuracy"]["value"] == found["arms"]["world"]["accuracy"]["value"]
    assert found["arms"]["majority"]["accuracy"]["value"] == 0.75  # `true`, three times of four
    assert (found["arms"]["world"]["world_read"], found["arms"]["majority"]["world_read"]) == (4, 0)


def test_results_say_what_was_read_from_each_reply_and_of_which_run_they_are(checkpoint: Path, tmp_path: Path):
    out = tmp_path / "out"
    config = EvaluationConfig(
        checkpoint=checkpoint, output_dir=out, arms=("world", "majority"), data=vsr(tmp_path, [1, 0, 1])
    )

    origin = evaluate(config)["origin"]

    scores = [json.loads(line) for line in (out / "scores" / "majority.jsonl").open()]
    assert [(one["state"], one["reading"], one["answer"]) for one in scores] == [
        ("right", "true", "true"),
        ("wrong", "true", "false"),
        ("right", "true", "true"),
    ]
    assert [one["sample_id"] for one in scores] == [
        row.sample_id for row in read_predictions(out / "predictions" / "majority.jsonl")
    ]
    identity = read_identity(out / "predictions" / "world.jsonl")
    assert identity.tap_fingerprint is not None
    assert origin["runs"]["world"]["tap_fingerprint"] == identity.tap_fingerprint
    assert origin["runs"]["world"]["versions"]["torch"]
    assert origin["commit"] == commit()
    assert origin["seeds"] == {"world": 0}


def test_a_report_shows_the_numbers_that_the_benchmark_is_told_by(checkpoint: Path, tmp_path: Path):
    out = tmp_path / "out"
    evaluate(EvaluationConfig(checkpoint=checkpoint, output_dir=out, arms=("majority",), data=vsr(tmp_path, [1, 0, 1])))

    page = write_report(out, "VSR").read_text()

    assert "By relation: majority" in page
    assert "touching" in page


def test_blink_is_told_by_its_macro_mean_and_every_picture_is_read(checkpoint: Path, tmp_path: Path):
    folder = write_blink(tmp_path / "blink", {"Jigsaw": ["(A)", "(B)"], "Counting": ["(B)"]})
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "out",
        max_new_tokens=2,
        data=DataSettings(dataset="blink", source=str(folder), subsets=("Jigsaw", "Counting")),
    )

    found = evaluate(config)

    own = found["benchmark"]["world"]["blink"]
    assert set(own["tasks"]) == {"Jigsaw", "Counting"}
    assert own["is_whole"] is False
    assert own["macro"] == pytest.approx(
        sum(rate["num_right"] / rate["num_items"] for rate in own["tasks"].values()) / 2
    )
    assert set(found["arms"]["world"]["groups"]["task"]) == {"Jigsaw", "Counting"}
    assert found["arms"]["world"]["world_read"] == 2 * 3 + 1


def test_where_answers_are_withheld_a_submission_is_written(checkpoint: Path, tmp_path: Path):
    folder = write_blink(tmp_path / "blink", {"Counting": ["hidden", "hidden"]}, split="test")
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "out",
        answers="loglikelihood",
        data=DataSettings(dataset="blink", source=str(folder), subsets=("Counting",), validation_split="test"),
    )

    found = evaluate(config)

    letters = json.loads(Path(found["submissions"]["world"]).read_text())
    assert set(letters) == {"test_Counting_1", "test_Counting_2"}
    assert set(letters.values()) <= {"(A)", "(B)"}


def test_spatial_rgpt_is_told_by_group_and_says_how_regions_are_marked(checkpoint: Path, tmp_path: Path):
    folder = write_spatial_parquet(tmp_path / "bench")
    data = DataSettings(dataset="spatial-rgpt", source=str(folder), marks="masks")
    config = EvaluationConfig(
        checkpoint=checkpoint, output_dir=tmp_path / "out", arms=("world", "majority"), max_new_tokens=4, data=data
    )

    found = evaluate(config)

    own = found["benchmark"]["majority"]["spatial-rgpt"]
    assert own["qualitative"]["num_items"] == 3
    assert own["quantitative"]["num_items"] == 2
    assert own["overall"]["value"] == 1.0  # one item of each category: its answer is the most frequent one
    rows = read_predictions(tmp_path / "out" / "predictions" / "world.jsonl")
    assert {row.fields["marks"] for row in rows} == {"masks"}
    assert len(rows) == len(SPATIAL_ROWS)


def test_random_parts_are_named_baselines_with_taps_of_their_own(checkpoint: Path, tmp_path: Path):
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "out",
        arms=("world", "random-projection", "random-world", "no-world-tokens"),
        answers="loglikelihood",
        data=vsr(tmp_path, [1, 0]),
    )

    found = evaluate(config)

    assert {name: arm["world_read"] for name, arm in found["arms"].items()} == {
        "world": 2,
        "random-projection": 2,
        "random-world": 2,
        "no-world-tokens": 0,
    }
    folder = tmp_path / "out" / "predictions"
    taps = {name: read_identity(folder / f"{name}.jsonl").tap_fingerprint for name in config.arms}
    assert taps["world"] == taps["random-projection"] != taps["random-world"] != None  # noqa: E711
    assert taps["no-world-tokens"] is None
    replies = {
        name: [tuple(row.log_likelihoods.values()) for row in read_predictions(folder / f"{name}.jsonl")]
        for name in config.arms
    }
    assert len({tuple(values) for values in replies.values()}) == 4  # each reads something else


def test_a_public_task_can_be_audited(checkpoint: Path, tmp_path: Path):
    settings = AuditSettings(
        checkpoint=checkpoint, output_dir=tmp_path / "audit", answers="loglikelihood", data=vsr(tmp_path, [1, 0] * 4)
    )

    found = audit(settings)

    assert found["verdict"] != "used"
    assert found["deciding"][0]["num_items"] == 8


def test_a_picture_that_is_gone_is_a_missing_item_and_no_wrong_answer(checkpoint: Path, tmp_path: Path):
    data = vsr(tmp_path, [1, 0, 1])
    (data.image_dir / "000000000000.jpg").unlink()

    found = evaluate(
        EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", answers="loglikelihood", data=data)
    )

    assert found["arms"]["world"]["num_missing"] == 1
    assert found["benchmark"]["world"]["vsr"]["relations"]["on"]["num_missing"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "vsr", "questions": "future"}, "questions is for dataset 'foresight', not 'vsr'"),
        (
            {"dataset": "foresight", "subsets": ("random",)},
            "subsets is for dataset 'blink', 'vsr', 'mvp' or 'intphys2', not 'foresight'",
        ),
        ({"dataset": "blink", "marks": "boxes"}, "marks is for dataset"),
        ({"dataset": "vsr", "images": "clip"}, "images is for dataset"),
        ({"dataset": "vsr"}, "image_dir: missing; give image_dir"),
        ({"dataset": "vsr", "image_dir": Path(), "subsets": ("random", "zeroshot")}, "at most 1 item"),
    ],
)
def test_settings_that_play_no_part_or_are_missing_are_refused(given, message: str):
    with pytest.raises(ValueError, match=message):
        DataSettings(**given)
