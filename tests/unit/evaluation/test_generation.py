"""The answering loop reads the world, writes what the model says, and never takes an error for an answer."""

import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fixtures_processes import start
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import Sample, question
from theworld.evaluation.collection import ahead, answer_all
from theworld.evaluation.generation import Answerer, _first_of_each
from theworld.evaluation.predictions import Prediction, PredictionWriter, RunIdentity, read_predictions
from theworld.modeling import TheWorld
from theworld.world.store import MissingFeatureError, StoreWriteError

IDENTITY = RunIdentity(settings_hash="settings", checkpoint="tiny")


@pytest.fixture(scope="module")
def model() -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny", world_grid=4).eval()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    dataset = ForesightDataset("validation", 6, tasks=("drop",))
    return [dataset[index] for index in range(6)]


def test_the_model_own_reply_is_written_with_the_number_of_clips_read(model: TheWorld, samples: list[Sample]) -> None:
    row = Answerer(model, max_new_tokens=4)(samples[:1])[0]

    sample = samples[0]
    assert row.prediction == model.generate(sample.images[0], sample.prompt[-1].text, max_new_tokens=4, do_sample=False)
    assert (row.sample_id, row.answer, row.world_read) == (sample.id, sample.answer, 1)


def test_a_batch_gives_the_answers_of_one_by_one(model: TheWorld, samples: list[Sample]) -> None:
    answerer = Answerer(model, score_choices=True)

    together = answerer(samples)
    alone = [row for sample in samples for row in answerer([sample])]

    for one, other in zip(together, alone, strict=True):
        assert one.log_likelihoods == pytest.approx(other.log_likelihoods, abs=1e-4)


def test_another_world_for_the_same_picture_changes_what_the_model_finds_likely(
    model: TheWorld, samples: list[Sample]
) -> None:
    exchanged = replace(samples[0], clips=([samples[1].images[0]],))

    own, other = (Answerer(model, score_choices=True)([sample])[0] for sample in (samples[0], exchanged))

    assert own.log_likelihoods is not None
    assert other.log_likelihoods is not None
    assert max(abs(own.log_likelihoods[c] - other.log_likelihoods[c]) for c in own.log_likelihoods) > 1e-4


def test_the_log_likelihood_of_a_choice_is_that_of_its_tokens_and_the_end_of_turn(
    model: TheWorld, samples: list[Sample]
) -> None:
    sample = samples[0]
    row = Answerer(model, score_choices=True)([sample])[0]
    batch = Answerer(model)._candidates([sample])  # the sample's own answer, supervised
    with torch.no_grad():
        loss = model(**batch).loss

    count = int((batch["labels"] != -100).sum())
    assert row.log_likelihoods is not None
    assert row.log_likelihoods[str(sample.answer)] == pytest.approx(-loss.item() * count, abs=1e-3)


def test_the_world_is_read_once_per_clip_however_many_choices_there_are(model: TheWorld, samples: list[Sample]) -> None:
    before = model.tap.clips_read

    Answerer(model, score_choices=True)(samples)

    assert model.tap.clips_read - before == len(samples)


def test_a_picture_that_cannot_be_read_is_an_error_row_and_its_neighbours_are_answered(
    model: TheWorld, samples: list[Sample], tmp_path: Path
) -> None:
    broken = question("broken", [tmp_path / "absent.png"], "Where?", "left")

    rows = Answerer(model, max_new_tokens=2)([samples[0], broken, samples[1]])

    assert [row.error is None for row in rows] == [True, False, True]
    assert rows[1].prediction is None
    assert rows[1].error is not None
    assert rows[1].error.startswith("MissingImageError: ")


def test_an_open_question_cannot_be_weighed_and_says_so(model: TheWorld) -> None:
    row = Answerer(model, score_choices=True)([question("open", [], "Why?", "because")])[0]

    assert row.error is not None
    assert "has no choices to weigh" in row.error


def test_a_reader_that_reads_nothing_is_found_out(model: TheWorld, samples: list[Sample]) -> None:
    answerer = Answerer(model, max_new_tokens=2)
    answerer._prompts.read_features = lambda frames, steps: torch.zeros(len(frames), 16, 1, 8, 8)

    rows = answerer(samples[:1])

    assert rows[0].error == "RuntimeError: 0 clips were read from the world; expected 1"


