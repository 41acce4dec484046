"""Sizes of effects, and the sentence that an audit reads from them."""

import dataclasses

import pytest

from theworld.evaluation.effects import THRESHOLDS, effects_of, in_words, size_of
from theworld.evaluation.statistics import Interval


@dataclasses.dataclass(frozen=True)
class Measured:
    """A drop as the sentence needs it."""

    condition: str
    drop: float
    interval: Interval


def measured(**points: tuple[float, float, float]) -> list[Measured]:
    """Drops by condition, as points (drop, low, high)."""
    return [
        Measured(name.replace("_", "-"), drop / 100, Interval(low / 100, high / 100))
        for name, (drop, low, high) in points.items()
    ]


def sentence(**points: tuple[float, float, float]) -> str:
    drops = measured(**points)
    return in_words(effects_of(drops), drops)


@pytest.mark.parametrize(
    ("low", "high", "size"),
    [
        (0.10, 0.20, "matters"),
        (0.01, 0.08, "matters"),
        (0.01, 0.04, "matters little"),
        (-0.02, 0.04, "does not matter"),
        (0.0, 0.0, "does not matter"),
        (-0.02, 0.06, "undecided"),
        (-0.08, -0.01, "misleads"),
    ],
)
def test_the_size_of_an_effect_follows_the_stated_thresholds(low: float, high: float, size: str) -> None:
    assert size_of(Interval(low, high)) == size
    assert size in THRESHOLDS


def test_a_model_that_reads_out_its_imagined_future_is_described_in_one_sentence() -> None:
    assert sentence(
        shuffle=(50, 45, 55),
        first_repeat=(42, 36, 47),
        partner_future=(48, 43, 53),
        partner_present=(4.6, 1.5, 7.7),
        oracle=(-11, -14, -8),
        blank_picture=(0.1, -2, 2.2),
    ) == (
        "Answers follow the imagined future (a partner's costs 48.0 points [43.0, 53.0], the present in its place costs"
        " 42.0 points [36.0, 47.0]); the present among the world's slots matters (4.6 points [1.5, 7.7]); Gemma's"
        " picture does not matter (0.1 points [-2.0, 2.2]); a true future would add +11.0 points [+8.0, +14.0]."
    )


def test_a_model_that_only_sees_better_does_not_look_ahead() -> None:
    text = sentence(
        shuffle=(30, 25, 35),
        first_repeat=(0, -2, 2),
        partner_future=(1, -2, 4),
        partner_present=(30, 25, 35),
        blank_picture=(20, 15, 25),
    )
    assert text.startswith("Answers do not depend on the imagined future (a partner's costs 1.0 points [-2.0, 4.0]);")
    assert "the present among the world's slots matters" in text
    assert "Gemma's picture matters" in text


def test_a_future_that_only_misleads_is_not_called_useful() -> None:
    text = sentence(first_repeat=(0, -2, 2), partner_future=(30, 25, 35))
    assert text.startswith("A wrong future misleads the answers")
    assert "an imagined one is not shown to help" in text


def test_too_few_items_leave_the_sentence_undecided() -> None:
    assert sentence(partner_future=(10, -5, 25)).startswith("Whether the imagined future is read at all is undecided")
    assert "whether Gemma's picture matters is undecided" in sentence(
        partner_future=(50, 45, 55), blank_picture=(3, -2, 8)
    )


def test_a_model_without_future_slots_is_judged_by_the_world_as_a_whole() -> None:
    assert sentence(shuffle=(20, 15, 25)) == "Answers follow the world (a partner's costs 20.0 points [15.0, 25.0])."
    assert sentence(shuffle=(0, -1, 1)).startswith("Answers do not depend on the world")


def test_a_condition_that_replaced_nothing_shows_nothing() -> None:
    drops = measured(shuffle=(0, 0, 0), blank_picture=(0, 0, 0))
    assert [effect.condition for effect in effects_of(drops, unreplaced=["blank-picture"])] == ["shuffle"]


@pytest.mark.parametrize(
    ("points", "clause"),
    [
        ((-11, -14, -8), "a true future would add +11.0 points [+8.0, +14.0]"),
        ((0, -2, 2), "a true future is not shown to help"),
        ((9, 5, 12), "a true future harms"),
    ],
)
def test_the_worth_of_a_true_future_has_the_sign_of_a_gain(points: tuple[float, float, float], clause: str) -> None:
    assert clause in sentence(partner_future=(50, 45, 55), oracle=points)
