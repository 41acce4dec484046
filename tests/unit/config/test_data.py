"""Settings of the data sets: each has its own fields, and refuses those of the others."""

import copy
import dataclasses
import json
import pickle
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from theworld.config import BlinkData, DataSettings, ForesightData, LlavaData, TrainingConfig, VideoData, VsrData
from theworld.config.data_base import Shift
from theworld.config.flags import flags, show_help
from theworld.config.loader import SettingsError, load, save
from theworld.evaluation.run_identity import settings_hash

LATER = {
    *("dataset", "name", "fingerprint", "scenes", "wordings"),
    *("option_order", "num_option_orders", "num_video_frames", "video_dir"),
}
"""Fields that flat files of former versions do not have."""

FLAT: dict[str, Any] = {
    "source": None,
    "revision": None,
    "config_name": None,
    "image_column": "image",
    "question_column": "question",
    "answer_column": "answer",
    "conversation_column": None,
    "id_column": None,
    "subsets": [],
    "image_dir": None,
    "index_dir": None,
    "marks": "boxes",
    "questions": "both",
    "tasks": ["drop", "topple", "roll", "collide", "hide"],
    "form": "open",
    "image_size_px": 896,
    "images": "current",
    "drawn_dir": None,
    "min_clip_score": None,
    "min_side_px": None,
    "verify_sha256": False,
    "train_split": "train",
    "num_train": None,
    "validation_split": "validation",
    "num_validation": None,
}
"""Defaults as former versions saved them: the fields of every data set."""


def loaded(path: Path, data: Any, *overrides: str) -> DataSettings:
    path.write_text(json.dumps({"output_dir": "run", "data": data}))
    return load(TrainingConfig, path, overrides).data


def refusal(path: Path, data: Any, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(path, data, *overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def test_the_name_of_a_data_set_selects_its_class():
    llava = DataSettings(dataset="llava", source="chat.json")

    assert llava == LlavaData(source="chat.json")
    assert type(DataSettings()) is ForesightData
    assert all(isinstance(kind, type) and issubclass(kind, DataSettings) for kind in DataSettings.variants().values())
    assert replace(llava, num_train=3) == LlavaData(source="chat.json", num_train=3)
    assert copy.deepcopy(llava) == llava == pickle.loads(pickle.dumps(llava))


def test_a_name_of_no_data_set_is_refused(path: Path):
    with pytest.raises(
        ValueError, match=r"dataset='llav': expected 'foresight', 'blink', .*'own', 'video' or 'registered'"
    ):
        DataSettings(dataset="llav")
    said = refusal(path, {"dataset": "llav"})
    assert said.startswith("run.json: data.dataset: given \"llav\"; should be 'foresight', 'blink', ")
    assert said.endswith("; did you mean llava?")
    assert "data.dataset: given null" in refusal(path, {"dataset": None})


def test_a_program_may_not_give_a_field_of_another_data_set_even_at_its_default():
    with pytest.raises(ValueError, match="marks is for dataset 'spatial-rgpt' or 'open-spatial', not 'llava'"):
        LlavaData(source="chat.json", marks="boxes")  # pyright: ignore[reportCallIssue]


def test_a_file_may_hold_fields_of_other_data_sets_at_their_defaults(path: Path):
    vsr = FLAT | {"dataset": "vsr", "image_dir": "coco", "subsets": ["random"], "num_validation": 5}

    assert loaded(path, vsr) == VsrData(image_dir=Path("coco"), subsets=("random",), num_validation=5)
    assert loaded(path, FLAT | {"dataset": "foresight"}) == ForesightData()
    assert loaded(path, FLAT) == ForesightData()
    assert "data: marks is for dataset 'spatial-rgpt' or 'open-spatial', not 'vsr'" in refusal(
        path, vsr | {"marks": "masks"}
    )


def test_flags_and_a_file_meet_in_one_data_set(path: Path):
    blink = {"dataset": "blink", "subsets": ["Jigsaw"]}

    assert loaded(path, blink, "--data.subsets", "Counting", "Jigsaw") == BlinkData(subsets=("Counting", "Jigsaw"))
    assert loaded(path, {"num_train": 4}, "--data.dataset", "blink") == BlinkData(num_train=4)
    said = refusal(path, blink, "--data.dataset", "llava", "--data.source", "chat.json")
    assert said == "run.json: data: subsets is for dataset 'blink', 'vsr', 'mvp' or 'intphys2', not 'llava'"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dataset": "llava"}, "data.source: missing; give --data.source"),
        (
            {"dataset": "llava", "source": "x", "indexdir": "y"},
            "data.indexdir: unknown setting; did you mean data.inde",
        ),
        ({"dataset": "vsr", "image_dir": 3}, "data.image_dir: given 3; "),
        ({"tasks": ["drop", "dro"]}, "data.tasks.1: given \"dro\"; should be 'drop', 'topple', 'roll', 'collide' or"),
        (3, "data: given 3; should be settings by name"),
    ],
)
def test_a_fault_is_one_line_that_names_the_setting(data: Any, message: str, path: Path):
    said = refusal(path, data)
    assert said.startswith(f"run.json: {message}")
    assert "\n" not in said


