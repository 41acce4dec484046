"""Settings that follow from others: the run behind a checkpoint, and the model for your own data."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from theworld.cli.commands import COMMANDS
from theworld.cli.main import settings_of
from theworld.config import (
    AuditSettings,
    DataSettings,
    EvaluationConfig,
    ForesightData,
    OwnData,
    TrainingConfig,
    loader,
)
from theworld.config.data_base import Shift
from theworld.config.inferred import audit_command, saved_run, with_rule_of

_BY_NAME = {command.name: command for command in COMMANDS}


def settings(line: str) -> Any:
    name, *words = shlex.split(line)
    return settings_of(_BY_NAME[name], words)


def write_run(folder: Path, **values: Any) -> Path:
    """The folder of a run, as far as commands look at it to find its data."""
    (folder / "model").mkdir(parents=True)
    loader.save(TrainingConfig(output_dir=folder, **values), folder / "config.json")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "cups", data=DataSettings(source="my.json", num_validation=30, held_out_share=0.3))


def test_your_own_data_need_neither_a_model_nor_a_folder() -> None:
    config = settings("train --data.source photos/my.json --num-steps 7")

    assert isinstance(config.data, OwnData)
    assert (config.output_dir, config.num_steps) == (Path("runs/my"), 7)
    assert (config.model.gemma_model_name, config.model.world.cosmos_model_name) == ("tiny", "tiny")
    assert (config.model.world.image_size_px, config.model.world_grid) == (64, 4)  # 16 world tokens


def test_a_named_model_keeps_the_defaults_of_a_real_run() -> None:
    named = settings("train --data.source my.json --model.gemma-model-name google/gemma-3-4b-it")
    usual = TrainingConfig(output_dir=Path("runs/my"), data=DataSettings(source="my.json"))

    assert named == usual


@pytest.mark.parametrize("place", ["cups", "cups/model", "cups/best"])
@pytest.mark.parametrize("command", ["evaluate", "audit"])
def test_a_run_its_model_and_its_best_model_know_their_data(run: Path, place: str, command: str) -> None:
    (run / "best").mkdir()

    config = settings(f"{command} {run.parent / place}")

    assert config.data == DataSettings(source="my.json", num_validation=30, held_out_share=0.3)
    assert config.checkpoint == run / ("best" if place == "cups/best" else "model")
    assert config.output_dir == run / {"evaluate": "evaluation", "audit": "audit"}[command]


def test_flags_win_over_the_run(run: Path) -> None:
    some = settings(f"evaluate {run} --data.num-validation 5 --arms world --output-dir other")
    others = settings(f"evaluate {run} --data.source another.json")
    elsewhere = settings(f"audit {run} --data.dataset foresight")

    assert (some.data, some.arms) == (DataSettings(source="my.json", num_validation=5, held_out_share=0.3), ("world",))
    assert some.output_dir == Path("other")
    assert others.data == DataSettings(source="another.json")
    assert elsewhere.data == DataSettings(questions="future")


def test_a_run_on_scenes_is_asked_at_its_picture_size_and_audited_about_the_future(tmp_path: Path) -> None:
    run = write_run(tmp_path / "scenes", data=DataSettings(image_size_px=64, num_validation=9))

    assert settings(f"evaluate --checkpoint {run / 'model'}").data == DataSettings(image_size_px=64, num_validation=9)
    assert settings(f"evaluate {run}").arms is None
    assert settings(f"audit {run}").data == DataSettings(image_size_px=64, num_validation=9, questions="future")


@pytest.mark.parametrize("questions", ["labels", "alignment"])
def test_a_run_on_conversations_is_asked_about_the_future(tmp_path: Path, questions: Any) -> None:
    run = write_run(tmp_path / "labels", data=ForesightData(questions=questions))

    assert settings(f"evaluate {run}").data == DataSettings(questions="future")


def test_a_run_without_a_model_is_refused_with_the_checkpoint_to_name(run: Path) -> None:
    (run / "model").rename(run / "checkpoint-50")

    with pytest.raises(ValueError, match=rf"{run}: a run without model/: .*name {run / 'checkpoint-50'}"):
        settings(f"evaluate {run}")


def test_a_model_without_a_run_is_asked_as_before(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    assert settings(f"evaluate {tmp_path / 'model'}") == EvaluationConfig(
        checkpoint=tmp_path / "model", output_dir=tmp_path / "evaluation"
    )
    assert settings("audit tiny-foresight") == AuditSettings(checkpoint=Path("tiny-foresight"))


def test_the_printed_command_measures_the_same_data(run: Path) -> None:
    data = DataSettings(source="my.json", num_validation=30, held_out_share=0.3)
    other = DataSettings(source="an other.json", keys=("question=q", "answer=a"))

    assert audit_command(run / "model", data) == f"theworld audit {run}"
    moved = DataSettings(questions="future", shift=Shift(camera_px=2.0))
    for given in (other, moved):
        line = audit_command(run / "model", given)
        assert settings(line.removeprefix("theworld ")).data == given
    usual = audit_command(run / "model", DataSettings(num_validation=5))
    assert usual == f"theworld audit {run} --data.dataset foresight --data.num-validation 5"


@pytest.mark.parametrize("flag", ["--data.validation-split shift-seen", "--data.train-split train-seen"])
def test_flags_name_the_splits_that_one_data_set_alone_has(flag: str) -> None:
    data = settings(f"evaluate --checkpoint tiny-foresight --data.scenes varied {flag}").data
    assert flag.rsplit(" ", 1)[1] in (data.validation_split, data.train_split)
    with pytest.raises(ValueError, match="should be 'train', 'validation' or 'test'"):
        settings(f"evaluate --checkpoint tiny-foresight --data.dataset blink {flag}")


def former(path: Path) -> None:
    """Rewrite saved settings as a former version saved them."""
    content = json.loads(path.read_text())
    for name in ("held_out_by", "held_out_share"):
        content["data"].pop(name)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("dataset", ["hf", "llava"])
def test_a_run_of_a_former_version_keeps_the_rows_that_it_held_out(tmp_path: Path, dataset: str) -> None:
    run = write_run(tmp_path / "old", data=DataSettings(dataset=dataset, source="rows"))
    former(run / "config.json")

    assert settings(f"evaluate {run}").data == DataSettings(dataset=dataset, source="rows", held_out_by="id")
    continued = TrainingConfig(output_dir=run, resume=True, data=DataSettings(dataset=dataset, source="rows"))
    assert with_rule_of(continued, saved_run(run / "config.json")).data.held_out_by == "id"


def test_a_share_needs_the_rule_that_has_one() -> None:
    with pytest.raises(ValueError, match=r"held_out_share=0\.1 with held_out_by='id'"):
        DataSettings(dataset="hf", source="rows", held_out_by="id", held_out_share=0.1)


def test_a_flag_belongs_to_the_data_of_the_run_that_is_named(run: Path) -> None:
    assert settings(f"evaluate {run} --data.image-dir photos").data == DataSettings(
        source="my.json", num_validation=30, held_out_share=0.3, image_dir="photos"
    )
    with pytest.raises(ValueError, match=r"^--data\.marks: for dataset .*, not 'own'$"):
        settings(f"evaluate {run} --data.marks boxes")


@pytest.mark.parametrize(
    ("source", "folder"),
    [("foresight", "foresight"), ("films/cups.mp4", "cups"), ("films", "films"), ("films/", "films")],
)
def test_each_source_of_surprise_has_a_folder_of_its_own(source: str, folder: str) -> None:
    assert settings(f"surprise {source}").output_dir == Path("surprise") / folder
    assert settings(f"surprise {source} --output-dir out").output_dir == Path("out")
