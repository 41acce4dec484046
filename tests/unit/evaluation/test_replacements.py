"""Replaced features of an audit: each rule on small features, and the proof that it replaced something."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from theworld.config import AuditSettings
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import Sample
from theworld.evaluation.partners import paired
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.replaced_answers import ReplacingAnswerer, blanked, proof_of, unavailable
from theworld.evaluation.replacements import (
    Clips,
    Moments,
    Replacements,
    fixed_derangement,
    moments_of,
    relative_change,
)
from theworld.evaluation.true_future import TrueFuture, no_true_future
from theworld.modeling import TheWorld

SLOTS, GIVEN = 5, 1
CONTENT = (
    "mean",
    "zero",
    "noise",
    "random",
    "matched-noise",
    "count-matched",
    "first-repeat",
    "slot-shuffle",
    "cell-shuffle",
    "partner-future",
    "partner-present",
    "oracle",
)


def model_of(**settings: Any) -> TheWorld:
    world = {"world_tap": "rollout", "num_world_steps": 4, "world_grid": 4, "num_inference_steps": 2}
    return TheWorld.from_pretrained("tiny", **{**world, **settings})


@pytest.fixture(scope="module")
def model() -> TheWorld:
    return model_of()


def scenes(size: int = 6) -> list[Sample]:
    dataset = ForesightDataset("validation", size, tasks=("drop",), with_future=True)
    return [dataset[index] for index in range(size)]


@pytest.fixture(scope="module")
def rule(model: TheWorld) -> Replacements:
    pairs = paired(scenes())
    moments = moments_of(model, pairs.samples, model.read_world, 3)
    return Replacements(model, model.read_world, pairs.by_id, moments, TrueFuture(model))


def clips_of(rule: Replacements, samples: Sequence[Sample]) -> Clips:
    model = rule.model
    frames = model.processor.world_frames([[sample.images[0]] for sample in samples])
    assert frames is not None
    return Clips(frames, 4, model.read_world(frames, 4), list(samples))


@pytest.fixture(scope="module")
def clips(rule: Replacements) -> Clips:
    return clips_of(rule, scenes()[:2])


@pytest.mark.parametrize("condition", CONTENT)
def test_every_condition_changes_every_item_and_keeps_its_shape(
    rule: Replacements, clips: Clips, condition: Any
) -> None:
    given = rule(condition, clips)
    assert given.shape == clips.real.shape
    assert given.dtype == clips.real.dtype
    assert min(relative_change(clips.real, given)) > 0.01


def test_the_real_condition_is_the_identity(rule: Replacements, clips: Clips) -> None:
    assert rule("real", clips) is clips.real
    assert relative_change(clips.real, rule("blank-picture", clips)) == [0.0, 0.0]


def test_random_numbers_are_uniform_and_depend_on_clip_and_seed_alone(rule: Replacements, clips: Clips) -> None:
    given = rule("random", clips)
    assert given.min() >= -1
    assert given.max() < 1
    assert float(given.std()) == pytest.approx(1 / 3**0.5, rel=0.05)
    alone = replace(clips, frames=clips.frames[1:], real=clips.real[1:], samples=clips.samples[1:])
    assert torch.equal(rule("random", alone)[0], given[1])
    assert not torch.equal(replace(rule, seed=1)("random", clips), given)


def test_matched_noise_has_one_mean_and_one_deviation_of_the_item(rule: Replacements, clips: Clips) -> None:
    real = torch.stack([3 + clips.real[0], 10 * clips.real[1] - 50])
    given = rule("matched-noise", replace(clips, real=real))
    for mine, its in zip(given, real, strict=True):
        assert float(mine.mean()) == pytest.approx(float(its.mean()), abs=0.1 * float(its.std()))
        assert float(mine.std()) == pytest.approx(float(its.std()), rel=0.1)
        channels = mine.mean((1, 2, 3))
        assert channels.std() < 0.2 * its.std()  # no channel keeps a mean of its own


def test_count_matched_tokens_are_all_alike(rule: Replacements, clips: Clips) -> None:
    given = rule("count-matched", clips)
    assert torch.equal(given, given[:1, :, :1, :1, :1].expand_as(given))


def test_first_repeat_puts_the_current_slot_in_every_slot(rule: Replacements, clips: Clips) -> None:
    given = rule("first-repeat", clips)
    for slot in range(SLOTS):
        assert torch.equal(given[:, :, slot], clips.real[:, :, 0])
    later = replace(clips, num_world_steps=3)  # two given slots, as of a clip of five frames
    assert torch.equal(rule("first-repeat", later)[:, :, 4], clips.real[:, :, 1])


def test_present_and_future_of_a_partner_are_exchanged_apart(rule: Replacements, clips: Clips) -> None:
    partners = clips_of(rule, [rule.partners[sample.id] for sample in clips.samples])
    future, present = rule("partner-future", clips), rule("partner-present", clips)
    assert torch.equal(future[:, :, :GIVEN], clips.real[:, :, :GIVEN])
    torch.testing.assert_close(future[:, :, GIVEN:], partners.real[:, :, GIVEN:])
    assert torch.equal(present[:, :, GIVEN:], clips.real[:, :, GIVEN:])
    torch.testing.assert_close(present[:, :, :GIVEN], partners.real[:, :, :GIVEN])


def test_the_oracle_keeps_the_given_slots_and_reads_the_true_ones(
    rule: Replacements, clips: Clips, model: TheWorld
) -> None:
    given = rule("oracle", clips)
    assert torch.equal(given[:, :, :GIVEN], clips.real[:, :, :GIVEN])
    sample = clips.samples[0]
    assert sample.future is not None
    film = torch.from_numpy(np.concatenate([np.asarray(sample.images[0])[None], np.asarray(sample.future[0])]))
    truth = model_of(world_tap="true-future").read_world(film.permute(0, 3, 1, 2)[None], 4)
    torch.testing.assert_close(given[0, :, GIVEN:], truth[0, :, GIVEN:], rtol=1e-3, atol=1e-4)


def test_shuffled_slots_and_cells_keep_their_content(rule: Replacements, clips: Clips) -> None:
    slots = rule("slot-shuffle", clips)
    orders = rule.orders(("slot-shuffle", "cell-shuffle"))
    order = orders["5 slots"]
    assert [torch.equal(slots[:, :, place], clips.real[:, :, order[place]]) for place in range(SLOTS)] == [True] * 5
    cells = rule("cell-shuffle", clips)
    order = orders["4 x 4 cells"]
    block = lambda features, cell: features[..., cell // 4 * 2 : cell // 4 * 2 + 2, cell % 4 * 2 : cell % 4 * 2 + 2]  # noqa: E731
    for place in range(16):
        assert torch.equal(block(cells, place), block(clips.real, order[place]))


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (5, 1), (2, 2), (4, 4), (8, 8)])
def test_a_fixed_derangement_moves_every_cell_and_most_cells_far(rows: int, columns: int) -> None:
    order = fixed_derangement(rows, columns, 0)
    assert sorted(order) == list(range(rows * columns))
    assert all(place != source for place, source in enumerate(order))
    assert order == fixed_derangement.__wrapped__(rows, columns, 0)
    if columns >= 4:
        far = [max(abs(a // columns - b // columns), abs(a % columns - b % columns)) >= 2 for a, b in enumerate(order)]
        assert sum(far) >= 0.9 * len(far)  # the test of arXiv 2605.21642 asks for 60 of 64
    with pytest.raises(ValueError, match="a grid of 1 x 1 cells has no other order"):
        fixed_derangement(1, 1, 0)


def test_a_grey_picture_reaches_gemma_and_the_world_keeps_its_clip() -> None:
    samples = scenes(2)
    for before, after in zip(samples, blanked(samples), strict=True):
        picture = after.images[0]
        assert np.unique(np.asarray(picture)).tolist() == [128]  # pyright: ignore[reportArgumentType]
        assert picture.size == before.images[0].size  # pyright: ignore[reportAttributeAccessIssue]
        assert after.clips == ([before.images[0]],)
        assert after.fields["change"] > 0.1


def test_rows_prove_item_by_item_that_features_were_replaced(model: TheWorld, rule: Replacements) -> None:
    samples = scenes()
    pairs = paired(samples)
    rows: dict[str, list[Prediction]] = {}
    for condition in ("real", "zero", "partner-future", "shuffle"):
        answerer = ReplacingAnswerer(model, condition, rule, pairs.samples, max_new_tokens=1, first_token=True)  # pyright: ignore[reportArgumentType]
        rows[condition] = answerer(pairs.shuffled() if condition == "shuffle" else pairs.samples)
    assert [row.fields["change"] for row in rows["real"]] == [0.0] * 6
    assert [row.fields["change"] for row in rows["zero"]] == [1.0] * 6
    assert {row.prompt_hash for row in rows["shuffle"]} == {row.prompt_hash for row in rows["real"]}
    proof = proof_of("partner-future", rows, pairs)
    assert (proof.num_items, proof.num_replaced, proof.num_scores) == (6, 6, 6)
    assert proof.num_scores_changed == 6
    assert proof_of("real", rows, pairs).num_scores_changed == 0
    assert proof_of("real", rows, pairs).num_replaced == 0


def test_the_share_of_partners_answers_counts_questions_that_offer_them(rule: Replacements) -> None:
    pairs = paired(scenes())
    partner = pairs.by_id

    def row(sample: Sample, reply: str) -> Prediction:
        choices = tuple(sample.fields["choices"])
        question = sample.prompt[-1].text
        return Prediction(
            sample_id=sample.id,
            question=question,
            answer=sample.answer,
            prediction=reply,
            choices=choices,
            prompt_hash="",
        )

    rows = [row(sample, str(partner[sample.id].answer)) for sample in pairs.samples]
    offered = sum(partner[sample.id].answer in sample.fields["choices"] for sample in pairs.samples)
    proof = proof_of("partner-future", {"real": rows, "partner-future": rows}, pairs)
    assert (proof.num_partner_answers, proof.num_partner_possible) == (offered, offered)
    assert offered > 0
    wrong = [row(sample, str(sample.answer)) for sample in pairs.samples]
    proof = proof_of("partner-future", {"real": wrong, "partner-future": wrong}, pairs)
    assert (proof.num_partner_answers, proof.num_partner_possible) == (0, offered)
    assert proof_of("zero", {"real": wrong, "zero": wrong}, pairs).num_partner_answers is None


def moment(slots: int) -> Moments:
    moment = Moments()
    moment.add(torch.randn(2, 16, slots, 8, 8))
    moment.finish()
    return moment


def test_conditions_without_an_operand_are_named_with_the_reason(model: TheWorld) -> None:
    samples = scenes(2)
    ahead = {(1, 4): moment(5)}
    assert unavailable(model, samples, ahead) == {}
    unseen = [replace(sample, future=None) for sample in samples]
    assert unavailable(model, unseen, ahead) == {"oracle": "the data set shows no true future"}
    here = unavailable(model_of(num_world_steps=0), samples, {(1, 0): moment(1)})
    assert set(here) == {"partner-future", "partner-present", "oracle", "first-repeat", "slot-shuffle"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"world_tap": "true-future"}, "the model reads the true future already"),
        ({"world_tap": "noise", "world_control_of": "rollout"}, "the tap 'noise' is a control"),
        ({"world_tap": "vae", "num_world_steps": 0, "freeze_cosmos_vae": False}, "the VAE was trained with the model"),
    ],
)
def test_a_tap_that_has_no_oracle_is_refused_with_the_reason(settings: dict[str, Any], reason: str) -> None:
    model = model_of(**settings)
    assert no_true_future(model).startswith(reason)
    with pytest.raises(ValueError, match=reason):
        TrueFuture(model)


def test_an_audit_always_asks_what_decides_and_takes_a_choice_of_the_rest() -> None:
    settings = AuditSettings(checkpoint="model", conditions=("oracle",))
    assert settings.asked == ("real", "shuffle", "mean", "oracle")
    assert len(AuditSettings(checkpoint="model", conditions=("all",)).asked) == 15
    assert "random" not in AuditSettings(checkpoint="model").asked
    with pytest.raises(ValueError, match="names a condition twice"):
        AuditSettings(checkpoint="model", conditions=("oracle", "oracle"))