def test_parts_of_a_list_are_checked_as_well(path: Path):
    path.write_text(json.dumps({"output_dir": "run", "mixture": [{"data": {"dataset": "blink", "form": "choice"}}]}))
    with pytest.raises(SettingsError, match=r"mixture\.0.data: form is for dataset 'foresight', not 'blink'"):
        load(TrainingConfig, path)


def test_saved_settings_hold_the_fields_of_their_data_set_alone(path: Path):
    config = TrainingConfig(output_dir=Path("run"), data=LlavaData(source="chat.json"))
    save(config, path)

    assert load(TrainingConfig, path) == config
    assert set(json.loads(path.read_text())["data"]) == {entry.name for entry in fields(LlavaData)}
    assert TypeAdapter(DataSettings).validate_json(json.dumps(asdict(config.data))) == config.data


def test_the_help_names_the_data_sets_that_a_setting_is_for(capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    monkeypatch.setenv("COLUMNS", "110")
    show_help(TrainingConfig, "program", "Train.")
    said = " ".join(re.sub("[│|]", "", capsys.readouterr().out).split())

    assert "[spatial-rgpt, open-spatial] Marks of regions in the pictures. (default: boxes)" in said
    assert "[blink] Tasks out of 14; none named: all. [vsr] `random` or" in said
    assert "[sat] Order of the options" in said or "sat, mvp] Order of the options" in said
    assert "Split to train on. (default: train)" in said
    of_videos = {entry.name for entry in fields(VideoData)}
    of_shifts = {f"shift.{entry.name}" for entry in fields(Shift)}
    assert set(FLAT) | LATER | of_videos | of_shifts | set(DataSettings.ADDED) - {"shift"} == {
        flag.removeprefix("--data.").replace("-", "_")
        for flag in flags(TrainingConfig)
        if flag.startswith("--data.") and not flag.startswith("--data.no-")
    }


@pytest.mark.parametrize(
    ("data", "digits"),
    [
        (
            ForesightData(questions="future", tasks=("drop",), image_size_px=64, num_validation=12),
            "65f661e4ad19aaa3",
        ),
        (VsrData(source="s", image_dir=Path("pictures")), "d4d3cbaf9498d1b3"),
    ],
)
def test_predictions_of_former_versions_are_still_known(data: DataSettings, digits: str):
    assert settings_hash([data, 16, "written", "world", 4]) == digits


def test_predictions_about_varied_scenes_are_others():
    plain = ForesightData(questions="future", tasks=("drop",), image_size_px=64, num_validation=12)
    others = [
        dataclasses.replace(plain, scenes="varied"),
        dataclasses.replace(plain, scenes="varied", wordings="held-out"),
    ]
    assert len({settings_hash([data]) for data in (plain, *others)}) == 3


def test_splits_and_wordings_of_varied_scenes_need_them():
    assert ForesightData(scenes="varied", validation_split="shift-seen", wordings="held-out").scenes == "varied"
    with pytest.raises(ValueError, match="validation_split='composition' needs scenes='varied'"):
        ForesightData(validation_split="composition")
    with pytest.raises(ValueError, match="train_split='train-seen' needs scenes='varied'"):
        ForesightData(train_split="train-seen")
    with pytest.raises(ValueError, match="train_split='shift-seen': nothing may train on a test split"):
        ForesightData(scenes="varied", train_split="shift-seen")
    with pytest.raises(ValueError, match="wordings='held-out' needs scenes='varied'"):
        ForesightData(wordings="held-out")
