"""The verdict on the page is about the loaded weights, or says that there is no audit."""

import json
from pathlib import Path

import pytest

pytest.importorskip("av", reason="the extra `app` is not installed")

from theworld import TheWorld
from theworld.evaluation.audit import audit_verdict
from theworld.evaluation.scoring import Score
from theworld.modeling.factory import describe_weights
from theworld.serving.web.about import verdict_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> TheWorld:
    folder = tmp_path_factory.mktemp("run") / "model"
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(folder)
    return TheWorld.from_pretrained(folder, load_world=False)


def audit_file(path: Path, checkpoint: str) -> Path:
    """Write an audit that finds the world used."""

    def scores(share: float) -> list[Score]:
        return [Score(str(n), "right" if n < share * 100 else "wrong", None, "red") for n in range(100)]

    verdict = audit_verdict(
        real=scores(0.9), shuffle=scores(0.2), mean=scores(0.3), zero=scores(0.1), noise=scores(0.1)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"checkpoint": checkpoint, **verdict.to_dict()}))
    return path


def test_a_model_without_an_audit_names_the_command(saved: TheWorld):
    verdict = verdict_of(saved, "runs/one/model")
    assert verdict.finding == "not audited"
    assert verdict.command == "theworld audit runs/one/model"


@pytest.mark.parametrize("place", ["audit.json", "audit/audit.json", "../audit.json", "../audit/audit.json"])
def test_an_audit_in_the_folder_of_a_model_or_beside_it_is_used(saved: TheWorld, place: str):
    path = audit_file(Path(saved.name_or_path) / place, describe_weights(saved))
    try:
        verdict = verdict_of(saved, "model")
        assert verdict.finding == "world used"
        assert verdict.sentence == (
            "The model uses its world: with that of another question 20.0 % of its answers are right, with its own"
            " 90.0 %. Answers follow the world (a partner's costs 70.0 points [61.0, 79.0])."
        )
        assert verdict.details.startswith("World used: shuffle costs 70.0 points")
    finally:
        path.unlink()


def test_an_audit_of_other_weights_says_nothing_about_these(saved: TheWorld, tmp_path: Path):
    path = audit_file(Path(saved.name_or_path) / "audit.json", "tiny 0123456789abcdef")
    try:
        assert verdict_of(saved, "model").finding == "not audited"
        with pytest.raises(ValueError, match="an audit of tiny 0123456789abcdef, the loaded one is tiny"):
            verdict_of(saved, "model", path)
    finally:
        path.unlink()


def test_a_named_file_that_is_not_an_audit_is_refused(saved: TheWorld, tmp_path: Path):
    path = tmp_path / "audit.json"
    path.write_text('{"verdict": "used"}')
    with pytest.raises(ValueError, match="not an audit; expected the audit"):
        verdict_of(saved, "model", path)


def test_plain_gemma_has_no_world_to_use(world_off: TheWorld):
    assert verdict_of(world_off, "tiny").finding == "no world"


def test_the_shipped_model_brings_the_audit_of_its_own_weights(embedded: Path):
    verdict = verdict_of(TheWorld.from_pretrained("tiny-foresight", load_world=False), "tiny-foresight")
    assert verdict.finding == "world used"
    assert "n = 2,000" in verdict.details
