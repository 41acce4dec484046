"""The data set serves samples, clips and Hugging Face rows, and keeps outcomes from who must not see them."""

import pickle

import numpy as np
import pytest
from PIL import Image

from theworld.foresight import ForesightDataset, clip, make_item, to_hf_dataset


def test_a_dynamic_sample_is_one_picture_one_question_and_one_answer():
    sample = ForesightDataset("train", 3)[1]
    item = make_item("train", 1)
    assert sample.id == "drop-train-1-end"
    assert [turn.role for turn in sample.turns] == ["user", "assistant"]
    assert sample.answer == item.scene.bins[item.end]
    assert (len(sample.images), sample.clips, sample.future) == (1, None, None)
    assert isinstance(sample.images[0], Image.Image)
    assert sample.images[0].size == (64, 64)
    assert dict(sample.fields) == {
        "task": "drop",
        "kind": "end",
        "choices": tuple(sorted(item.scene.bins)),
        "answer_place": ("left", "middle", "right")[item.end],
        "straight_down": item.scene.bins[item.start],
        "downhill": sample.fields["downhill"],
        "split": "train",
        "index": 1,
    }
    assert sample.fields["downhill"] in item.scene.bins


@pytest.mark.parametrize(("questions", "per_scene"), [("dynamic", 1), ("static", 7), ("both", 8)])
def test_all_questions_of_a_scene_follow_each_other(questions, per_scene):
    samples = ForesightDataset("validation", 2, questions=questions)
    assert len(samples) == 2 * per_scene
    assert [sample.fields["index"] for sample in samples] == [0] * per_scene + [1] * per_scene
    assert len({sample.id for sample in samples}) == len(samples)


def test_the_future_is_the_sixteen_frames_after_the_picture():
    sample = ForesightDataset("test", 1, image_size_px=32, with_future=True)[0]
    assert sample.future is not None
    frames = clip("test", 0, image_size_px=32)
    assert frames.shape == (17, 32, 32, 3)
    np.testing.assert_array_equal(np.asarray(sample.images[0]), frames[0])
    np.testing.assert_array_equal(sample.future[0], frames[1:])


def test_static_fields_tell_no_outcome():
    for sample in ForesightDataset("language", 1, questions="static"):
        assert sample.fields["straight_down"] is None
        assert sample.fields["downhill"] is None
        assert sample.future is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"split": "language", "questions": "dynamic"}, "serves static questions, not 'dynamic'"),
        ({"split": "language", "questions": "both"}, "must not see outcomes"),
        ({"split": "language", "questions": "static", "with_future": True}, "shows no future"),
        ({"split": "world", "questions": "static"}, "serves no questions"),
        ({"split": "dev"}, "expected one of"),
        ({"split": "train", "questions": "all"}, "expected one of"),
        ({"split": "train", "size": -1}, "size=-1"),
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


def test_the_world_split_serves_clips():
    assert clip("world", 0, image_size_px=16).shape == (17, 16, 16, 3)


def test_hugging_face_rows_hold_the_same_pictures_questions_and_answers():
    samples = ForesightDataset("validation", 2, questions="both")
    table = to_hf_dataset(samples)
    assert len(table) == 16
    assert table.column_names[:4] == ["id", "image", "question", "answer"]
    row, sample = table[8], samples[8]
    assert (row["id"], row["question"], row["answer"]) == (sample.id, sample.turns[0].text, sample.answer)
    assert (row["index"], row["choices"]) == (1, list(sample.fields["choices"]))
    assert isinstance(sample.images[0], Image.Image)
    assert row["image"].tobytes() == sample.images[0].tobytes()


def test_an_empty_data_set_has_no_samples_but_all_columns():
    table = to_hf_dataset(ForesightDataset("train", 0))
    assert len(table) == 0
    assert "straight_down" in table.column_names


def test_samples_survive_pickling_as_workers_need():
    samples = pickle.loads(pickle.dumps(ForesightDataset("train", 2)))
    assert samples[1].turns == ForesightDataset("train", 2)[1].turns
