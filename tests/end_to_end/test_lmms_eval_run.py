"""lmms-eval itself, run on the tiny model: its numbers are those of our own evaluation and scorers.

Skipped where it is not installed; `make lmms-eval-test` makes an environment that has it.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from theworld.evaluation.lmms_eval import TASKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed: `make lmms-eval-test`"
    ),
]

BIN = Path(sys.executable).parent
NUM_SCENES = 10

STATEMENTS = [
    {"image": "1.jpg", "caption": "The ball is left of the box.", "label": 1, "relation": "left of"},
    {"image": "2.jpg", "caption": "The ball is on the box.", "label": 0, "relation": "on"},
    {"image": "2.jpg", "caption": "The ball is under the box.", "label": 1, "relation": "under"},
]
"""Rows of VSR as published; two that are true, so that always saying one thing shows."""

REGIONS = [
    ("above_predicate", "Is Region [0] above Region [1]?", "Yes, Region [0] is above Region [1]."),
    ("left_choice", "Which one is left, Region [0] or Region [1]?", "Region [1] is more to the left."),
    ("height_data", "How tall is Region [0]?", "Region [0] is 30.05 inches in height."),
    ("direction", "In which direction is Region [1] from Region [0]?", "Region [1] is at 3 o'clock."),
]


def command(*words: object, **environment: str) -> str:
    """Run a command; what it prints."""
    done = subprocess.run(
        [str(BIN / str(words[0])), *map(str, words[1:])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files that include ours and name local data in the published formats."""
    import datasets

    folder = tmp_path_factory.mktemp("tasks")
    write_lines(folder / "vsr.jsonl", [{**row, "image_link": "", "annotator_id": 1} for row in STATEMENTS])
    for name, colour in (("1.jpg", "white"), ("2.jpg", "grey")):
        Image.new("RGB", (64, 48), colour).save(folder / name)
    rows = [
        {
            "id": f"quantitative_{place}",
            "image": Image.new("RGB", (64, 48), (60 * place, 90, 90)),
            "image_info": str({"file_path": "room.png", "height": 48, "width": 64}),
            "text_q": asked,
            "qa_info": str(
                {"type": "qualitative" if "_c" in kind or "_p" in kind else "quantitative", "category": kind}
            ),
            "conversations": str([{"from": "human", "value": "<image>\n?"}, {"from": "gpt", "value": answer}]),
            "bbox": str([[2, 3, 30, 40], [40, 10, 80, 30]]),
        }
        for place, (kind, asked, answer) in enumerate(REGIONS)
    ]
    features = datasets.Features(
        {name: datasets.Image() if name == "image" else datasets.Value("string") for name in rows[0]}
    )
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "regions.parquet")
    included = {
        "foresight_few": ("foresight_tiny", {}),
        "vsr_local": ("vsr", {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "vsr.jsonl"}}}),
        "spatial_rgpt_local": (
            "spatial_rgpt",
            {"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"val": "regions.parquet"}}},
        ),
    }
    options = {"lmms_eval_specific_kwargs": {"default": {"images_dir": str(folder)}}}
    for name, (ours, rest) in included.items():
        own = {} if ours == "foresight_tiny" else options
        content = {"include": str(TASKS / f"{ours}.yaml"), "task": name, **rest, **own}
        (folder / f"{name}.yaml").write_text(json.dumps(content))  # JSON is YAML
    return folder


