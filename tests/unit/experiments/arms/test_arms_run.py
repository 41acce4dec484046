"""The comparison of arms: equal budgets, shared alignment, and nothing done twice."""

import json
from dataclasses import replace

import pytest

from fixtures_arms import ARMS, TRUE, small_comparison
from theworld.config.arm_settings import Arm, ArmsSettings, Reading
from theworld.config.model import LoraSettings
from theworld.evaluation.predictions import read_predictions
from theworld.experiments.arms.arm import Rates, aligned_folder, folder_of, train_arm
from theworld.experiments.arms.parts import check_parts
from theworld.experiments.arms.results import read_results
from theworld.experiments.arms.run import choose_rates, run_arms
from theworld.experiments.arms.table import compare_arms
from theworld.modeling import TheWorld
from theworld.training.metrics import read_metrics

RATES = Rates(aligned=3e-3, labels=3e-3)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> ArmsSettings:
    settings = small_comparison(tmp_path_factory.mktemp("arms"))
    run_arms(settings)
    return settings


def test_every_arm_has_as_many_trained_parameters_within_one_per_cent(done):
    for arm in done.arms:
        model = TheWorld.from_pretrained(train_arm(done, arm, 0, 10, RATES), load_world=False)
        assert abs(model.get_trainable_parameters()[0] - done.num_parameters) < 0.01 * done.num_parameters, arm.name


def test_arms_that_read_true_clips_alike_share_their_alignment(done):
    assert sorted(path.name for path in (done.output_dir / "aligned").iterdir()) == [
        "true-future-vae-repeat-1",
        "zero-rollout-repeat-1",
    ]


def test_without_labels_an_arm_is_the_aligned_model_with_another_future(done):
    rollout = done.arms[2]
    aligned = TheWorld.from_pretrained(aligned_folder(done, rollout, 0, 3e-3) / "model", load_world=False)
    given = TheWorld.from_pretrained(train_arm(done, rollout, 0, 0, RATES), load_world=False)

    assert (aligned.config.world_tap, given.config.world_tap) == ("true-future", "rollout")
    assert all((a == b).all() for a, b in zip(aligned.parameters(), given.parameters(), strict=True))


def test_what_is_done_is_not_done_again(done, monkeypatch):
    monkeypatch.setattr("theworld.experiments.arms.run._ask", lambda *given: pytest.fail("asked again"))
    monkeypatch.setattr("theworld.experiments.arms.arm.train", lambda *given: pytest.fail("trained again"))

    run_arms(done)


def test_the_table_counts_every_question_once_and_compares_with_the_partner_and_with_the_world_arm(done):
    table = compare_arms(replace(done, report=True))

    assert {(cell["arm"], cell["num_labels"]) for cell in table["cells"]} == {
        (arm.name, budget) for arm in done.arms for budget in done.num_labels
    }
    assert {cell["num_items"] for cell in table["cells"]} == {20}
    named = [(one["first"], one["second"], one["num_labels"]) for one in table["contrasts"]]
    assert sorted(named) == sorted(
        (*pair, budget) for pair in (("vae", "gemma"), ("rollout", "vae"), ("rollout", "gemma")) for budget in (0, 10)
    )
    for one, name in zip(table["contrasts"], named, strict=True):
        assert one["is_primary"] == (name == ("rollout", "gemma", 0)) == (one["adjusted_p"] is None)
    written = json.loads((done.output_dir / "arms.json").read_text())
    assert json.loads(json.dumps(table["cells"])) == written["cells"]
    assert "Primary comparison: rollout against gemma" in (done.output_dir / "arms.md").read_text()
    assert (done.output_dir / "arms.png").stat().st_size > 0


def test_a_rollout_costs_what_the_denoiser_and_no_world_least(done):
    costs = compare_arms(replace(done, report=True))["costs"]

    assert 0 < costs["gemma"]["gflops"] < costs["vae"]["gflops"] < costs["rollout"]["gflops"]
    assert all(cost["seconds"] > 0 for cost in costs.values())


