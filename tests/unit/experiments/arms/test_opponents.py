"""Opponents that can learn: Gemma trained itself and a network of pixels, in the same table as arms with a world."""

import json
from dataclasses import replace

import pytest
import torch

from fixtures_arms import TRUE, small_comparison
from theworld.config import ForesightData, TrainingConfig, loader
from theworld.config.arm_settings import Arm, ArmsSettings, Reading
from theworld.config.model import LoraSettings
from theworld.datasets.factory import open_samples
from theworld.evaluation.predictions import read_predictions
from theworld.experiments.arms.arm import Rates, data_of, folder_of, train_arm
from theworld.experiments.arms.run import asked_of, choose_rates
from theworld.experiments.arms.table import compare_arms
from theworld.modeling import TheWorld

ZERO = Reading(tap="zero", control_of="rollout")
ARMS = (
    Arm(name="gemma", reads=ZERO, aligned_on=ZERO, num_clips=0),
    Arm(name="rollout", reads=Reading(tap="rollout"), aligned_on=TRUE, num_clips=80_000),
    Arm(name="gemma-lora", kind="gemma", lora=LoraSettings(targets=("language", "vision"), rank=2)),
    Arm(name="gemma-full", kind="gemma"),
    Arm(name="pixels", kind="pixels", num_steps=4, num_passes=1, batch_size=4, label_learning_rates=(1e-3, 1e-2)),
    Arm(name="pixels-places", kind="pixels", answers="places", num_steps=4, num_passes=1, batch_size=4),
)
NO_ALIGNMENT = Rates(aligned=None, labels=3e-3)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> ArmsSettings:
    """Every kind of arm, from no labels to ten, on varied scenes."""
    settings = small_comparison(
        tmp_path_factory.mktemp("opponents"),
        arms=ARMS,
        scenes="varied",
        test_splits=("shift-seen",),
        aligned_questions="alignment-states",
        aligned_split="train-seen",
        num_test=15,
        num_static=2,
        num_validation=5,
        imitate_steps=0,
        choose_for_each=True,
        world_build="a",
    )
    compare_arms(settings)
    return settings


def test_every_kind_of_arm_answers_the_same_questions_with_and_without_labels(done):
    table = compare_arms(replace(done, report=True))

    cells = {(cell["arm"], cell["num_labels"]): cell for cell in table["cells"]}
    assert set(cells) == {(arm.name, number) for arm in ARMS for number in (0, 10)}
    assert {cell["num_items"] for cell in cells.values()} == {15}
    assert (cells["pixels", 10]["static"], cells["gemma-full", 10]["static"] is None) == (None, False)
    rows = read_predictions(folder_of(done, ARMS[4], 0, 10) / "predictions" / "dynamic.jsonl")
    assert {row.fields["split"] for row in rows} == {"shift-seen"}
    assert all(row.prediction in (row.choices or ()) for row in rows)


def test_further_splits_are_asked_beside_the_first_and_pixels_are_not_asked_about_the_present(done):
    settings = replace(done, test_splits=("shift-seen", "test"))

    assert asked_of(settings, ARMS[4]) == {"dynamic": "shift-seen", "shuffled": "shift-seen", "dynamic-test": "test"}
    assert asked_of(settings, ARMS[3])["static"] == "shift-seen"
    assert asked_of(done, ARMS[4]) == {"dynamic": "shift-seen", "shuffled": "shift-seen"}


def test_the_alignment_shows_the_looks_of_videos_and_asks_for_no_outcome_and_labels_are_of_the_corner(done):
    (path,) = (done.output_dir / "aligned").glob("true-future*/seed-0/rate-*/config.json")
    aligned = loader.load(TrainingConfig, path).data
    assert isinstance(aligned, ForesightData)
    assert (aligned.train_split, aligned.questions) == ("train-seen", "alignment-states")
    (path,) = (done.output_dir / "arms" / "rollout" / "seed-0" / "labels-10").glob("rate-*/config.json")
    labelled = loader.load(TrainingConfig, path).data
    assert isinstance(labelled, ForesightData)
    assert (labelled.train_split, labelled.questions) == ("train", "labels")


def test_labels_begin_after_the_scenes_of_an_alignment_with_their_split(done):
    apart = replace(done, aligned_split="train", first_label=10)
    aligned = open_samples(data_of(apart, ARMS[1], apart.aligned_questions, 10), "train", 10)
    labelled = open_samples(data_of(apart, ARMS[2], "labels", 10, first_scene=apart.first_label), "train", 10)

    aligned_items, labelled_items = (
        {data[place].fields["index"] for place in range(10)} for data in (aligned, labelled)
    )
    assert (aligned_items, labelled_items) == ({0, 1}, {2, 3})
    assert not [turn for sample in (aligned[0], aligned[1]) for turn in sample.turns if "come to rest" in turn.text]


def test_without_labels_gemma_is_as_it_was_and_with_them_exactly_its_own_parts_have_moved(done):
    plain, whole = (TheWorld.from_pretrained(train_arm(done, ARMS[3], 0, number, NO_ALIGNMENT)) for number in (0, 10))
    adapted = TheWorld.from_pretrained(train_arm(done, ARMS[2], 0, 10, NO_ALIGNMENT))
    tiny = TheWorld.from_pretrained("tiny", enable_world=False).state_dict()

    assert all(torch.equal(tiny[name], value) for name, value in plain.state_dict().items())
    moved = {name.split(".")[1] for name, value in whole.state_dict().items() if not torch.equal(tiny[name], value)}
    assert {"vision_tower", "language_model"} <= moved
    assert (whole.config.enable_world, whole.config.trained_parts) == (False, ["vision", "language"])
    assert (adapted.config.enable_world, adapted.config.trained_parts) == (False, ["adapters"])
    assert {name.split(".")[1] for name, _ in adapted.named_parameters() if "lora_B" in name} == {
        "vision_tower",
        "language_model",
    }


def test_each_number_of_labels_has_a_rate_of_its_own_and_arms_without_alignment_have_none_for_it(done):
    written = json.loads((done.output_dir / "arms" / "pixels" / "rates.json").read_text())

    assert written["chosen"]["aligned"] is None
    assert set(written["labels"]) == {"10"}
    assert set(written["labels"]["10"]) == {"0.001", "0.01"}
    assert choose_rates(done, ARMS[4], 10).labels == written["chosen"]["labels"]["10"]
    assert json.loads((done.output_dir / "arms" / "gemma" / "rates.json").read_text())["chosen"]["aligned"] == 3e-3


def test_the_table_names_controls_and_references_and_tells_what_training_takes(done):
    compare_arms(replace(done, report=True))
    lines = (done.output_dir / "arms.md").read_text().splitlines()
    first = {line.split(" | ")[0].removeprefix("| "): line.split(" | ") for line in reversed(lines) if " | " in line}

    assert "gemma (control: tokens that carry nothing)" in first
    assert "pixels-places (reference)" in first
    assert first["pixels"][-2].replace(",", "").isdigit()
    assert "| 80,000 |" in next(line for line in lines if line.startswith("| rollout |"))
    title = next(number for number, line in enumerate(lines) if line.startswith("Best arm with a world model"))
    assert [line.split(" | ")[1].split()[0] for line in lines[title + 4 : title + 6]] == ["rollout", "rollout"]
    assert not any("places" in line.split(" | ")[2] for line in lines[title + 4 : title + 6])
