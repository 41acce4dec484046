"""Foresight in the files of CLEVRER: names, schema, physics, and no future before the question."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theworld.cli import main as cli
from theworld.datasets.foresight.clevrer import annotation, questions, write_clevrer
from theworld.datasets.foresight.items import make_item
from theworld.datasets.foresight.scene import FRAME_RATE_HZ
from theworld.datasets.video import open_video


def places(frames: list[dict[str, Any]], object_id: int) -> np.ndarray:
    return np.array([frame["objects"][object_id]["location"] for frame in frames])


def test_files_have_the_names_and_numbers_of_clevrer(tmp_path: Path):
    paths = write_clevrer(tmp_path, "validation", 5, 64)

    assert [str(path.relative_to(tmp_path)) for path in (paths[0], paths[1], paths[-1])] == [
        "video_validation/video_10000-11000/video_10000.mp4",
        "annotation_validation/annotation_10000-11000/annotation_10000.json",
        "validation.json",
    ]
    asked = json.loads(paths[-1].read_text())
    assert [entry["scene_index"] for entry in asked] == [10000, 10001, 10002, 10003, 10004]
    assert asked[4]["video_filename"] == "video_10004.mp4"


def test_videos_and_trajectories_end_where_the_question_is_asked(tmp_path: Path):
    paths = write_clevrer(tmp_path, "validation", 5, 64)

    for place, num_given in enumerate((1, 1, 1, 5, 5)):  # drop, topple, roll; collide, hide
        with open_video(paths[2 * place]) as video:
            assert video.num_frames == num_given
        written = json.loads(paths[2 * place + 1].read_text())
        assert [frame["frame_id"] for frame in written["motion_trajectory"]] == list(range(num_given))
        assert [frame["frame_id"] for frame in written["future_trajectory"]] == list(range(num_given, 17))
        assert all(touch["frame_id"] >= num_given for touch in written["future_collision"])


def test_objects_have_the_keys_of_clevrer():
    written = annotation(make_item("validation", 0, "topple"), 10001, "video_10001.mp4")

    assert written["object_property"][0].keys() == {"object_id", "color", "material", "shape"}
    assert {entry["shape"] for entry in written["object_property"]} == {"cube"}
    assert len({entry["color"] for entry in written["object_property"]}) == len(written["object_property"])
    state = written["motion_trajectory"][0]["objects"][0]
    assert state.keys() == {
        "object_id",
        "location",
        "orientation",
        "velocity",
        "angular_velocity",
        "inside_camera_view",
    }
    assert all(len(state[name]) == 3 for name in ("location", "orientation", "velocity", "angular_velocity"))


def test_a_dropped_ball_falls_in_height_and_its_velocity_is_that_of_its_places():
    written = annotation(make_item("validation", 0, "drop"), 10000, "video_10000.mp4")
    whole = written["motion_trajectory"] + written["future_trajectory"]
    path = places(whole, 0)

    assert path[0, 2] > path[-1, 2]
    assert (path[:, 1] == 0).all()
    speed = whole[5]["objects"][0]["velocity"]
    assert speed[2] == pytest.approx((path[6, 2] - path[4, 2]) / 2 * FRAME_RATE_HZ, abs=1e-3)


@pytest.mark.parametrize("index", range(6))
def test_balls_collide_if_and_only_if_the_predictive_answer_is_yes(index: int):
    item = make_item("validation", index, "collide")
    written = annotation(item, 10000 + index, "x.mp4")
    [predictive] = [entry for entry in questions(item) if entry["question_type"] == "predictive"]
    answers = {choice["choice"]: choice["answer"] for choice in predictive["choices"]}

    assert bool(written["future_collision"]) == (answers["yes"] == "correct")
    assert written["collision"] == []
    assert (places(written["motion_trajectory"], 0)[:, 2] == 0).all()  # seen from above


def test_questions_are_descriptive_first_and_one_choice_is_correct():
    asked = questions(make_item("validation", 0, "drop"))

    assert [entry["question_id"] for entry in asked] == list(range(len(asked)))
    assert [entry["question_type"] for entry in asked] == ["descriptive"] * (len(asked) - 1) + ["predictive"]
    assert asked[0]["question"] == "What colour is the ball?"
    assert asked[0]["answer"] == "purple"
    assert asked[-1]["question"] == "In which bin does the ball come to rest?"
    assert [choice["answer"] for choice in asked[-1]["choices"]].count("correct") == 1
    assert {choice["choice"]: choice["answer"] for choice in asked[-1]["choices"]}["red"] == "correct"


def test_the_command_exports_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["foresight", "--export", "clevrer", "--export-dir", str(tmp_path), "--rows", "2", "--task", "drop"]

    assert cli.main([*arguments, "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["num_files"] == 5
    assert len(json.loads((tmp_path / "validation.json").read_text())) == 2


def test_an_odd_size_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="image_size_px=65: expected an even number"):
        write_clevrer(tmp_path, image_size_px=65)
