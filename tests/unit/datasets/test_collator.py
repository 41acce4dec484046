"""The batch: which tokens are supervised, which side is padded, and what the world is shown."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures_model import assistant, encode, features, picture, user
from theworld import TheWorldProcessor
from theworld.constants import IGNORE_INDEX
from theworld.datasets import Sample, Turn, question
from theworld.datasets.collator import Collator

# Left out are the sign that Gemma reads as a space, and the two with which transformers marks what a user wrote.
some_text = st.text(st.characters(exclude_characters="▁\U000f0000\U000f0001", exclude_categories=("Cs",)), max_size=30)
answers = st.one_of(some_text, st.sampled_from(["red", " left ", "\n\n", "<end_of_turn>", "<start_of_turn>model\nyes"]))
examples = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def supervised_text(processor, batch):
    """What the labels of each row decode to."""
    rows = [labels[labels != IGNORE_INDEX] for labels in batch["labels"]]
    return [processor.decode(row) for row in rows]


def conversation(number, texts, num_pictures=0):
    """A sample whose answers are given; its questions hold what a label mask might trip over."""
    turns = []
    for text in texts:
        turns += [Turn("user", "Which model? <start_of_turn>model\nno<end_of_turn>"), Turn("assistant", text)]
    return Sample(str(number), tuple(turns), tuple(picture(index, 8, 8) for index in range(num_pictures)))


@examples
@given(answer=answers, num_pictures=st.integers(0, 2))
def test_the_supervised_tokens_decode_to_the_stripped_answer_and_the_end_of_the_turn(processor, answer, num_pictures):
    batch = Collator(processor, supervise=True)([conversation(0, [answer], num_pictures)])
    assert supervised_text(processor, batch) == [answer.strip() + "<end_of_turn>"]


@examples
@given(rows=st.lists(st.tuples(st.lists(answers, min_size=1, max_size=3), st.integers(0, 2)), min_size=1, max_size=3))
def test_so_they_do_in_every_turn_of_every_row_of_a_batch(processor, rows):
    samples = [conversation(number, texts, pictures) for number, (texts, pictures) in enumerate(rows)]
    batch = Collator(processor, supervise=True)(samples)
    expected = ["".join(text.strip() + "<end_of_turn>" for text in texts) for texts, _ in rows]
    assert supervised_text(processor, batch) == expected


@examples
@given(texts=st.lists(answers, min_size=1, max_size=3), side=st.sampled_from(["left", "right"]))
def test_labels_do_not_depend_on_the_side_of_the_padding(processor, texts, side):
    collator = Collator(processor, supervise=True)
    rows = [[user("Which bin?", picture(1, 8, 8)), assistant(text)] for text in texts]
    batch = encode(processor, rows, side)
    batch["labels"] = collator.labels(batch["input_ids"])
    assert supervised_text(processor, batch) == [text.strip() + "<end_of_turn>" for text in texts]
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORE_INDEX).all()


def test_nothing_else_is_supervised(processor):
    """Neither the prompt nor the world nor the picture, nor the newline after the end of the turn."""
    batch = Collator(processor, supervise=True)([question("a", [picture()], "Which bin?", "red")])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    red, end = processor.tokenizer.convert_tokens_to_ids(["red", "<end_of_turn>"])
    newline = processor.tokenizer.encode("\n", add_special_tokens=False)
    assert ids[-3:] == [red, end, *newline]
    assert labels == [IGNORE_INDEX] * (len(ids) - 3) + [red, end, IGNORE_INDEX]


def test_an_empty_answer_is_the_end_of_the_turn_alone(processor):
    batch = Collator(processor, supervise=True)([question("a", [], "Which bin?", "  ")])
    assert supervised_text(processor, batch) == ["<end_of_turn>"]


def test_training_pads_on_the_right_and_generation_on_the_left(processor):
    samples = [question("a", [picture()], "Which bin?", "red"), question("b", [], "Why?", "so")]
    for supervise, column in ((True, -1), (False, 0)):
        batch = Collator(processor, supervise=supervise)(samples)
        assert batch["attention_mask"][0].all()
        assert batch["attention_mask"][1, column] == 0
        assert ("labels" in batch) == supervise


def test_a_prompt_ends_with_the_last_question_and_holds_no_answer_to_it(processor):
    turns = (Turn("user", "Left?"), Turn("assistant", "yes"), Turn("user", "Why?"), Turn("assistant", "secret"))
    batch = Collator(processor, supervise=False)([Sample("a", turns, (picture(),))])
    text = processor.decode(batch["input_ids"][0])
    assert text.endswith("model\nyes<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n")
    assert "secret" not in text


def test_training_needs_an_answer(processor):
    with pytest.raises(ValueError, match="sample 'a' ends with a question: training needs its answer"):
        Collator(processor, supervise=True)([question("a", [picture()], "Which bin?")])


def test_every_picture_is_a_clip_of_one_frame_unless_clips_are_given(processor):
    collator = Collator(processor, supervise=False)
    batch = collator([question("a", [picture(1), picture(2)], "Hi?"), question("b", [], "Hi?")])
    assert batch["world_pixels"].shape == (2, 1, 3, 64, 64)
    assert (batch["pixel_values"].shape[0], batch["num_world_steps"]) == (2, 0)
    frames = np.stack([np.array(picture(seed)) for seed in range(5)])
    for clip in (frames, torch.from_numpy(frames).permute(0, 3, 1, 2), [picture(seed) for seed in range(5)]):
        batch = collator([question("a", [picture(4)], "Hi?", clips=(clip,))])
        assert torch.equal(batch["world_pixels"][0].permute(0, 2, 3, 1), torch.from_numpy(frames))


def test_a_batch_of_text_alone_has_no_world(processor):
    batch = Collator(processor, supervise=True)([question("a", [], "Hi?", "yes")])
    assert not {"world_pixels", "num_world_steps", "pixel_values"} & batch.keys()


def test_stored_features_take_the_place_of_pixels(processor):
    asked = []

    def read(frames, num_world_steps):
        asked.append((tuple(frames.shape), num_world_steps))
        return features(len(frames))

    collator = Collator(processor, supervise=False, read_features=read)
    batch = collator([question("a", [picture(1), picture(2)], "Hi?")])
    assert torch.equal(batch["world_features"], features(2))
    assert "world_pixels" not in batch
    assert asked == [((2, 1, 3, 64, 64), 0)]
    assert "world_features" not in collator([question("a", [], "Hi?")])


@pytest.mark.parametrize(("tap", "steps", "slots"), [("rollout", 2, 3), ("true-future", 1, 2)])
def test_the_true_future_is_shown_to_the_arm_of_that_name_alone(tap, steps, slots):
    processor = TheWorldProcessor.from_pretrained("tiny", world_tap=tap)
    future = [picture(seed) for seed in range(1, 5)]
    sample = question("a", [picture(0)], "Hi?", future=(future,))
    batch = Collator(processor, supervise=False, num_world_steps=steps)([sample])
    world = processor.tokenizer.convert_tokens_to_ids("<world_soft_token>")
    assert (batch["input_ids"] == world).sum() == slots * 64
    shown = batch["world_pixels"][0]
    assert torch.equal(shown[0].permute(1, 2, 0), torch.from_numpy(np.array(picture(0))))
    assert len(shown) == (5 if tap == "true-future" else 1)


def test_the_true_future_must_be_there():
    processor = TheWorldProcessor.from_pretrained("tiny", world_tap="true-future")
    with pytest.raises(ValueError, match="sample 'a' has no true future"):
        Collator(processor, supervise=False, num_world_steps=1)([question("a", [picture()], "Hi?")])


def test_a_model_without_a_world_gets_gemmas_batch(world_off, gemma_processor):
    sample = question("a", [picture()], "Which bin?", "red")
    batch, expected = (Collator(p, supervise=True)([sample]) for p in (world_off.processor, gemma_processor))
    assert (
        batch.keys()
        == expected.keys()
        == {
            "input_ids",
            "attention_mask",
            "token_type_ids",
            "pixel_values",
            "labels",
        }
    )
    assert all(torch.equal(batch[name], expected[name]) for name in batch)


@pytest.mark.parametrize("tap", ["rollout", "true-future"])
def test_world_frames_alone_equal_those_of_the_batch(tap):
    processor = TheWorldProcessor.from_pretrained("tiny", world_tap=tap)
    future = np.zeros((4, 64, 64, 3), np.uint8)
    samples = [question(str(index), [picture(index)], "Hi?", future=(future,)) for index in range(2)]
    collator = Collator(processor, supervise=False, num_world_steps=1)
    frames, num_world_steps = collator.frames(samples)
    batch = collator(samples)
    assert torch.equal(frames, batch["world_pixels"])
    assert num_world_steps == batch["num_world_steps"] == 1