@pytest.fixture(scope="module")
def choosing(tmp_path_factory: pytest.TempPathFactory) -> ArmsSettings:
    """Two rates of each stage to choose from; of each stage, one is far too small to change anything."""
    rates = {"align_learning_rates": (1e-9, 3e-2), "label_learning_rates": (3e-3, 1e-9)}
    settings = small_comparison(
        tmp_path_factory.mktemp("rates"), arms=ARMS[1:2], primary=("vae", "vae"), num_validation=20, **rates
    )
    return replace(settings, num_choosing=10)


def test_of_several_learning_rates_the_one_is_kept_that_answers_most_validation_questions(choosing, monkeypatch):
    shares = {(0, 1e-9): 0.4, (0, 3e-2): 0.6, (10, 3e-3): 0.5, (10, 1e-9): 0.7}
    asked = []

    def measured(settings, arm, budget, rates):
        asked.append((budget, rates))
        return shares[budget, rates.labels]

    monkeypatch.setattr("theworld.experiments.arms.run._share_right", measured)

    assert choose_rates(choosing, ARMS[1]) == Rates(aligned=3e-2, labels=1e-9)
    assert asked[2:] == [(10, Rates(aligned=3e-2, labels=rate)) for rate in (3e-3, 1e-9)]
    assert choose_rates(choosing, ARMS[1]) == Rates(aligned=3e-2, labels=1e-9), "read from its file"
    assert len(asked) == 4
    (choosing.output_dir / "arms" / "vae" / "rates.json").unlink()


def test_rates_are_chosen_on_validation_scenes_and_trained_models_are_used_again(choosing):
    settings = replace(choosing, num_labels=(0, 10))
    run_arms(settings)

    chosen = choose_rates(settings, ARMS[1])
    written = json.loads((settings.output_dir / "arms" / "vae" / "rates.json").read_text())
    assert set(written["aligned"]) == {"1e-09", "0.03"}
    assert set(written["labels"]) == {"0.003", "1e-09"}
    models = {path.parent.name for path in folder_of(settings, ARMS[1], 0, 10).glob("*/model")}
    assert models == {f"rate-{chosen.aligned:g}-{rate:g}" for rate in settings.label_learning_rates}
    asked = [row.sample_id for path in settings.output_dir.rglob("validation.jsonl") for row in read_predictions(path)]
    assert len(asked) == 4 * settings.num_validation
    tested = read_predictions(folder_of(settings, ARMS[1], 0, 0) / "predictions" / "dynamic.jsonl")
    assert not {row.sample_id for row in tested} & set(asked)
    assert compare_arms(replace(settings, report=True))["cells"][0]["num_items"] == 20
    origin = json.loads((settings.output_dir / "arms.json").read_text())["origin"]
    assert origin["learning_rates"]["vae"] == written
    assert f"vae {chosen.aligned:g} and {chosen.labels:g}." in (settings.output_dir / "arms.md").read_text()


def test_a_comparison_goes_on_elsewhere_with_the_rates_that_were_chosen_and_without_what_is_done(choosing, tmp_path):
    settings = replace(choosing, num_labels=(0, 10))
    compare_arms(settings)
    first = choose_rates(settings, ARMS[1])
    also = (settings.output_dir / "arms.json",)
    elsewhere = replace(settings, output_dir=tmp_path, seeds=(0, 1), num_labels=(0,), also=also)
    with pytest.raises(ValueError, match=r"differ in: align_steps$"):
        compare_arms(replace(elsewhere, align_steps=3))
    assert not list(tmp_path.iterdir()), "refused before anything was done"

    table = compare_arms(elsewhere)

    assert choose_rates(elsewhere, ARMS[1]) == first
    assert not list(tmp_path.rglob("validation.jsonl"))
    assert [path.name for path in (tmp_path / "arms" / "vae").glob("seed-*")] == ["seed-1"]
    assert {(cell["num_labels"], tuple(cell["seeds"])) for cell in table["cells"]} == {(0, (0, 1)), (10, (0,))}


def test_where_one_rate_is_named_nothing_is_chosen(done):
    assert choose_rates(done, done.arms[0]) == RATES
    assert not list(done.output_dir.rglob("validation.jsonl"))


