"""Evaluation and audit from settings to files, on the tiny stack."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from theworld.config import AuditSettings, DataSettings, EvaluationConfig
from theworld.datasets.sample import Sample
from theworld.evaluation.auditing import audit, audit_model, shuffle_worlds
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import evaluate
from theworld.foresight import ForesightDataset
from theworld.modeling import TheWorld

DATA = DataSettings(questions="dynamic", image_size_px=64, num_validation=12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained") / "model"
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(folder)
    return folder


def test_an_evaluation_answers_in_every_arm_and_compares_them(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path,
        arms=("world", "gemma", "blind"),
        answers="weighed",
        data=DATA,
    )

    results = evaluate(config)

    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert {name: arm["num_items"] for name, arm in results["arms"].items()} == {"world": 12, "gemma": 12, "blind": 12}
    assert [results["arms"][name]["world_read"] for name in ("world", "gemma", "blind")] == [12, 0, 0]
    assert len(results["comparison"]["pairs"]) == 3


def test_the_numbers_of_an_evaluation_are_those_of_its_prediction_files(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path, answers="weighed", data=DATA)

    accuracy = evaluate(config)["arms"]["world"]["accuracy"]["value"]

    rows = read_predictions(tmp_path / "predictions" / "world.jsonl")
    right = sum(max(row.log_likelihoods, key=row.log_likelihoods.__getitem__) == row.answer for row in rows)
    assert accuracy == pytest.approx(right / 12)


def test_predictions_of_another_checkpoint_are_not_mixed_in(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", answers="weighed", data=DATA)
    evaluate(config)
    torch.manual_seed(1)
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(tmp_path / "other")

    with pytest.raises(ValueError, match="belongs to another run"):
        evaluate(
            EvaluationConfig(checkpoint=tmp_path / "other", output_dir=tmp_path / "out", answers="weighed", data=DATA)
        )


def test_a_partner_has_another_answer_and_gemma_keeps_its_own_picture() -> None:
    dataset = ForesightDataset("validation", 12)
    samples = [dataset[index] for index in range(12)]

    exchanged = shuffle_worlds(samples)

    owner = {sample.images[0].tobytes(): sample for sample in samples}
    for sample, other in zip(samples, exchanged, strict=True):
        assert other.images == sample.images
        assert other.clips is not None
        assert owner[other.clips[0][0].tobytes()].answer != sample.answer


def test_the_audit_of_a_random_model_finds_no_use_of_its_world(checkpoint: Path, tmp_path: Path) -> None:
    settings = AuditSettings(checkpoint=checkpoint, output_dir=tmp_path, answers="weighed", data=DATA)

    result = audit(settings)

    assert result["verdict"] != "used"
    assert json.loads((tmp_path / "audit.json").read_text())["line"] == result["line"]
    assert {path.stem for path in (tmp_path / "predictions").glob("*.jsonl")} == {
        "real",
        "shuffle",
        "mean",
        "zero",
        "noise",
    }


class Oracle:
    """Stands for a model that answers from its world features, or from nothing of them."""

    def __init__(self, model: TheWorld, samples: list[Sample], looks: bool) -> None:
        self.model, self.looks = model, looks
        self.answer_of = {sample.images[0].tobytes(): str(sample.answer) for sample in samples}

    def features(self, frames: torch.Tensor, num_world_steps: int) -> torch.Tensor:
        """The answer's number, in every cell: a world that knows."""
        pictures = frames[:, -1].permute(0, 2, 3, 1).contiguous()
        codes = [float(sum(self.answer_of[picture.numpy().tobytes()].encode())) for picture in pictures]
        return torch.tensor(codes).view(-1, 1, 1, 1, 1).expand(-1, 16, 1, 8, 8)

    def forward(self, features: torch.Tensor, choices: tuple[str, ...]) -> str:
        code = features.mean().item() if self.looks else 0.0
        return min(choices, key=lambda choice: abs(float(sum(choice.encode())) - code))


@pytest.mark.parametrize(("looks", "verdict"), [(True, "used"), (False, "not used")])
def test_the_audit_tells_a_model_that_looks_from_one_that_does_not(
    looks: bool, verdict: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ForesightDataset("validation", 90)
    samples = [dataset[index] for index in range(90)]
    model = TheWorld.from_pretrained(checkpoint)
    oracle = Oracle(model, samples, looks)

    def weigh(self: Any, asked: list[Sample]) -> list[dict[str, Any]]:
        answers = []
        for sample in asked:
            batch = self._candidates([sample])
            choices = tuple(sample.fields["choices"])
            said = oracle.forward(self._read(batch["world_pixels"], 0), choices)
            answers.append({"log_likelihoods": {choice: float(choice == said) - 1 for choice in choices}})
        return answers

    monkeypatch.setattr("theworld.evaluation.generation.Answerer._weigh", weigh)

    result = audit_model(model, samples, tmp_path, oracle.features, batch_size=30, score_choices=True)

    assert result.verdict == verdict
