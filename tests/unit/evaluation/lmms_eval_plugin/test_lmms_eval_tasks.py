"""Task files for lmms-eval name functions that exist, and score as our own scorers do."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

import fixtures_future as made
from theworld.cli import main as cli
from theworld.config import DataSettings
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight import TASKS as KINDS
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.images import to_image
from theworld.datasets.regions import draw_regions
from theworld.evaluation.benchmarks import spatial_rgpt as scorer_of_spatial_rgpt
from theworld.evaluation.benchmarks import vsr as scorer_of_vsr
from theworld.evaluation.lmms_eval import TASKS, foresight, future, spatial_rgpt, vsr
from theworld.evaluation.lmms_eval.requests import to_sample


class Loader(yaml.SafeLoader):
    """Resolves `!function` as lmms-eval does."""


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    module, _, name = str(loader.construct_scalar(node)).rpartition(".")
    return getattr(import_module(module), name)


Loader.add_constructor("!function", _function)


def task(name: str) -> dict[str, Any]:
    return task_file(TASKS / f"{name}.yaml")


def task_file(path: Path) -> dict[str, Any]:
    """The content of a task file over that of the file that it includes, as lmms-eval merges them."""
    content = yaml.load(path.read_text(), Loader)
    return {**(task_file(path.parent / content.pop("include")) if "include" in content else {}), **content}


FUTURE: dict[str, Callable[[Path], Path]] = {
    "futurebench": lambda folder: made.write_futurebench(folder, ["A", "B", "C", "D"]),
    "openworldqa": lambda folder: made.write_openworldqa(folder, ["A", "B", "C", "D"]),
    "vrqabench": lambda folder: made.write_vrqabench(folder, ["A", "B", "C", "D"]),
    "physbench": made.write_physbench,
    "intphys2_pairs": lambda folder: made.write_intphys2(folder, 1),
}
"""Writers of small files in the formats of the benchmarks about the future, by task."""

NAMES = sorted(path.stem for path in TASKS.glob("*.yaml"))


def aggregated(name: str, docs: list[dict[str, Any]], replies: list[str]) -> dict[str, float]:
    """What lmms-eval does with replies: rows under the names of metrics, then one number for each."""
    config = task(name)
    functions = {one["metric"]: one["aggregation"] for one in config["metric_list"]}
    rows: dict[str, list[Any]] = {}
    for doc, reply in zip(docs, replies, strict=True):
        for metric, row in config["process_results"](doc, [reply]).items():
            rows.setdefault(metric, []).append(row)
    return {metric: functions[metric](found) for metric, found in rows.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_task_file_is_named_like_its_task_and_its_functions_exist(name: str) -> None:
    config = task(name)

    assert config["task"] == name
    assert all(callable(config[key]) for key in ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results"))
    assert all(callable(one["aggregation"]) for one in config["metric_list"])
    assert config["generation_kwargs"]["until"] == []  # a blank line ends no reply


def test_our_tasks_are_those_that_lmms_eval_lacks() -> None:
    ours = ["foresight", "foresight_tiny", "spatial_rgpt", "vsr"]
    assert sorted([*ours, *FUTURE]) == NAMES


@pytest.mark.parametrize(("name", "side_px"), [("foresight", 896), ("foresight_tiny", 64)])
def test_foresight_asks_the_2000_test_scenes(name: str, side_px: int) -> None:
    row = json.loads((TASKS / task(name)["dataset_kwargs"]["data_files"]["test"]).read_text())

    docs = foresight.questions(datasets.Dataset.from_list([row]))

    assert len(docs) == 2_000
    assert row["image_size_px"] == side_px
    assert {metric["metric"] for metric in task(name)["metric_list"]} >= set(KINDS)


def few(**settings: object) -> list[dict[str, Any]]:
    row = {"questions": "future", "validation_split": "test", "num_validation": 10, "image_size_px": 64}
    return list(foresight.questions(datasets.Dataset.from_list([row | settings])))


def test_a_scene_is_asked_about_with_the_pictures_clips_and_outlook_of_our_own_evaluation() -> None:
    own = ForesightDataset("test", 10, 64)
    docs = few()

    for place in range(10):
        sample, expected = to_sample(foresight.messages(docs[place]), "a"), own[place]

        assert sample.prompt == expected.prompt
        assert foresight.answer(docs[place]) == expected.answer
        assert sample.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(sample.images[0]), np.asarray(expected.images[0]))
        assert (sample.clips is None) == (expected.clips is None)
        for clip, other in zip(sample.clips or (), expected.clips or (), strict=True):
            np.testing.assert_array_equal(np.stack([np.asarray(frame) for frame in clip]), np.asarray(other))
        np.testing.assert_array_equal(np.asarray(foresight.pictures(docs[place])[0]), np.asarray(expected.images[0]))


def test_foresight_counts_each_kind_of_scene_by_itself() -> None:
    docs = few()
    replies = [foresight.answer(doc) if doc["place"] < 5 else "perhaps" for doc in docs]

    found = aggregated("foresight", docs, replies)

    assert 0 < found.pop("balanced_accuracy") < 1
    assert found == {"accuracy": 0.5, "unparsed": 0.5, **dict.fromkeys(KINDS, 0.5)}


@pytest.mark.parametrize("wrong", [{"questions": "alignment"}, {"images": "clip"}, {"qestions": "dynamic"}])
def test_settings_that_make_no_single_questions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="estions"):
        few(**wrong)


ANNOTATIONS = [
    {"image": "1.jpg", "caption": "The cat is on the mat.", "label": 1, "relation": "on"},
    {"image": "2.jpg", "caption": "The cat is under the bed.", "label": 0, "relation": "under"},
    {"image": "2.jpg", "caption": "The cat is on the bed.", "label": 1, "relation": "on"},
]


def test_vsr_scores_as_saved_replies_are_scored(tmp_path: Path) -> None:
    replies = ["True.", "true", "I cannot tell"]
    annotations, saved = tmp_path / "test.jsonl", tmp_path / "replies.jsonl"
    annotations.write_text("".join(f"{json.dumps(row)}\n" for row in ANNOTATIONS))
    rows = [{**row, "prediction": reply} for row, reply in zip(ANNOTATIONS, replies, strict=True)]
    saved.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    overall = scorer_of_vsr.evaluate(scorer_of_vsr.read(annotations, saved)).overall
    assert overall.accuracy is not None

    assert aggregated("vsr", ANNOTATIONS, replies) == {
        "accuracy": overall.accuracy.value,
        "balanced_accuracy": overall.accuracy.balanced,
        "said_true": pytest.approx(2 / 3),
        "unparsed": pytest.approx(1 / 3),
    }


def test_vsr_takes_pictures_from_its_folder_and_says_where_they_are_to_be_had(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "1.jpg")
    options = {"images_dir": str(tmp_path)}

    assert vsr.pictures(ANNOTATIONS[0], options)[0].size == (8, 6)
    with pytest.raises(ValueError, match=r"2\.jpg: no such picture; .* images_dir"):
        vsr.pictures(ANNOTATIONS[1], options)


def benchmark_row(category: str, answer: str, as_text: bool, **rest: Any) -> dict[str, Any]:
    """A record as published: nested fields native (the JSON file), or as texts of Python values (the table)."""
    kind = "qualitative" if category.endswith(("_choice", "_predicate")) else "quantitative"
    nested = {
        "qa_info": {"type": kind, "category": category},
        "conversations": [{"from": "human", "value": "<image>\n?"}, {"from": "gpt", "value": answer}],
        "bbox": [[2.5, 3, 30, 70], [40, 10, 60, 30]],
        "image_info": {"file_path": "room/1.png", "height": 48, "width": 64},
    }
    nested = {key: str(value) for key, value in nested.items()} if as_text else nested
    return {"id": f"id-{category}", "text_q": "Is Region [0] above Region [1]?", **nested, **rest}


@pytest.mark.parametrize("as_text", [False, True])
def test_spatial_rgpt_scores_as_saved_replies_are_scored(as_text: bool, tmp_path: Path) -> None:
    docs = [
        benchmark_row("above_predicate", "Yes, Region [0] is above Region [1].", as_text),
        benchmark_row("height_data", "Region [0] is 2.0 meters in height.", as_text),
        benchmark_row("direction", "Region [1] is at 3 o'clock.", as_text),
    ]
    replies = ["No.", "It is 2.2 meters tall.", "Hard to say."]
    saved = tmp_path / "replies.jsonl"
    rows = [
        {
            "id": doc["id"],
            "question": doc["text_q"],
            "ground_truth": spatial_rgpt.answer(doc),
            "prediction": reply,
            "qa_type": "quantitative" if "predicate" not in doc["id"] else "qualitative",
            "qa_category": doc["id"].removeprefix("id-"),
        }
        for doc, reply in zip(docs, replies, strict=True)
    ]
    saved.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    scores = scorer_of_spatial_rgpt.evaluate(scorer_of_spatial_rgpt.read(saved)[0])

    assert aggregated("spatial_rgpt", docs, replies) == {
        "overall": scores.overall.value,
        "qualitative": 0.0,
        "below_above": 0.0,
        "quantitative": 0.5,
        "height": 1.0,
        "direction": 0.0,
        "unparsed": pytest.approx(1 / 3),
    }


def test_every_group_of_spatial_rgpt_has_a_metric() -> None:
    named = {one["metric"] for one in task("spatial_rgpt")["metric_list"]}

    assert named == {name for pair in spatial_rgpt._GROUPS.values() for name in pair} | {"overall", "unparsed"}


def test_regions_are_boxes_in_a_copy_of_the_picture_cut_at_its_edges(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 48), "white")
    doc = benchmark_row("height_data", "Region [0] is 2.0 meters in height.", True, image=picture)

    shown = spatial_rgpt.pictures(doc, {})[0]

    expected = draw_regions(picture, [(2.5, 3.0, 30.0, 70.0), (40.0, 10.0, 60.0, 30.0)])
    assert shown.tobytes() == expected.tobytes() != picture.tobytes()
    assert shown.getpixel((63, 47)) == picture.getpixel((30, 25)) == (255, 255, 255)

    (tmp_path / "room").mkdir()
    picture.save(tmp_path / "room" / "1.png")
    named = {**doc, "image": None}
    assert spatial_rgpt.pictures(named, {"images_dir": str(tmp_path)})[0].tobytes() == shown.tobytes()


def test_a_nested_field_that_cannot_be_read_is_refused_with_its_id() -> None:
    doc = benchmark_row("height_data", "Region [0] is 2.0 meters in height.", True, bbox="[1, 2")

    with pytest.raises(ValueError, match=r"id-height_data: bbox: '\[1, 2'; expected"):
        spatial_rgpt.pictures({**doc, "image": Image.new("RGB", (8, 8))}, {})


def test_several_replies_to_one_item_are_refused() -> None:
    with pytest.raises(ValueError, match="2 replies to one item"):
        vsr.results(ANNOTATIONS[0], ["true", "false"])


def future_docs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> list[dict[str, Any]]:
    """The documents of a task about the future, whose files are in the folder that its data file names."""
    row = json.loads((TASKS / task(name)["dataset_kwargs"]["data_files"]["test"]).read_text())
    FUTURE[name](folder / row["source"])
    monkeypatch.chdir(folder)
    return list(task(name)["process_docs"](datasets.Dataset.from_list([row | more])))


@pytest.mark.parametrize("name", FUTURE)
def test_a_benchmark_about_the_future_asks_as_our_own_evaluation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = future_docs(name, tmp_path, monkeypatch)
    config, settings = task(name), json.loads(docs[0]["settings"])
    own = open_samples(DataSettings(**settings), "validation", None)

    assert len(docs) == len(own) > 0
    for doc, place in zip(docs, range(len(own)), strict=True):
        sample, expected = to_sample(config["doc_to_messages"](doc), "a"), own[place]
        assert sample.prompt == expected.prompt
        assert sample.shape == expected.shape
        assert config["doc_to_text"](doc, {}) == expected.prompt[-1].text
        assert config["doc_to_target"](doc) == expected.answer
        assert len(config["doc_to_visual"](doc)) == len(sample.images)
        for picture, other in zip(sample.images, expected.images, strict=True):
            np.testing.assert_array_equal(np.asarray(to_image(picture)), np.asarray(to_image(other)))


@pytest.mark.parametrize("name", FUTURE)
def test_a_benchmark_about_the_future_scores_as_the_log_of_its_replies_is_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = future_docs(name, tmp_path, monkeypatch)
    replies = [future.answer(doc) if place % 3 else "I cannot say." for place, doc in enumerate(docs)]
    log = tmp_path / "samples.jsonl"
    rows = [future.results(doc, [reply]) for doc, reply in zip(docs, replies, strict=True)]
    log.write_text("".join(f"{json.dumps({'doc_id': place, **row})}\n" for place, row in enumerate(rows)))
    benchmark = json.loads(docs[0]["settings"])["dataset"]
    assert cli.main(["score", benchmark, "--predictions", str(log), "--json"]) == cli.OK
    numbers = json.loads(capsys.readouterr().out)

    found = aggregated(name, docs, replies)

    assert found.pop("accuracy") == numbers["overall"]["value"]
    assert found.pop("published") == numbers["official"]
    assert found.pop("unparsed") == numbers["overall"]["num_unparsed"] / len(docs) > 0
    assert found == ({"pairs": numbers["pairs"]["all"]["value"]} if name == "intphys2_pairs" else {})


def test_answers_that_are_withheld_and_files_that_are_missing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="its answer is withheld, so lmms-eval cannot score it"):
        future_docs("physbench", tmp_path, monkeypatch, validation_split="test")
    with pytest.raises(ValueError, match="2 rows of settings"):
        future.questions(datasets.Dataset.from_list([{"dataset": "sat"}] * 2))
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(ValueError, match=r"futurebench\.json"):
        future.questions(datasets.Dataset.from_list([{"dataset": "futurebench", "source": "nowhere"}]))
