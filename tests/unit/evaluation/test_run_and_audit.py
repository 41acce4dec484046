"""Evaluation and audit from settings to files, on the tiny stack."""

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from theworld import tiny
from theworld.config import AuditSettings, DataSettings, EvaluationConfig
from theworld.config import loader as settings_file
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import Sample
from theworld.evaluation.conditions import answering_formats, open_respondent
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.replacements import Clips, Replacements, moments_of
from theworld.evaluation.run import evaluate, predict, saved_config
from theworld.evaluation.run_audit import audit, audit_model, shuffle_worlds
from theworld.evaluation.run_identity import identify
from theworld.modeling import TheWorld

DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=12)


def test_an_evaluation_answers_in_every_arm_and_compares_them(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path,
        arms=("world", "no-world-tokens", "gemma", "blind"),
        answers="loglikelihood",
        data=DATA,
    )

    results = evaluate(config)

    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert {name: arm["num_items"] for name, arm in results["arms"].items()} == dict.fromkeys(config.arms, 12)
    assert [results["arms"][name]["world_read"] for name in config.arms] == [12, 0, 0, 0]
    assert [(pair["second"], pair["first"]) for pair in results["comparison"]["pairs"]] == [
        ("world", "no-world-tokens"),
        ("world", "gemma"),
        ("world", "blind"),
    ]
    assert [*map(tuple, results["equal"])] == [("gemma", "no-world-tokens")]
    assert len(list(tmp_path.glob("items/*/picture.png"))) == 12
    assert settings_file.load(EvaluationConfig, tmp_path / "config.json") == config
    assert set(json.loads((tmp_path / "environment.json").read_text())) > {"commit", "libraries"}


def test_the_numbers_of_an_evaluation_are_those_of_its_prediction_files(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path, answers="loglikelihood", data=DATA)

    accuracy = evaluate(config)["arms"]["world"]["accuracy"]["value"]

    rows = read_predictions(tmp_path / "predictions" / "world.jsonl")
    right = sum(max(row.log_likelihoods, key=row.log_likelihoods.__getitem__) == row.answer for row in rows)
    assert accuracy == pytest.approx(right / 12)


