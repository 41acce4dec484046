"""Any vision-language model of transformers is a baseline: asked in batches, with its own processor."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures_baselines import BASELINES, baseline_folder  # noqa: F401
from fixtures_hub import HubStandIn, hub  # noqa: F401
from fixtures_model import picture
from theworld.cli.main import REFUSED, main
from theworld.config import AuditSettings, EvaluationConfig
from theworld.config import loader as settings_file
from theworld.config.data import DataSettings
from theworld.datasets.sample import Sample, question
from theworld.evaluation.baselines import Baseline, BaselineAnswerer
from theworld.evaluation.predictions import read_identity
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.modeling.names import kind_of
from theworld.report.folder import read_run

Folder = Callable[[str], Path]
DATA = DataSettings(questions="present", image_size_px=64, tasks=("drop",), num_validation=1)


def samples() -> list[Sample]:
    """One picture, several, none; questions of unequal lengths."""
    choices = {"fields": {"choices": ("red", "blue", "two words")}}
    return [
        question("one", [picture(1)], "Which bin?", "red", **choices),
        question(
            "several", [picture(2), picture(3, 48, 64)], "Which of them is nearer to the wall?", "blue", **choices
        ),
        question("none", [], "Which colour has the sky?", "blue", **choices),
        question("longer", [picture(4)], "In which of the bins does the ball come to rest?", "two words", **choices),
    ]


def loaded(folder: Path) -> Baseline:
    return Baseline(str(folder), kind_of(str(folder)), "float32")


@pytest.mark.parametrize("family", BASELINES)
def test_a_batch_is_answered_as_each_sample_alone(baseline_folder: Folder, family: str) -> None:  # noqa: F811
    answerer = BaselineAnswerer(loaded(baseline_folder(family)), max_new_tokens=6)
    together = answerer(samples())
    assert [row.error for row in together] == [None] * 4
    assert [row.prediction for row in together] == [answerer([sample])[0].prediction for sample in samples()]
    assert len({row.prediction for row in together}) == 4
    other = answerer([replace(samples()[0], images=(picture(9),))])[0]
    assert other.prediction != together[0].prediction  # it sees the picture


@pytest.mark.parametrize("family", BASELINES)
def test_choices_are_weighed_alike_in_a_batch_and_alone(baseline_folder: Folder, family: str) -> None:  # noqa: F811
    answerer = BaselineAnswerer(loaded(baseline_folder(family)), score_choices=True)
    together = answerer(samples())
    for row, sample in zip(together, samples(), strict=True):
        alone = answerer([sample])[0].log_likelihoods
        assert row.log_likelihoods is not None
        assert alone is not None
        assert row.log_likelihoods == pytest.approx(alone, abs=1e-3)
        assert len({round(value, 2) for value in row.log_likelihoods.values()}) == 3


def test_it_stands_in_tables_under_its_name_beside_blind_and_majority(
    baseline_folder: Folder,  # noqa: F811
    tmp_path: Path,
) -> None:
    config = EvaluationConfig(
        checkpoint=baseline_folder("idefics3"), output_dir=tmp_path, arms=("blind", "majority"), data=DATA
    )
    results = evaluate(config)
    assert list(results["arms"]) == ["idefics3", "blind", "majority"]
    identity = read_identity(tmp_path / "predictions" / "idefics3.jsonl")
    assert identity.tap_fingerprint is None
    assert evaluate(config)["arms"] == results["arms"]  # continues


def test_a_repository_of_the_hub_is_an_arm_by_its_id(
    hub: HubStandIn,  # noqa: F811
    baseline_folder: Folder,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = baseline_folder("llava-onevision")
    hub.repositories["some-one/llava"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.private["some-one/llava"] = False
    hub.num_commits = 3
    results = evaluate(EvaluationConfig(checkpoint=Path("some-one/llava"), output_dir=tmp_path, data=DATA))
    assert list(results["arms"]) == ["some-one/llava"]
    path = tmp_path / "predictions" / "some-one--llava.jsonl"
    assert read_identity(path).checkpoint == f"some-one/llava {hub.commit}"
    assert list(read_run(tmp_path).predictions) == ["some-one/llava"]


def test_a_refused_run_leaves_the_settings_of_the_earlier_one(
    baseline_folder: Folder,  # noqa: F811
    tmp_path: Path,
) -> None:
    config = EvaluationConfig(checkpoint=baseline_folder("idefics3"), output_dir=tmp_path, data=DATA)
    evaluate(config)
    with pytest.raises(ValueError, match=r"jsonl belongs to another run \(settings_hash: .*remove .*jsonl and "):
        evaluate(replace(config, max_new_tokens=7))
    assert settings_file.load(EvaluationConfig, tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arms", "world"], "the arms blind and majority may go with it, not world"),
        (["--num-world-steps", "0,4"], "it takes no num_world_steps, num_inference_steps or store_dir"),
    ],
)
def test_what_it_has_not_is_refused_in_one_line(
    baseline_folder: Folder,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    words = ["evaluate", "--checkpoint", str(baseline_folder("idefics3")), "--output-dir", str(tmp_path / "out")]
    assert main([*words, *flags]) == REFUSED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_without_sight_or_template_is_refused(baseline_folder: Folder, tmp_path: Path) -> None:  # noqa: F811
    folder = shutil.copytree(baseline_folder("idefics3"), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    config = EvaluationConfig(checkpoint=folder, output_dir=tmp_path / "out", data=DATA)
    with pytest.raises(ValueError, match="no chat template in its processor"):
        evaluate(config)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "model_type": "llama"}))
    with pytest.raises(ValueError, match="a model of type 'llama'; expected a saved TheWorld, a Gemma 3, or a vision"):
        evaluate(config)


def test_choices_of_a_template_that_turns_the_answer_around_are_refused(
    baseline_folder: Folder,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(baseline_folder("idefics3"), tmp_path / "model")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(f"{{{{ messages | length }}}} messages: {template}")
    with pytest.raises(ValueError, match="use --answers generate"):
        BaselineAnswerer(loaded(folder), score_choices=True)


def test_it_has_no_world_to_audit(baseline_folder: Folder, tmp_path: Path) -> None:  # noqa: F811
    folder = baseline_folder("qwen2-vl")
    for checkpoint, kind in ((folder, "qwen2_vl"), (Path("tiny"), "gemma3")):
        with pytest.raises(ValueError, match=f"a model of type '{kind}'; it has no world to audit"):
            audit(AuditSettings(checkpoint=checkpoint, output_dir=tmp_path))
