"""Former words of settings still work, and one line names the word of today."""

import json
import logging
from pathlib import Path

import pytest

from theworld.config import (
    AuditSettings,
    DataSettings,
    EvaluationConfig,
    ForesightData,
    TrainingConfig,
    loader,
    renamed,
)
from theworld.config.arm_settings import ArmsSettings
from theworld.config.evaluation import BlinkScoreSettings
from theworld.config.training import SlurmSettings
from theworld.datasets.foresight import ForesightDataset

LORA = Path(__file__).parents[3] / "configs" / "foresight" / "arms-lora.yaml"


@pytest.fixture(autouse=True)
def _unannounced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "_announced", set())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("setting", ["answers", "questions"])
def test_every_former_value_is_answered_by_the_value_of_today(setting: str, caplog: pytest.LogCaptureFixture):
    for old, new in renamed.VALUES[setting].items():
        assert renamed.current_word(setting, old) == new
        assert renamed.former_word(setting, new) == old
        assert f"{setting}={old!r} is now {new!r}" in lines(caplog)[-1]
    assert renamed.current_word(setting, "both") == renamed.former_word(setting, "both") == "both"


@pytest.mark.parametrize("form", [["--data.questions", "dynamic"], ["--data.questions=dynamic"]])
def test_a_former_value_on_the_command_line_works(form: list[str], caplog: pytest.LogCaptureFixture):
    flags = ["--checkpoint", "model", "--output-dir", "out", "--answers", "weighed", *form]
    config = loader.load(EvaluationConfig, None, flags)
    assert isinstance(config.data, ForesightData)
    assert (config.answers, config.data.questions) == ("loglikelihood", "future")
    assert len(lines(caplog)) == 2


def test_a_former_value_in_a_file_or_a_program_works(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"num_steps": 3, "output_dir": "out", "data": {"questions": "readings"}}))
    data = loader.load(TrainingConfig, path).data
    assert isinstance(data, ForesightData)
    assert data.questions == "alignment"
    assert DataSettings(questions="static") == DataSettings(questions="present")
    assert AuditSettings(checkpoint=Path("model"), answers="written").answers == "generate"  # pyright: ignore[reportArgumentType]
    assert len(lines(caplog)) == 3


def test_a_former_value_is_announced_once(caplog: pytest.LogCaptureFixture):
    for _ in range(3):
        DataSettings(questions="dynamic")
    assert len(lines(caplog)) == 1


def test_the_former_name_of_the_numbers_of_labels_works(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "arms.yaml"
    path.write_text(LORA.read_text().replace("num_labels:", "budgets:"))
    assert loader.load(ArmsSettings, path).num_labels == (0, 100)
    assert loader.load(ArmsSettings, path, ["--budgets", "3", "4"]).num_labels == (3, 4)
    assert lines(caplog)[0].startswith("budgets is now num_labels")
    assert len(lines(caplog)) == 1  # the flag and the name are one setting


def test_a_data_set_takes_former_words_and_keeps_its_samples():
    former = ForesightDataset("test", 6, 32, "dynamic")  # pyright: ignore[reportArgumentType]
    assert [former[index].id for index in range(6)] == [
        sample.id for sample in map(ForesightDataset("test", 6, 32, "future").__getitem__, range(6))
    ]


def test_a_word_that_was_never_one_is_refused():
    with pytest.raises(ValueError, match="'future', 'present', 'both', 'labels', 'alignment', "):
        DataSettings(questions="later")
    with pytest.raises(loader.SettingsError, match="answers"):
        loader.load(EvaluationConfig, None, ["--checkpoint", "m", "--output-dir", "o", "--answers", "spoken"])


def test_a_word_of_another_setting_of_the_same_name_stays(caplog: pytest.LogCaptureFixture):
    flags = ["--answers", "weighed", "--predictions", "."]
    assert loader.load(BlinkScoreSettings, None, flags).answers == Path("weighed")
    slurm = ["configs/foresight-tiny.json", "--", "--answers", "weighed"]
    assert loader.load(SlurmSettings, None, slurm, positional=True).overrides[-1] == "weighed"
    assert lines(caplog) == []


def test_a_former_name_is_none_of_a_command_without_the_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"num_steps": 3, "output_dir": "out", "budgets": [0]}))
    with pytest.raises(loader.SettingsError, match="budgets: unknown setting"):
        loader.load(TrainingConfig, path)
    assert lines(caplog) == []


def test_a_setting_under_both_of_its_names_is_refused(tmp_path: Path):
    path = tmp_path / "arms.yaml"
    path.write_text(LORA.read_text() + "budgets: [0]\n")
    with pytest.raises(loader.SettingsError, match=r"arms\.yaml: budgets is now num_labels, and the file has both"):
        loader.load(ArmsSettings, path)


def test_hashes_are_made_of_former_names():
    assert renamed.with_former_names({"num_labels": [0], "seeds": [1]}) == {"budgets": [0], "seeds": [1]}