def test_predictions_of_another_checkpoint_are_not_mixed_in(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", answers="loglikelihood", data=DATA)
    evaluate(config)
    torch.manual_seed(1)
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(tmp_path / "other")

    with pytest.raises(ValueError, match="belongs to another run"):
        evaluate(
            EvaluationConfig(
                checkpoint=tmp_path / "other", output_dir=tmp_path / "out", answers="loglikelihood", data=DATA
            )
        )
    assert settings_file.load(EvaluationConfig, tmp_path / "out" / "config.json") == config
    with pytest.raises(ValueError, match="dtype: 'float32' there, 'bfloat16' here"):
        evaluate(replace(config, dtype="bfloat16"))
    assert settings_file.load(EvaluationConfig, tmp_path / "out" / "config.json") == config


def test_rows_of_an_interrupted_launcher_are_checked_before_the_settings_are_written(
    checkpoint: Path, tmp_path: Path
) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", answers="loglikelihood", data=DATA)
    evaluate(config)
    predictions = tmp_path / "out" / "predictions"
    parts = predictions / "parts" / "world"
    parts.mkdir(parents=True)
    (predictions / "world.jsonl").rename(parts / "0.jsonl")
    (predictions / "world.run.json").rename(parts / "0.run.json")
    torch.manual_seed(1)
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(tmp_path / "other")

    with pytest.raises(ValueError, match=r"0\.jsonl belongs to another run"):
        evaluate(replace(config, checkpoint=tmp_path / "other"))
    assert settings_file.load(EvaluationConfig, tmp_path / "out" / "config.json") == config


def test_a_partner_has_another_answer_and_gemma_keeps_its_own_picture() -> None:
    dataset = ForesightDataset("validation", 12, tasks=("drop",))
    samples = [dataset[index] for index in range(12)]

    exchanged = shuffle_worlds(samples)

    owner = {sample.images[0].tobytes(): sample for sample in samples}
    for sample, other in zip(samples, exchanged, strict=True):
        assert other.images == sample.images
        assert other.clips is not None
        assert owner[other.clips[0][0].tobytes()].answer != sample.answer


def test_the_audit_of_a_random_model_finds_no_use_of_its_world(checkpoint: Path, tmp_path: Path) -> None:
    settings = AuditSettings(checkpoint=checkpoint, output_dir=tmp_path, answers="loglikelihood", data=DATA)

    result = audit(settings)

    assert result["verdict"] != "used"
    assert json.loads((tmp_path / "audit.json").read_text())["line"] == result["line"]
    assert {path.stem for path in (tmp_path / "predictions").glob("*.jsonl")} == {
        "real",
        "shuffle",
        "mean",
        "zero",
        "noise",
        "blank-picture",
    }
    future = "the model looks at no slot after the current one (num_world_steps=0)"
    assert result["missing"] == {
        "first-repeat": "the features have one slot",
        **dict.fromkeys(("partner-future", "partner-present", "oracle"), future),
    }
    assert settings_file.load(AuditSettings, tmp_path / "config.json") == settings
    assert (tmp_path / "environment.json").is_file()
    with pytest.raises(ValueError, match="belongs to another run"):
        audit(replace(settings, data=replace(DATA, validation_split="test")))
    assert settings_file.load(AuditSettings, tmp_path / "config.json") == settings


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
    dataset = ForesightDataset("validation", 90, tasks=("drop",))
    samples = [dataset[index] for index in range(90)]
    model = TheWorld.from_pretrained(checkpoint)
    oracle = Oracle(model, samples, looks)

    def weigh(self: Any, asked: list[Sample], _: Any) -> list[dict[str, Any]]:
        answers = []
        for sample in asked:
            batch = self._candidates([sample])
            choices = tuple(sample.fields["choices"])
            said = oracle.forward(self._read(batch["world_pixels"], 0), choices)
            answers.append({"log_likelihoods": {choice: float(choice == said) - 1 for choice in choices}})
        return answers

    monkeypatch.setattr("theworld.evaluation.generation.Answerer._weigh", weigh)

    result = audit_model(model, samples, tmp_path, oracle.features, identity_of=90, batch_size=30, score_choices=True)

    assert result.verdict == verdict


def samples_of(data: DataSettings = DATA, **options: Any) -> list[Sample]:
    dataset = ForesightDataset("validation", data.num_validation, 64, data.questions, tasks=data.tasks, **options)
    return [dataset[index] for index in range(len(dataset))]


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Arms and their K, as an evaluation asks for them; nothing is answered."""
    asked: list[tuple[str, int | None]] = []

    def note(answerer: Any, *_: Any, title: str, **__: Any) -> None:
        asked.append((title, answerer.num_world_steps))

    monkeypatch.setattr("theworld.evaluation.run.collect", note)
    monkeypatch.setattr("theworld.evaluation.run.report", lambda *_, **__: {})
    return asked


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, [("world", 2)]), ((0,), [("world", 0)]), ((0, 2), [("world-K0", 0), ("world-K2", 2)])],
)
def test_a_model_answers_at_its_own_number_of_world_steps_unless_others_are_given(
    given: tuple[int, ...] | None, expected: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"world_tap": "zero", "world_control_of": "rollout", "num_world_steps": 2, "world_grid": 4}
    TheWorld.from_pretrained("tiny", **world).save_pretrained(tmp_path / "model")
    asked = asked_for(monkeypatch)

    evaluate(
        EvaluationConfig(checkpoint=tmp_path / "model", output_dir=tmp_path / "out", num_world_steps=given, data=DATA)
    )

    assert asked == expected


def test_rows_of_other_samples_are_found_out(checkpoint: Path, tmp_path: Path) -> None:
    model, samples = TheWorld.from_pretrained(checkpoint, enable_world=False), samples_of()
    options: dict[str, Any] = {"title": "t", "batch_size": 2, "max_new_tokens": 1}
    predict(model, samples[:2], tmp_path / "rows.jsonl", identify(model, []), **options)

    with pytest.raises(ValueError, match=r"rows\.jsonl holds 2 rows of other samples"):
        predict(model, samples[2:4], tmp_path / "rows.jsonl", identify(model, []), **options)


def test_a_run_in_which_nothing_is_answered_ends_with_the_first_error(checkpoint: Path, tmp_path: Path) -> None:
    model = TheWorld.from_pretrained(checkpoint)

    def broken(frames: torch.Tensor, num_world_steps: int) -> torch.Tensor:
        raise ValueError("no such feature")

    with pytest.raises(ValueError, match="none of 2 items could be answered; the first error: ValueError: no such"):
        predict(
            model,
            samples_of()[:2],
            tmp_path / "rows.jsonl",
            identify(model, []),
            title="t",
            batch_size=2,
            read_features=broken,
        )


def test_a_shuffled_world_brings_its_own_future() -> None:
    samples = samples_of(with_future=True)

    owner = {sample.images[0].tobytes(): sample for sample in samples}
    for other in shuffle_worlds(samples):
        assert other.clips is not None
        assert other.future is owner[other.clips[0][0].tobytes()].future


def test_the_arm_true_future_is_evaluated_and_audited_on_true_futures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TheWorld.from_pretrained("tiny", world_tap="true-future", num_world_steps=4, world_grid=4).save_pretrained(
        tmp_path / "model"
    )
    data = replace(DATA, num_validation=2)

    results = evaluate(
        EvaluationConfig(checkpoint=tmp_path / "model", output_dir=tmp_path / "out", answers="loglikelihood", data=data)
    )

    assert results["arms"]["world"]["num_missing"] == 0
    assert results["arms"]["world"]["world_read"] == 2
    audited: list[Sample] = []
    monkeypatch.setattr(
        "theworld.evaluation.run_audit.audit_model", lambda _, samples, *__, **___: audited.extend(samples)
    )
    with pytest.raises(AttributeError):  # no verdict comes back
        audit(AuditSettings(checkpoint=tmp_path / "model", output_dir=tmp_path / "audit", data=data))
    assert [sample.future is None for sample in audited] == [False, False]


def test_questions_of_every_kind_have_numbers_of_their_own(checkpoint: Path, tmp_path: Path) -> None:
    data = replace(DATA, questions="both", num_validation=2)

    results = evaluate(
        EvaluationConfig(
            checkpoint=checkpoint, output_dir=tmp_path, arms=("gemma", "blind"), answers="loglikelihood", data=data
        )
    )

    kinds = results["arms"]["gemma"]["groups"]["kind"]
    assert len(kinds) == 8
    assert kinds["end"]["num_items"] == 2
    assert results["comparison"]["summaries"]["blind"]["groups"]["kind"]["end"]["num_items"] == 2
    # Two scenes: the bootstrap over them knows three means at most, over sixteen items many more.
    interval = results["arms"]["gemma"]["accuracy"]["bootstrap"]
    assert (8 * interval["low"]).is_integer()
    assert (8 * interval["high"]).is_integer()


def test_an_audit_of_questions_of_several_kinds_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    data = replace(DATA, questions="both")

    with pytest.raises(ValueError, match=r"questions of 8 kinds .*--data\.questions future"):
        audit(AuditSettings(checkpoint=checkpoint, output_dir=tmp_path, data=data))


def test_an_audit_asks_about_the_future_unless_told_otherwise() -> None:
    assert AuditSettings(checkpoint=Path("model")).data.questions == "future"
    given = settings_file.load(AuditSettings, None, ["model", "--data.image-size-px", "64"], positional=True)
    assert (given.data.questions, given.data.image_size_px) == ("future", 64)
    given = settings_file.load(AuditSettings, None, ["model", "--data.questions", "present"], positional=True)
    assert given.data.questions == "present"


def test_the_arm_gemma_is_the_base_and_no_world_tokens_is_what_was_trained_of_it(tmp_path: Path) -> None:
    base = TheWorld.from_pretrained("tiny", enable_world=False)
    trained = TheWorld.from_pretrained("tiny", world_grid=4, freeze_gemma_language=False)
    name = next(
        name
        for name, _ in trained.named_parameters()
        if name.endswith("layers.0.mlp.up_proj.weight") and "language" in name
    )
    with torch.no_grad():
        trained.get_parameter(name).add_(1.0)
    trained.save_pretrained(tmp_path)

    saved = saved_config(tmp_path)
    formats = answering_formats(saved, "auto", None)
    gemma, off = (open_respondent(tmp_path, arm, saved, formats).model for arm in ("gemma", "no-world-tokens"))

    assert torch.equal(gemma.get_parameter(name), base.get_parameter(name))
    assert torch.equal(off.get_parameter(name), trained.get_parameter(name))
    assert not gemma.config.enable_world
    assert not off.config.enable_world


def test_a_folder_that_holds_a_model_is_not_written_over(checkpoint: Path) -> None:
    before = (checkpoint / "config.json").read_bytes()

    with pytest.raises(
        ValueError, match=r"belongs to another run \(it holds no AuditSettings\); choose another folder"
    ):
        audit(AuditSettings(checkpoint=checkpoint, output_dir=checkpoint, data=DATA))

    assert (checkpoint / "config.json").read_bytes() == before


def test_a_plain_gemma_is_the_arm_gemma(tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=Path("tiny"), output_dir=tmp_path / "a", answers="loglikelihood", data=DATA)
    results = evaluate(config)
    assert list(results["arms"]) == ["gemma"]
    assert results["arms"]["gemma"]["world_read"] == 0
    other = replace(config, checkpoint=tiny.stack() / "gemma", output_dir=tmp_path / "b", arms=("gemma", "blind"))
    assert evaluate(other)["arms"]["gemma"] == results["arms"]["gemma"]
    with pytest.raises(ValueError, match="its arms are gemma, blind and majority, not world"):
        evaluate(replace(config, output_dir=tmp_path / "c", arms=("world",)))
    assert not (tmp_path / "c").exists()


def test_k_of_a_model_of_the_tap_vae_is_read_by_rollout(checkpoint: Path, tmp_path: Path) -> None:
    data = replace(DATA, num_validation=1)
    config = EvaluationConfig(
        checkpoint=checkpoint, output_dir=tmp_path, answers="loglikelihood", num_world_steps=(0, 1), data=data
    )
    results = evaluate(config)
    assert list(results["arms"]) == ["world-K0", "world-K1"]
    alone = evaluate(replace(config, output_dir=tmp_path / "alone", num_world_steps=None))
    assert alone["arms"]["world"] == results["arms"]["world-K0"]
    rows = [read_predictions(tmp_path / "predictions" / f"world-K{steps}.jsonl") for steps in (0, 1)]
    assert rows[0][0].log_likelihoods != rows[1][0].log_likelihoods


@pytest.mark.parametrize(
    ("world", "steps", "message"),
    [
        ({}, (0, 17), "num_world_steps=17 is more than max_world_steps=16"),
        ({"world_tap": "dit", "dit_future": "none"}, (0, 2), "dit_future='none' leaves no future slots"),
        ({"world_tap": "siglip"}, (0, 2), 'needs a tap that looks ahead .world_tap="rollout"'),
    ],
)
def test_every_k_is_checked_before_the_first_question(
    tmp_path: Path, world: dict[str, Any], steps: tuple[int, ...], message: str
) -> None:
    TheWorld.from_pretrained("tiny", **world, load_world=False).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        evaluate(
            EvaluationConfig(
                checkpoint=tmp_path / "model", output_dir=tmp_path / "out", num_world_steps=steps, data=DATA
            )
        )
    assert not (tmp_path / "out").exists()


def test_the_mean_and_the_noise_of_an_audit_are_made_without_holding_all_features(checkpoint: Path) -> None:
    model, samples = TheWorld.from_pretrained(checkpoint), samples_of()
    features = 5 + torch.arange(16.0).view(16, 1, 1, 1) * torch.randn(12, 16, 1, 8, 8)
    alive: list[Any] = []
    most = 0

    def read(frames: torch.Tensor, num_world_steps: int) -> torch.Tensor:
        nonlocal most
        start = 2 * len(alive)
        most = max(most, sum(one() is not None for one in alive))
        part = features[start : start + 2].clone()
        alive.append(weakref.ref(part))
        return part

    moments = moments_of(model, samples, read, batch_size=2)

    assert most <= 1
    frames = torch.randint(0, 256, (200, 1, 3, 64, 64), dtype=torch.uint8)
    clips = Clips(frames, 0, torch.zeros(200, 16, 1, 8, 8), [])
    rule = Replacements(model, read, {}, moments)
    torch.testing.assert_close(rule("mean", clips)[0], features.mean(0))
    noise = rule("noise", clips)
    torch.testing.assert_close(noise.std((0, 2, 3, 4)), features.std((0, 2, 3, 4)), rtol=0.05, atol=1e-3)
    torch.testing.assert_close(noise.mean((0, 2, 3, 4)), features.mean((0, 2, 3, 4)), rtol=0, atol=0.6)


def test_a_model_trained_without_a_world_is_not_asked_with_an_untrained_one(tmp_path: Path) -> None:
    model = TheWorld.from_pretrained("tiny", enable_world=False, freeze_gemma_language=False)
    model.save_pretrained(tmp_path / "model")
    config = EvaluationConfig(checkpoint=tmp_path / "model", output_dir=tmp_path / "out", data=DATA)

    with pytest.raises(ValueError, match="was trained without a world: its arm is 'no-world-tokens'"):
        evaluate(config)


@pytest.mark.parametrize("questions", ["labels", "alignment"])
def test_conversations_for_training_are_not_asked(tmp_path: Path, questions) -> None:
    for settings in (EvaluationConfig, AuditSettings):
        with pytest.raises(ValueError, match="conversations for training"):
            settings(checkpoint=tmp_path, output_dir=tmp_path, data=DataSettings(questions=questions))


def test_what_the_settings_alone_refuse_is_refused_before_anything_is_written(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path, answers="loglikelihood", data=DATA)

    with pytest.raises(ValueError, match="num_world_steps=99 is more than max_world_steps=16"):
        evaluate(replace(config, num_world_steps=(0, 99)))
    assert list(tmp_path.iterdir()) == []


def test_predictions_of_other_settings_leave_the_folder_as_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path, arms=("majority",), data=DATA)
    evaluate(config)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("theworld.evaluation.run.open_respondent", lambda *args: pytest.fail("a model loads"))

    with pytest.raises(ValueError, match=r"majority\.jsonl belongs to another run: it was made with other settings"):
        evaluate(replace(config, arms=("world", "majority"), data=replace(DATA, num_validation=5)))
    (tmp_path / "predictions/majority.run.json").unlink()
    with pytest.raises(ValueError, match=r"no majority\.run\.json says of which run"):
        evaluate(config)
    before.pop(tmp_path / "predictions/majority.run.json")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_denoising_steps_of_a_tap_that_denoises_nothing_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_inference_steps=3: the tap 'vae' of .* denoises nothing"):
        evaluate(EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path / "out", num_inference_steps=3, data=DATA))
    assert not (tmp_path / "out").exists()


def test_an_evaluation_at_other_denoising_steps_has_another_tap(tmp_path: Path) -> None:
    world = {"world_tap": "rollout", "num_world_steps": 1, "num_inference_steps": 2, "world_grid": 4}
    TheWorld.from_pretrained("tiny", **world).save_pretrained(tmp_path / "model")
    data = replace(DATA, num_validation=1)
    config = EvaluationConfig(
        checkpoint=tmp_path / "model", output_dir=tmp_path / "out", answers="loglikelihood", data=data
    )
    taps = [
        evaluate(replace(config, output_dir=tmp_path / str(steps), num_inference_steps=steps))["origin"]["runs"][
            "world"
        ]["tap_fingerprint"]
        for steps in (None, 2, 3)
    ]
    assert taps[0] == taps[1] != taps[2]


def test_an_audit_of_a_model_that_looks_ahead_separates_present_and_future(tmp_path: Path) -> None:
    world = {"world_tap": "rollout", "num_world_steps": 1, "num_inference_steps": 2, "world_grid": 4}
    TheWorld.from_pretrained("tiny", **world).save_pretrained(tmp_path / "model")
    settings = AuditSettings(
        checkpoint=tmp_path / "model",
        output_dir=tmp_path / "audit",
        answers="loglikelihood",
        conditions=("partner-future", "partner-present", "oracle", "slot-shuffle"),
        data=replace(DATA, num_validation=6),
    )

    result = audit(settings)

    assert result["missing"] == {}
    assert [drop["condition"] for drop in result["reported"]] == [
        "slot-shuffle",
        "partner-future",
        "partner-present",
        "oracle",
    ]
    for condition, proof in result["proofs"].items():
        assert proof["num_items"] == 6
        assert proof["num_replaced"] == (0 if condition == "real" else 6)
    file = tmp_path / "audit" / "audit.json"
    written = json.loads(file.read_text())
    file.unlink()
    audit(settings)  # with all answers there
    assert json.loads(file.read_text()) == written
    assert written["orders"]["2 slots"]["order"] == [1, 0]
    assert written["reading"] == result["reading"] != ""
    assert set(written["thresholds"]) == {"matters", "matters little", "does not matter", "misleads", "undecided"}


def test_a_condition_without_a_true_future_is_named_as_missing(checkpoint: Path, tmp_path: Path) -> None:
    model = TheWorld.from_pretrained(
        "tiny", world_tap="rollout", num_world_steps=1, num_inference_steps=2, world_grid=4
    )
    result = audit_model(
        model,
        samples_of(),
        tmp_path,
        model.read_world,
        identity_of=0,
        score_choices=True,
        conditions=("real", "shuffle", "mean", "oracle"),
    )
    assert result.missing == {"oracle": "the data set shows no true future"}


def test_an_audit_of_a_world_of_zeros_replaces_nothing_and_stays_undecided(tmp_path: Path) -> None:
    TheWorld.from_pretrained("tiny", world_tap="zero", world_control_of="vae", world_grid=4).save_pretrained(
        tmp_path / "model"
    )
    settings = AuditSettings(
        checkpoint=tmp_path / "model", output_dir=tmp_path / "audit", answers="loglikelihood", data=DATA
    )
    result = audit(settings)
    assert result["verdict"] == "undecided"
    assert "shuffle and mean changed the features of no item: nothing was replaced" in result["line"]
    assert [effect["condition"] for effect in result["effects"]] == ["blank-picture"]
