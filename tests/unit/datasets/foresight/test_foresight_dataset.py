"""The data set serves samples, clips and Hugging Face rows, and keeps outcomes from who must not see them."""

import json
import pickle
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from theworld.config import DataSettings, ForesightData
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight import ForesightDataset, clip, dynamic_question, make_item, to_hf_dataset, world_clip
from theworld.datasets.foresight.dataset import Form
from theworld.datasets.foresight.ground_truth import STATIC_KINDS
from theworld.datasets.foresight.scene import TASKS
from theworld.datasets.samplers import batches


def test_a_sample_of_a_picture_task_is_one_picture_one_question_and_one_answer():
    sample = ForesightDataset("train", 3, tasks=("drop",))[1]
    item = make_item("train", 1)
    assert sample.id == "drop-train-1-end"
    assert [turn.role for turn in sample.turns] == ["user", "assistant"]
    assert sample.answer == item.scene.bins[item.outcome]
    assert (len(sample.images), sample.clips, sample.future, sample.num_world_steps) == (1, None, None, 4)
    assert isinstance(sample.images[0], Image.Image)
    assert sample.images[0].size == (64, 64)
    rules = sample.fields["rules"]
    assert dict(sample.fields) == {
        "task": "drop",
        "kind": "end",
        "choices": tuple(sorted(item.scene.bins)),
        "answer_place": ("left", "middle", "right")[item.outcome],
        "rules": {"straight_down": item.scene.bins[int(item.scene.ball.x * 3)], "downhill": rules["downhill"]},
        "split": "train",
        "index": 1,
    }
    assert rules["downhill"] in item.scene.bins


@pytest.mark.parametrize("task", ["collide", "hide"])
def test_a_sample_of_a_clip_task_has_the_last_given_frame_as_picture_and_five_frames_as_clip(task):
    sample = ForesightDataset("test", 1, 32, tasks=(task,), with_future=True)[0]
    frames = clip("test", 0, 32, task)
    assert sample.num_world_steps == 3
    np.testing.assert_array_equal(sample.clips[0], frames[:5])
    np.testing.assert_array_equal(np.asarray(sample.images[0]), frames[4])
    np.testing.assert_array_equal(sample.future[0], frames[5:])


def test_scenes_of_several_tasks_take_turns():
    samples = ForesightDataset("validation", 7)
    assert [sample.fields["task"] for sample in (samples[index] for index in range(7))] == [*TASKS, "drop", "topple"]
    assert [samples[index].fields["index"] for index in (0, 4, 5)] == [0, 0, 1]


@pytest.mark.parametrize(("questions", "own"), [("future", 1), ("present", 0), ("both", 1)])
def test_all_questions_of_a_scene_follow_each_other(questions, own):
    samples = ForesightDataset("validation", 7, 16, questions=questions)
    per_task = [own + (len(STATIC_KINDS[task]) if questions != "future" else 0) for task in TASKS]
    expected = [(task, 0) for task, num in zip(TASKS, per_task, strict=True) for _ in range(num)]
    expected += [(task, 1) for task, num in zip(TASKS[:2], per_task, strict=False) for _ in range(num)]
    found = [samples[index] for index in range(len(samples))]
    assert [(sample.fields["task"], sample.fields["index"]) for sample in found] == expected
    assert len({sample.id for sample in found}) == len(found)


def test_shapes_are_known_without_drawing():
    samples = ForesightDataset("test", 5, 16, questions="both")
    found = [samples[index] for index in range(len(samples))]
    assert [samples.shape_of(index) for index in range(len(samples))] == [sample.shape for sample in found]
    assert all(len({sample.shape for sample in batch}) == 1 for batch in batches(found, 4))


def test_the_future_is_the_sixteen_frames_after_the_picture():
    sample = ForesightDataset("test", 1, image_size_px=32, with_future=True)[0]
    assert sample.future is not None
    frames = clip("test", 0, image_size_px=32)
    assert frames.shape == (17, 32, 32, 3)
    np.testing.assert_array_equal(np.asarray(sample.images[0]), frames[0])
    np.testing.assert_array_equal(sample.future[0], frames[1:])