def run(
    folder: Path, output: Path, arguments: str, tasks: str, launcher: tuple[str, ...] = ("lmms-eval",)
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Results as lmms-eval writes them, and its samples by task."""
    command(
        *launcher,
        *("--model", "theworld", "--model_args", arguments, "--tasks", tasks, "--include_path", folder),
        *("--limit", NUM_SCENES, "--log_samples", "--output_path", output),
        HF_HOME=str(output / "hub"),
    )
    results = json.loads(next(output.rglob("*_results.json")).read_text())
    samples = {
        name: [
            json.loads(line) for line in next(output.rglob(f"*_samples_{name}.jsonl")).read_text().splitlines() if line
        ]
        for name in tasks.split(",")
    }
    return results, samples


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    arguments = "pretrained=tiny-foresight,num_world_steps=4,batch_size=8"
    return run(folder, tmp_path_factory.mktemp("on"), arguments, "foresight_few,vsr_local,spatial_rgpt_local")


def metrics(results: dict[str, Any], task: str) -> dict[str, float]:
    """The numbers of a task, without the names of filters."""
    return {
        name.removesuffix(",none"): value
        for name, value in results["results"][task].items()
        if name.endswith(",none") and isinstance(value, float)
    }


def replies(samples: list[dict[str, Any]]) -> list[str]:
    return [sample["unparsed"]["prediction"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


def last_line(text: str) -> dict[str, Any]:
    return json.loads(text.strip().splitlines()[-1])


def test_foresight_has_the_replies_and_the_accuracy_of_our_own_evaluation(
    done: tuple[dict[str, Any], dict[str, list[Any]]], tmp_path: Path
) -> None:
    results, samples = done
    data = {"questions": "future", "image-size-px": 64, "validation-split": "test", "num-validation": NUM_SCENES}
    command(
        *("theworld", "evaluate", "--checkpoint", "tiny-foresight", "--output-dir", tmp_path, "--arms", "world"),
        *(word for name, value in data.items() for word in (f"--data.{name}", value)),
    )
    rows = [json.loads(line) for line in (tmp_path / "predictions" / "world.jsonl").read_text().splitlines()]
    own = json.loads((tmp_path / "results.json").read_text())["arms"]["world"]["accuracy"]
    replied = {sample["accuracy"]["sample_id"]: sample["accuracy"]["prediction"] for sample in samples["foresight_few"]}

    assert replied == {row["sample_id"]: row["prediction"] for row in rows}
    found = metrics(results, "foresight_few")
    assert (found["accuracy"], found["balanced_accuracy"]) == pytest.approx((own["value"], own["balanced"]))
    assert set(found) == {
        *("accuracy", "balanced_accuracy", "unparsed", "drop", "topple", "roll", "collide", "hide"),
    }


def test_vsr_has_the_numbers_of_our_scorer(done: tuple[dict[str, Any], dict[str, list[Any]]], tmp_path: Path) -> None:
    results, samples = done
    rows = [{**row, "prediction": reply} for row, reply in zip(STATEMENTS, replies(samples["vsr_local"]), strict=True)]
    own = last_line(
        command(
            *("theworld", "--json", "score", "vsr", "--annotations", write_lines(tmp_path / "test.jsonl", STATEMENTS)),
            *("--predictions", write_lines(tmp_path / "replies.jsonl", rows)),
        )
    )["overall"]

    found = metrics(results, "vsr_local")
    assert found["accuracy"] == pytest.approx(own["accuracy"]["value"])
    assert found["balanced_accuracy"] == pytest.approx(own["accuracy"]["balanced"])
    assert found["said_true"] == pytest.approx(own["accuracy"]["answers"]["true"]["given"])
    assert found["unparsed"] == pytest.approx(own["num_unparsed"] / own["num_items"])


def test_spatial_rgpt_has_the_numbers_of_our_scorer(
    done: tuple[dict[str, Any], dict[str, list[Any]]], tmp_path: Path
) -> None:
    results, samples = done
    rows = [
        {
            "id": f"quantitative_{place}",
            "question": asked,
            "ground_truth": answer,
            "prediction": reply,
            "qa_type": "qualitative" if "_c" in kind or "_p" in kind else "quantitative",
            "qa_category": kind,
        }
        for place, ((kind, asked, answer), reply) in enumerate(
            zip(REGIONS, replies(samples["spatial_rgpt_local"]), strict=True)
        )
    ]
    own = last_line(
        command("theworld", "--json", "score", "spatial-rgpt", write_lines(tmp_path / "replies.jsonl", rows))
    )

    found = metrics(results, "spatial_rgpt_local")
    for kind in ("overall", "qualitative", "quantitative"):
        assert found[kind] == pytest.approx(own[kind]["value"])
    groups = {**own["qualitative_groups"], **{name: one["rate"] for name, one in own["quantitative_groups"].items()}}
    for name, group in groups.items():
        assert found[name.replace("/", "_").replace(" ", "_")] == pytest.approx(group["value"])


def test_the_world_was_read_once_for_every_picture(done: tuple[dict[str, Any], dict[str, list[Any]]]) -> None:
    counts = done[0]["throughput"]

    assert counts["avg_replies"] == NUM_SCENES + len(STATEMENTS) + len(REGIONS)
    assert counts["avg_world_clips"] == NUM_SCENES + len({row["image"] for row in STATEMENTS}) + len(REGIONS)
    assert counts["avg_world_steps"] == 4


def test_two_processes_answer_every_item_once_as_one_process_does(
    folder: Path, done: tuple[dict[str, Any], dict[str, list[Any]]], tmp_path: Path
) -> None:
    arguments = "pretrained=tiny-foresight,num_world_steps=4,batch_size=8"
    launcher = ("torchrun", "--standalone", "--nproc-per-node", "2", "-m", "lmms_eval")
    results, samples = run(folder, tmp_path, arguments, "foresight_few,vsr_local", launcher)

    for task in ("foresight_few", "vsr_local"):  # ten items, and three, of which one process has one
        assert sorted(sample["doc_id"] for sample in samples[task]) == list(range(len(done[1][task])))
        assert replies(samples[task]) == replies(done[1][task])
        assert metrics(results, task) == pytest.approx(metrics(done[0], task))


def test_the_folder_that_the_package_names_holds_our_tasks_and_a_model_without_its_world_reads_none(
    tmp_path: Path,
) -> None:
    said = Path(command("python", "-m", "theworld.evaluation.lmms_eval").strip())
    arguments = "pretrained=tiny-foresight,enable_world=False,batch_size=8"
    results, samples = run(said, tmp_path, arguments, "foresight_tiny")

    assert said == TASKS
    assert results["throughput"]["avg_world_clips"] == results["throughput"]["avg_world_steps"] == 0
    assert len(replies(samples["foresight_tiny"])) == NUM_SCENES