def test_adapters_come_to_the_projector_after_imitation_and_learn_in_both_trainings_of_answers(tmp_path):
    lora = LoraSettings(targets=("language",), rank=2)
    settings = small_comparison(tmp_path, arms=ARMS[1:2], primary=("vae", "vae"), num_labels=(10,))
    settings = replace(settings, model=replace(settings.model, lora=lora))

    labelled = TheWorld.from_pretrained(train_arm(settings, ARMS[1], 0, 10, RATES), load_world=False)

    aligned = aligned_folder(settings, ARMS[1], 0, RATES.aligned)
    plain = TheWorld.from_pretrained(aligned.parent / "imitation" / "model", load_world=False)
    read = TheWorld.from_pretrained(aligned / "model", load_world=False)
    assert [model.config.lora is not None for model in (plain, read, labelled)] == [False, True, True]
    adapters = [
        {name: weight for name, weight in model.named_parameters() if "lora_B" in name} for model in (read, labelled)
    ]
    assert all((weight != 0).any() for weight in adapters[0].values())
    assert all((weight != adapters[0][name]).any() for name, weight in adapters[1].items())


def test_a_distilled_arm_and_its_control_answer_without_a_world_and_differ_by_its_states_alone(tmp_path):
    common = {"reads": Reading(tap="rollout"), "aligned_on": TRUE, "images": "clip"}
    arms = (Arm(name="distilled", distillation=1.0, **common), Arm(name="fine-tuned", distillation=0.0, **common))
    with pytest.raises(ValueError, match="have no world tokens, and all of Gemma is frozen: name"):
        small_comparison(tmp_path, arms=arms, primary=("distilled", "fine-tuned"))
    model = replace(small_comparison(tmp_path).model, lora=LoraSettings(targets=("language",), rank=2))
    settings = small_comparison(tmp_path, arms=arms, primary=("distilled", "fine-tuned"), model=model)

    table = compare_arms(settings)

    assert {(cell["arm"], cell["num_labels"]) for cell in table["cells"]} == {
        (arm.name, number) for arm in arms for number in (0, 10)
    }
    assert table["costs"]["distilled"]["gflops"] == table["costs"]["fine-tuned"]["gflops"]
    for arm in arms:
        distils = arm.distillation == 1.0
        aligned = aligned_folder(settings, arm, 0, RATES.aligned)
        rows = read_metrics(aligned / "metrics.jsonl")
        assert [row["step"] for row in rows] == [4], "as many as imitation and alignment together"
        assert all(("unexplained" in row) == distils for row in rows)
        for num_labels in (0, 10):
            model = TheWorld.from_pretrained(train_arm(settings, arm, 0, num_labels, RATES))
            assert (model.config.enable_world, model.tap, model.config.trained_parts) == (False, None, ["adapters"])
    stores = {path.name for path in (tmp_path / "features").iterdir()}
    assert stores == {"true-future-vae-repeat-1", "rollout-vae-repeat-1"}, "of the teacher"


def test_results_without_later_settings_of_arms_are_parts_of_the_comparison(done, tmp_path):
    path = tmp_path / "arms.json"
    compare_arms(replace(done, report=True))
    results = json.loads((done.output_dir / "arms.json").read_text())
    for arm in results["origin"]["settings"]["arms"]:
        assert arm.pop("distillation") is None
    path.write_text(json.dumps(results))

    check_parts(done, [read_results(path)])


def test_a_folder_of_another_comparison_is_refused(done):
    with pytest.raises(ValueError, match=r"belongs to another run \(align_steps: "):
        run_arms(replace(done, align_steps=3))


def test_a_missing_model_of_the_last_arm_is_refused_before_the_first_one_trains(tmp_path):
    lost = Arm(name="lost", reads=Reading(tap="rollout", cosmos_model_name=str(tmp_path / "lost")), aligned_on=TRUE)
    settings = replace(small_comparison(tmp_path / "arms"), arms=(*ARMS, lost))

    with pytest.raises(ValueError, match="lost: no such file or folder"):
        run_arms(settings)
    assert not (tmp_path / "arms" / "aligned").exists()


def test_the_primary_comparison_names_two_arms(tmp_path):
    with pytest.raises(ValueError, match="which is no arm"):
        small_comparison(tmp_path, primary=("rollout", "nobody"))
