"""Data sets of one's own: registered by name, or given to train and evaluate by a program."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from theworld import evaluate, train
from theworld.cli import main as cli
from theworld.config import (
    DataSettings,
    EvaluationConfig,
    ForesightData,
    MixturePart,
    RegisteredData,
    TrainingConfig,
    ValidationSettings,
    loader,
)
from theworld.config.registered import REGISTERED_DATA
from theworld.datasets import TheWorldDataset, custom, register_dataset
from theworld.datasets.factory import open_samples

MakeConfig = Callable[..., TrainingConfig]
COLOURS = ("red", "green")


def records(number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"item-{index}",
            "image": Image.new("RGB", (64, 64), COLOURS[index % 2]),
            "text": "Which colour?",
            "label": COLOURS[index % 2],
        }
        for index in range(number)
    ]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The data set "discs" with 12 and 6 samples, in a registry of the test's own; the sizes may be changed."""
    monkeypatch.setattr(custom, "_OPENERS", {})
    REGISTERED_DATA.clear()
    sizes = {"train": 12, "validation": 6}

    @register_dataset("discs", identity=lambda settings: sizes)
    def discs(settings: RegisteredData, split: str) -> TheWorldDataset | None:
        return TheWorldDataset(records(sizes[split])) if split in sizes else None

    yield sizes
    REGISTERED_DATA.clear()


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_samples_of_a_program_train_validate_and_continue_like_any_other(make_config: MakeConfig) -> None:
    samples, held_out = TheWorldDataset(records(8)), TheWorldDataset(records(4))
    config = make_config(validation=ValidationSettings(eval_steps=2), data=DataSettings())

    train(config, samples=samples, validation=held_out)

    run = config.output_dir
    saved = json.loads((run / "config.json").read_text())["data"]
    assert (saved["dataset"], saved["name"]) == ("registered", "TheWorldDataset")
    rows = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    assert [row["sets"]["TheWorldDataset"]["num_items"] for row in rows] == [4, 4]
    unbroken = losses(run)
    shutil.rmtree(run / "checkpoint-4")
    train(replace(config, resume=True), samples=samples, validation=held_out)
    assert losses(run) == unbroken
    with pytest.raises(ValueError, match="data set 'TheWorldDataset' is another one than before"):
        train(replace(config, resume=True), samples=TheWorldDataset(records(10)), validation=held_out)


def test_a_list_of_records_trains_with_workers_a_store_and_epochs(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(num_steps=None, num_epochs=1, num_workers=2, store_dir=tmp_path / "store", data=DataSettings())

    result = train(config, samples=records(8))

    assert result["step"] == 2
    assert (tmp_path / "store").is_dir()


def test_questions_of_a_program_are_evaluated_and_others_are_refused_in_the_same_folder(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    model = train(make_config(num_steps=1), samples=records(4))["model"]
    config = EvaluationConfig(checkpoint=Path(model), output_dir=tmp_path / "ev", arms=("world", "majority"))

    results = evaluate(config, samples=records(4))

    assert results["arms"]["world"]["num_items"] == 4
    with pytest.raises(ValueError, match="belongs to another run"):
        evaluate(config, samples=TheWorldDataset(records(5)))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (datasets.Dataset.from_list([{"q": "?"}]), "name its columns with HFDatasetWrapper"),
        (iter(()), "given .*iterator; expected Samples"),
        (("a", "b"), "the first item is of type str; expected theworld.datasets.Sample"),
    ],
)
def test_what_are_no_samples_is_refused_in_one_line(make_config: MakeConfig, samples: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        train(make_config(), samples=samples)

    assert "\n" not in str(refused.value)


def test_two_kinds_of_training_data_and_validation_alone_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=r"samples= and config\.mixture"):
        train(make_config(mixture=(MixturePart(data=DataSettings()),)), samples=records(4))
    with pytest.raises(ValueError, match="validation= without samples="):
        train(make_config(), validation=records(4))


def test_a_registered_data_set_serves_every_command(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(data=RegisteredData(name="discs", num_train=8), store_dir=tmp_path / "store")
    loader.save(config, tmp_path / "run.json")
    questions = ["--data.dataset", "registered", "--data.name", "discs"]
    report = ["--page", str(tmp_path / "page.html"), "--num-read", "4", "--num-shown", "2"]

    for line in (
        ["data", "preview", str(tmp_path / "run.json"), *report],
        ["plan", str(tmp_path / "run.json"), "--peak-tflops", "1"],
        ["cache", "fill", str(tmp_path / "run.json")],
        ["train", str(tmp_path / "run.json")],
        ["evaluate", "--checkpoint", str(tmp_path / "run/model"), "--output-dir", str(tmp_path / "ev"), *questions],
        ["audit", str(tmp_path / "run/model"), "--output-dir", str(tmp_path / "audit"), *questions],
    ):
        assert cli.main(line) == cli.OK, line
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (saved["name"], saved["fingerprint"]) == ("discs", RegisteredData(name="discs").fingerprint)


def test_a_run_whose_data_set_is_not_registered_is_refused_in_one_line(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loader.save(make_config(data=RegisteredData(name="discs")), tmp_path / "run.json")
    REGISTERED_DATA.clear()

    assert cli.main(["train", str(tmp_path / "run.json")]) == cli.REFUSED

    (line,) = capsys.readouterr().err.splitlines()
    assert "run.json: data.name: no data set 'discs' is registered; import the module that registers it" in line


def test_a_saved_run_is_refused_once_its_data_set_has_another_identity(
    make_config: MakeConfig, tmp_path: Path, registered: dict[str, int]
) -> None:
    loader.save(make_config(data=RegisteredData(name="discs")), tmp_path / "run.json")
    registered["train"] = 13

    with pytest.raises(loader.SettingsError, match=r"run\.json: data: data set 'discs' is another one than before"):
        loader.load(TrainingConfig, tmp_path / "run.json")


def test_a_number_of_samples_and_an_absent_split_hold_for_data_of_ones_own() -> None:
    data = RegisteredData(name="discs")

    first = open_samples(data, "train", 3)

    assert [sample.id for sample in (first[index] for index in range(len(first)))] == ["item-0", "item-1", "item-2"]
    assert len(open_samples(data, "train", None)) == len(open_samples(data, "train", 99)) == 12
    with pytest.raises(ValueError, match="data set 'discs' has no split 'test'"):
        open_samples(data, "test", None)


def test_a_name_stands_for_one_function_which_may_be_registered_again() -> None:
    opener = custom._OPENERS["discs"]
    register_dataset("discs")(opener)

    with pytest.raises(ValueError, match=r"'discs' is already the name of .*discs: choose another"):
        register_dataset("discs")(lambda settings, split: None)


def test_hashes_of_other_data_sets_know_nothing_of_those_of_ones_own() -> None:
    assert {"name", "fingerprint"}.isdisjoint(ForesightData().with_idle())
    assert RegisteredData(name="discs").with_idle()["name"] == "discs"
