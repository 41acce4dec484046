"""A hub id goes wherever a folder of a model goes, and a slip is not looked for on the hub."""

from pathlib import Path

import pytest

from fixtures_hub import HubStandIn, hub  # noqa: F401
from theworld import train
from theworld.config import AuditSettings, EvaluationConfig, TrainingConfig, loader
from theworld.config.data import DataSettings
from theworld.config.serving import AppSettings, ServeSettings
from theworld.evaluation.judges.local import LocalJudge
from theworld.evaluation.predictions import read_identity
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.modeling.names import find
from theworld.serving.server import open_model
from theworld.training.metrics import METRICS_NAME

NAME = "some-one/theworld"
DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=2)


@pytest.fixture
def published(hub: HubStandIn, checkpoint: Path) -> HubStandIn:  # noqa: F811
    """The hub, with a saved model on it."""
    hub.repositories[NAME] = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    hub.private[NAME], hub.num_commits = False, 3
    return hub


def test_an_evaluation_takes_it_and_answers_as_from_the_folder(
    published: HubStandIn, checkpoint: Path, tmp_path: Path
) -> None:
    config = EvaluationConfig(
        checkpoint=Path(NAME), output_dir=tmp_path / "hub", arms=("world", "gemma"), answers="loglikelihood", data=DATA
    )
    results = evaluate(config)
    local = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "folder",
        arms=("world", "gemma"),
        answers="loglikelihood",
        data=DATA,
    )
    assert evaluate(local)["arms"] == results["arms"]
    runs = [tmp_path / name / "predictions" / "world.jsonl" for name in ("hub", "folder")]
    assert read_identity(runs[0]).checkpoint == read_identity(runs[1]).checkpoint  # the same weights


def test_an_audit_takes_it(published: HubStandIn, tmp_path: Path) -> None:
    values = audit(AuditSettings(checkpoint=Path(NAME), output_dir=tmp_path, answers="loglikelihood", data=DATA))
    assert "verdict" in values or "line" in values


def test_a_training_run_starts_from_it(published: HubStandIn, tmp_path: Path) -> None:
    flags = ["--output-dir", str(tmp_path / "run"), "--model.checkpoint", NAME, "--num-steps", "1"]
    small = ["--batch-size", "1", "--data.num-train", "1", "--data.image-size-px", "64", "--optim.warmup-steps", "0"]
    rest = ["--num-workers", "0", "--log-to", "none", "--precision", "fp32"]
    result = train(loader.load(TrainingConfig, None, [*flags, *small, *rest]))
    assert (Path(result["model"]) / "config.json").is_file()
    assert (tmp_path / "run" / METRICS_NAME).is_file()


def test_a_judge_a_server_and_the_page_take_it(published: HubStandIn) -> None:
    assert "some" not in LocalJudge(NAME).name  # its base has the name
    for settings in (ServeSettings(model=NAME), AppSettings(model=NAME)):
        assert open_model(settings).config.world_grid == 4


@pytest.mark.parametrize("slip", ["nowhere", "a/b/c", "../up/model", "runs/demo-1", "/no/such/folder"])
def test_a_slip_is_not_looked_for_on_the_hub(
    slip: str,
    hub: HubStandIn,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(FileNotFoundError, match=f"{slip}: no such folder"):
        find(slip)
    with pytest.raises(FileNotFoundError, match=f"{slip}: no such folder"):
        evaluate(EvaluationConfig(checkpoint=Path(slip), output_dir=Path("out"), data=DATA))
    assert not hub.asked
    assert not Path("out").exists()


def test_a_name_that_the_hub_does_not_have_is_refused_in_one_line(hub: HubStandIn, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(OSError, match=r"no-one/nothing: .*no such repository") as caught:
        evaluate(EvaluationConfig(checkpoint=Path("no-one/nothing"), output_dir=tmp_path / "out", data=DATA))
    assert "\n" not in str(caught.value)