def test_a_fault_of_the_program_is_no_error_row(
    model: TheWorld, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*args: object, **kwargs: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(TheWorld, "generate", faulty)

    with pytest.raises(TypeError, match="a bug"):
        Answerer(model)(samples[:1])


@pytest.mark.parametrize(
    "fault",
    [
        StoreWriteError("the disk is full"),
        MissingFeatureError("not in the store"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_fault_of_the_machine_ends_the_run(model: TheWorld, samples: list[Sample], fault: Exception) -> None:
    def broken(frames: torch.Tensor, num_world_steps: int) -> torch.Tensor:
        raise fault

    with pytest.raises(type(fault), match=str(fault.args[-1])):
        Answerer(model, read_features=broken)(samples[:2])


def test_without_a_world_no_clip_is_read(samples: list[Sample]) -> None:
    gemma = TheWorld.from_pretrained("tiny", enable_world=False)

    row = Answerer(gemma, max_new_tokens=2)(samples[:1])[0]

    assert row.error is None
    assert row.world_read == 0


def test_a_restart_repeats_nothing_and_loses_nothing(model: TheWorld, samples: list[Sample], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    answerer = Answerer(model, max_new_tokens=2)
    with PredictionWriter(path, IDENTITY) as writer:
        answer_all(answerer, samples[:3], writer, batch_size=2, title="first")
    asked = answerer.clips_read

    with PredictionWriter(path, IDENTITY) as writer:
        answer_all(answerer, samples, writer, batch_size=2, title="again")

    assert [row.sample_id for row in read_predictions(path)] == [sample.id for sample in samples]
    assert answerer.clips_read - asked == 3


def answer_until_killed(path: Path) -> None:
    """Die after the fourth answer."""
    gemma = Answerer(TheWorld.from_pretrained("tiny", enable_world=False), max_new_tokens=2)
    with PredictionWriter(path, IDENTITY) as writer:
        append = writer.append

        def append_and_die(rows: Iterable[Prediction]) -> None:
            append(rows)
            if len(writer.done()) >= 4:
                os.kill(os.getpid(), signal.SIGKILL)

        writer.append = append_and_die
        answer_all(gemma, ForesightDataset("validation", 6, tasks=("drop",)), writer, batch_size=2, title="killed")


def test_an_evaluation_killed_with_sigkill_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    killed = start(answer_until_killed, path)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    kept = path.read_bytes()
    gemma = Answerer(TheWorld.from_pretrained("tiny", enable_world=False), max_new_tokens=2)
    with PredictionWriter(path, IDENTITY) as writer:
        answer_all(gemma, ForesightDataset("validation", 6, tasks=("drop",)), writer, batch_size=2, title="again")

    assert path.read_bytes().startswith(kept)
    assert len(read_predictions(path)) == 6


def test_clips_of_the_expanded_batch_are_found_again() -> None:
    # Two samples: one clip with three choices, two clips with two choices.
    first, copies = _first_of_each([3, 2], [1, 2])

    assert first == [0, 3, 4]
    assert copies == [0, 0, 0, 1, 2, 1, 2]


def test_a_question_longer_than_the_model_is_an_error_row_and_the_others_are_answered(fused) -> None:
    long, short = (
        question(name, [], "x " * number, "a", fields={"choices": ("a", "b")})
        for name, number in (("l", 40_000), ("s", 1))
    )
    for score_choices in (False, True):
        rows = Answerer(fused, max_new_tokens=1, score_choices=score_choices)([long, short])
        assert "the model's length" in str(rows[0].error)
        assert rows[1].error is None


def test_items_are_made_ahead_in_their_order_and_their_errors_arrive() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number
        raise OSError("the disk is gone")

    items = ahead(numbers())
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while made != [0, 1, 2]:  # two further ones, not more
        assert time.monotonic() < deadline
    assert [next(items) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_a_loop_that_ends_early_makes_no_further_items() -> None:
    made: list[int] = []
    items = ahead(number for number in range(100) if not made.append(number))

    assert next(items) == 0
    items.close()

    assert len(made) <= 4
