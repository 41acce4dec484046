"""A mixture draws each data set as often as its weight says, and is a function of its seed."""

import pickle
from collections.abc import Hashable

import numpy as np
import pytest

from theworld.datasets.errors import RecordError
from theworld.datasets.mixture import Mixture
from theworld.datasets.sample import Sample, question


class Numbered:
    """Samples whose ids are their indices."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return question(str(index), [], "Why?", "so", fields={"task": "drop"})


class Measured(Numbered):
    """The same, with lengths and shapes."""

    def shape_of(self, index: int) -> Hashable:
        return (5,), index

    def text_length_of(self, index: int) -> int:
        return 10 + index

    def num_images_of(self, index: int) -> int:
        return 2


def drawn(mixture: Mixture) -> list[tuple[str, str]]:
    samples = [mixture[index] for index in range(len(mixture))]
    return [(str(sample.fields["part"]), sample.id) for sample in samples]


def test_each_part_gives_its_share_exact_to_one_sample() -> None:
    mixture = Mixture({"a": Numbered(7), "b": Numbered(100), "c": Numbered(3)}, [1.0, 2.0, 0.5], 100, seed=0)

    counts = np.bincount(mixture.part_of)

    assert counts.tolist() == [29, 57, 14]
    assert len(mixture) == 100


def test_no_sample_of_a_part_comes_again_before_all_others_have_come_and_each_pass_has_an_order_of_its_own() -> None:
    mixture = Mixture({"a": Numbered(8), "b": Numbered(1)}, [4.0, 1.0], 40, seed=3)

    places = mixture.place_of[mixture.part_of == 0].reshape(4, 8)

    assert all(sorted(one) == list(range(8)) for one in places.tolist())
    assert len({tuple(one) for one in places.tolist()}) == 4


def test_the_order_is_a_function_of_seed_weights_and_sizes() -> None:
    parts = {"a": Numbered(5), "b": Numbered(9)}
    one = drawn(Mixture(parts, [1.0, 3.0], 60, seed=1))

    assert drawn(Mixture({"a": Numbered(5), "b": Numbered(9)}, [10.0, 30.0], 60, seed=1)) == one
    assert drawn(Mixture(parts, [1.0, 3.0], 60, seed=2)) != one
    assert {part for part, _ in one[:12]} == {"a", "b"}


def test_a_long_mixture_is_planned_without_a_step_per_sample() -> None:
    mixture = Mixture({"a": Numbered(2), "b": Numbered(900_000)}, [1.0, 1.0], 3_000_000, seed=0)

    counts = np.bincount(mixture.place_of[mixture.part_of == 0])

    assert counts.tolist() == [750_000, 750_000]


def test_a_sample_says_which_part_it_is_of_and_keeps_its_fields() -> None:
    sample = Mixture({"0-vsr": Numbered(1)}, [1.0], 1, seed=0)[0]

    assert dict(sample.fields) == {"task": "drop", "part": "0-vsr"}


def test_a_record_that_gives_no_sample_is_named_with_its_part() -> None:
    class Broken(Numbered):
        def __getitem__(self, index: int) -> Sample:
            raise RecordError("empty answer", f"row {index}: an answer without text")

    with pytest.raises(RecordError, match="1-llava: row 0: an answer without text") as caught:
        Mixture({"1-llava": Broken(1)}, [1.0], 1, seed=0)[0]
    assert caught.value.cause == "empty answer"


def test_what_parts_know_of_their_samples_a_mixture_knows() -> None:
    mixture = Mixture({"a": Measured(3), "b": Measured(2)}, [1.0, 1.0], 10, seed=0)

    ids = [int(mixture[index].id) for index in range(10)]
    assert [mixture.shape_of(index) for index in range(10)] == [((5,), id) for id in ids]
    assert [mixture.text_length_of(index) for index in range(10)] == [10 + id for id in ids]
    assert mixture.num_images_of(0) == 2


def test_what_a_part_does_not_know_a_mixture_does_not_and_its_shape_is_that_of_pictures() -> None:
    mixture = Mixture({"a": Measured(3), "b": Numbered(2)}, [1.0, 1.0], 10, seed=0)

    assert not hasattr(mixture, "text_length_of")
    plain = [mixture.shape_of(index) for index in range(10) if mixture.part_of[index] == 1]
    assert plain == [mixture.parts[1][0].shape] * 5
    assert not hasattr(Mixture({"b": Numbered(2)}, [1.0], 4, seed=0), "shape_of")


def test_a_mixture_can_be_sent_to_another_process() -> None:
    mixture = Mixture({"a": Measured(3)}, [1.0], 6, seed=0)

    again = pickle.loads(pickle.dumps(mixture))

    assert drawn(again) == drawn(mixture)
    assert again.shape_of(0) == mixture.shape_of(0)


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([3, 0], [1.0, 1.0], "b has no samples"),
        ([3, 3], [1.0], "of 2 data sets: expected one each"),
        ([3, 3], [1.0, 0.0], "greater than 0"),
        ([], [], "of 0 data sets"),
    ],
)
def test_what_cannot_be_mixed_is_refused(sizes: list[int], weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture({name: Numbered(size) for name, size in zip("ab", sizes, strict=False)}, weights, 10, seed=0)
