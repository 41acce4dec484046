"""The network of pixels: its size, its mirror, the choices that it keeps to, and that it learns from pictures."""

from dataclasses import replace

import pytest
import torch

from theworld.config.arm_settings import Arm
from theworld.datasets.foresight import ForesightDataset, make_item
from theworld.datasets.sample import question
from theworld.datasets.wrappers import ClipsAsImages
from theworld.experiments.arms.pixel_network import (
    NUM_FRAMES,
    WORDS,
    PixelAnswerer,
    PixelNetwork,
    example_of,
    mirrored,
    pixels_of,
    train_network,
)


@pytest.fixture(scope="module")
def samples() -> ClipsAsImages:
    """Two scenes of each kind."""
    return ClipsAsImages(ForesightDataset("test", 10, questions="future"))


@pytest.mark.parametrize("answers", ["words", "places"])
def test_it_has_about_three_hundred_thousand_parameters(answers):
    assert 250_000 < PixelNetwork(answers, "plain").num_parameters < 320_000


def test_a_place_is_the_number_of_the_outcome_and_a_word_one_of_the_choices(samples):
    for index in range(10):
        sample = samples[index]
        item = make_item("test", index // 5, sample.fields["task"])
        place, word = (example_of(sample, answers, "plain") for answers in ("places", "words"))

        assert place.target == item.outcome
        assert place.words[place.target] == sample.answer == WORDS[word.target]
        assert set(word.words.values()) == set(sample.fields["choices"])
        assert pixels_of([place, word]).shape == (2, 3 * NUM_FRAMES, 64, 64)


def test_the_mirror_exchanges_left_and_right_twice_and_leaves_colours_and_yes_alone(samples):
    drop, topple, _, collide, _ = (samples[index] for index in range(5))

    assert [mirrored(replace_target(drop, "places", place), "places") for place in range(3)] == [2, 1, 0]
    assert mirrored(replace_target(topple, "words", WORDS.index("left")), "words") == WORDS.index("right")
    assert mirrored(replace_target(drop, "words", 0), "words") == 0
    assert mirrored(replace_target(collide, "places", 0), "places") == 0


def replace_target(sample, answers, target):
    """The example of a sample with another true answer."""
    return replace(example_of(sample, answers, "plain"), target=target)


def test_questions_about_the_present_are_refused(samples):
    with pytest.raises(ValueError, match="answers questions about the future alone"):
        example_of(question("a", [], "Is there a post?", "yes", fields={"kind": "post"}), "words", "plain")


def test_training_fits_a_few_scenes_repeats_with_its_seed_and_leaves_the_global_random_numbers(samples, tmp_path):
    arm = Arm(kind="pixels", name="pixels", answers="places", num_steps=30, num_passes=1, batch_size=10)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second = (train_network(samples, arm, "plain", learning_rate=3e-3, seed=0) for _ in range(2))

    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    first.save(tmp_path)
    given = [samples[index] for index in range(10)]
    replies = [row.prediction for row in PixelAnswerer(PixelNetwork.load(tmp_path))(given)]
    assert replies == [row.prediction for row in PixelAnswerer(first.eval())(given)]
    assert sum(reply == sample.answer for reply, sample in zip(replies, given, strict=True)) >= 8
    untrained = PixelAnswerer(train_network(None, arm, "plain", learning_rate=3e-3, seed=0))(given)
    assert all(row.prediction in (row.choices or ()) for row in untrained)