def test_the_form_choice_asks_the_same_for_a_letter():
    open_form, choice = (ForesightDataset("test", 5, 16, questions="both", form=form) for form in ("open", "choice"))
    for index in range(len(choice)):
        asked, lettered = open_form[index], choice[index]
        assert lettered.id == asked.id
        assert lettered.answer in lettered.fields["choices"] == tuple("ABCDEF"[: len(asked.fields["choices"])])
        assert f"({lettered.answer}) {asked.answer}" in lettered.turns[0].text


@pytest.mark.usefixtures("unchecked")
def test_the_language_side_is_asked_nothing_about_the_future():
    samples = ForesightDataset("language", 5, 16, questions="present")
    for sample in (samples[index] for index in range(len(samples))):
        task, index = sample.fields["task"], sample.fields["index"]
        assert sample.fields["kind"] in STATIC_KINDS[task]
        assert sample.fields["rules"] is None
        assert sample.future is None
        assert sample.turns[0].text != dynamic_question(make_item("language", index, task)).text
        assert sample.clips is None or len(sample.clips[0]) == 5


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"split": "language", "questions": "future"}, "serves present questions, not 'future'"),
        ({"split": "language", "questions": "both"}, "must not see outcomes"),
        ({"split": "language", "questions": "present", "with_future": True}, "shows no future"),
        ({"split": "world", "questions": "present"}, "serves no questions"),
        ({"split": "dev"}, "expected one of"),
        ({"split": "train", "questions": "all"}, "expected one of"),
        ({"split": "train", "size": -1}, "size=-1"),
        ({"split": "train", "tasks": ()}, r"tasks=\(\): expected some of"),
        ({"split": "train", "tasks": ("drop", "fly")}, "expected some of"),
        ({"split": "train", "tasks": ("drop", "drop")}, "each once"),
        ({"split": "train", "form": "essay"}, "form='essay': expected one of"),
    ],
)
def test_a_split_serves_only_what_it_may(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        ForesightDataset(**{"size": 1} | arguments)


def test_an_index_past_the_end_is_an_index_error():
    samples = ForesightDataset("train", 2)
    with pytest.raises(IndexError, match="sample 2 of 2"):
        samples[2]
    with pytest.raises(IndexError):
        samples[-1]


def test_the_world_model_is_served_clips_of_all_tasks_in_turn():
    clips = [world_clip(index, image_size_px=16) for index in range(5)]
    assert {frames.shape for frames in clips} == {(17, 16, 16, 3)}
    assert len({frames.tobytes() for frames in clips}) == 5
    np.testing.assert_array_equal(world_clip(0, 16), clips[0])


def test_hugging_face_rows_hold_the_same_pictures_questions_and_answers():
    samples = ForesightDataset("validation", 2, questions="both")
    table = to_hf_dataset(samples)
    assert len(table) == 14
    assert table.column_names[:4] == ["id", "image", "question", "answer"]
    for index in (0, 8, 9):
        row, sample = table[index], samples[index]
        assert (row["id"], row["question"], row["answer"]) == (sample.id, sample.turns[0].text, sample.answer)
        assert (row["task"], row["choices"]) == (sample.fields["task"], list(sample.fields["choices"]))
        assert row["image"].tobytes() == sample.images[0].tobytes()
    assert json.loads(table[8]["rules"]) == samples[8].fields["rules"]
    assert table[9]["rules"] is None


def test_an_empty_data_set_has_no_samples_but_all_columns():
    table = to_hf_dataset(ForesightDataset("train", 0))
    assert len(table) == 0
    assert "rules" in table.column_names


def test_samples_survive_pickling_as_workers_need():
    samples = pickle.loads(pickle.dumps(ForesightDataset("validation", 2)))
    assert samples[1].turns == ForesightDataset("validation", 2)[1].turns


def test_settings_choose_tasks_and_form():
    settings = DataSettings(questions="future", image_size_px=16, tasks=("hide", "roll"), form="choice")
    samples = open_samples(settings, "validation", 2)
    assert [samples[index].fields["task"] for index in range(2)] == ["hide", "roll"]
    assert samples[0].answer in ("A", "B", "C")
    assert set(get_args(get_type_hints(ForesightData)["form"])) == set(get_args(Form))


def test_settings_refuse_a_task_twice():
    with pytest.raises(ValueError, match="names a task twice"):
        DataSettings(tasks=("drop", "drop"))
