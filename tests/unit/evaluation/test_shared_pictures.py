"""Questions about one picture share a prefill of it, and have the answers of questions asked alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fixtures_model import picture
from theworld.datasets.sample import Sample, question
from theworld.evaluation.generation import Answerer
from theworld.evaluation.shared_pictures import sharing_of
from theworld.modeling import TheWorld

CHOICES = ("red", "the green bin", "blue")
TEXTS = ("Which bin?", "  Left or right, and why? ", "Où va-t-elle ? 球", "Is it <end_of_turn>?")


def asked(number: int, seed: int) -> Sample:
    text = TEXTS[number % len(TEXTS)]
    return question(f"{seed}/{number}", [picture(seed)], text, "red", fields={"choices": list(CHOICES)})


SAMPLES = [asked(0, 1), asked(1, 1), asked(2, 2), asked(3, 1)]
"""Three questions about one picture, as an object each, and one about another."""


class Alone(Answerer):
    def _sharing(self, samples: Any) -> None:
        return None


@pytest.fixture(params=["fused", "residual", "world_off"])
def model(request: pytest.FixtureRequest) -> TheWorld:
    return request.getfixturevalue(request.param)


def test_written_answers_begin_with_the_same_probabilities(model: TheWorld) -> None:
    shared, alone = (kind(model, first_token=True, max_new_tokens=3)(SAMPLES) for kind in (Answerer, Alone))

    assert [row.prediction for row in shared] == [row.prediction for row in alone]
    values = [[row.fields["first_log_prob"] for row in rows] for rows in (shared, alone)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    assert len({round(value, 4) for value in values[0]}) == len(SAMPLES)  # each depends on its question


def test_choices_have_the_same_log_likelihoods(model: TheWorld) -> None:
    shared, alone = (kind(model, score_choices=True)(SAMPLES) for kind in (Answerer, Alone))

    for row, expected in zip(shared, alone, strict=True):
        assert row.log_likelihoods == pytest.approx(expected.log_likelihoods, abs=1e-4)


@pytest.mark.parametrize("score_choices", [True, False])
def test_each_picture_and_its_world_are_read_once(
    fused: TheWorld, score_choices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = fused.get_image_features
    monkeypatch.setattr(
        fused,
        "get_image_features",
        lambda pixel_values, **rest: encoded.append(len(pixel_values)) or encode(pixel_values, **rest),
    )
    before = fused.tap.clips_read

    rows = Answerer(fused, score_choices=score_choices, max_new_tokens=2)(SAMPLES)

    assert [row.error for row in rows] == [None] * 4
    assert fused.tap.clips_read - before == 2
    assert sum(encoded) == 2
    assert [row.world_read for row in rows] == [1] * 4  # of each answer


def test_samples_with_other_clips_share_nothing(fused: TheWorld) -> None:
    other = replace(SAMPLES[1], clips=([picture(2)],))
    last = replace(SAMPLES[3], clips=([picture(2)],))

    sharing = sharing_of(fused, [replace(SAMPLES[0], clips=([picture(1)],)), other, last])

    assert sharing is not None
    assert sharing.groups == (0, 1, 1)


def test_replies_beyond_the_sliding_window_are_asked_alone(fused: TheWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fused.config.get_text_config()
    monkeypatch.setattr(text, "sliding_window", 8)

    assert Answerer(fused)._sharing(SAMPLES) is None
    assert Answerer(fused, score_choices=True)._sharing(SAMPLES) is not None  # its padding comes last


def test_samples_of_unequally_many_pictures_and_without_pictures_are_asked_alone(fused: TheWorld) -> None:
    two = question("two", [picture(1), picture(1)], "Which?", "red")

    assert sharing_of(fused, [SAMPLES[0], two]) is None
    assert sharing_of(fused, [question("none", [], "Which?", "red")] * 2) is None
    with torch.no_grad():
        assert [row.error for row in Answerer(fused, max_new_tokens=1)([SAMPLES[0], two])] == [None, None]
