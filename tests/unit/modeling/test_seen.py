"""Several questions about one picture pay for the picture once."""

import copy

import pytest
import torch
from transformers import DynamicCache

from fixtures_model import encode, picture, user
from theworld import TheWorld
from theworld.modeling.generation import prefill, question_ids

QUESTIONS = [
    "Which bin?",
    "  Left or right, and why? ",
    "Où va-t-elle ? 球",
    "Is it <end_of_turn> or <image_soft_token>?",
    "",
]


@pytest.fixture(params=["fused", "residual", "world_off"])
def model(request) -> TheWorld:
    return request.getfixturevalue(request.param)


def next_logits(model: TheWorld, inputs: dict) -> torch.Tensor:
    """Logits of the first token of the answer."""
    output = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
    return output.logits[0][0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_prompt_in_two_parts_has_the_ids_of_the_prompt_in_one(model: TheWorld, question: str):
    whole = encode(model.processor, [[user(question, picture(1), picture(2))]], add_generation_prompt=True)["input_ids"]
    assert torch.equal(model.look([picture(1), picture(2)]).inputs(question)["input_ids"], whole)


def test_an_answer_after_a_look_has_the_logits_of_the_answer_at_once(model: TheWorld):
    seen = model.look(picture(1))
    for question in QUESTIONS[:2]:
        at_once = encode(model.processor, [[user(question, picture(1))]], add_generation_prompt=True)
        torch.testing.assert_close(
            next_logits(model, seen.inputs(question)), next_logits(model, at_once), atol=1e-5, rtol=1e-5
        )


def test_a_fork_is_bit_for_bit_what_the_same_two_parts_give_alone(model: TheWorld):
    shared = model.look(picture(1))
    shared.ask("Which bin?", max_new_tokens=8)  # what one question writes into its fork is not in the next
    alone = model.look(picture(1))
    assert torch.equal(
        next_logits(model, shared.inputs("Left or right?")), next_logits(model, alone.inputs("Left or right?"))
    )


def test_the_picture_and_its_world_are_read_once(fused: TheWorld, monkeypatch):
    reads = []
    read = fused.read_world
    monkeypatch.setattr(fused, "read_world", lambda *args: reads.append(1) or read(*args))
    seen = fused.look(picture(1))
    answers = [seen.ask(question, max_new_tokens=6, do_sample=False) for question in ("Which bin?", "Left or right?")]
    assert len(reads) == 1
    assert answers == [
        fused.generate(picture(1), question, max_new_tokens=6, do_sample=False)
        for question in ("Which bin?", "Left or right?")
    ]


def test_a_look_makes_no_logits(model: TheWorld):
    positions = []
    hook = model.lm_head.register_forward_pre_hook(lambda module, args: positions.append(args[0].shape[-2]))
    model.look(picture(1))
    hook.remove()
    assert positions == [0]


def test_a_window_that_is_exceeded_is_no_obstacle():
    model = TheWorld.from_pretrained("tiny", enable_world=False).eval()
    text = model.config.get_text_config()
    text.sliding_window = 8  # a picture alone is longer
    seen = model.look(picture(1))
    assert isinstance(seen.cache, DynamicCache)
    at_once = encode(model.processor, [[user("Which bin?", picture(1))]], add_generation_prompt=True)
    torch.testing.assert_close(
        next_logits(model, seen.inputs("Which bin?")), next_logits(model, copy.deepcopy(at_once)), atol=1e-5, rtol=1e-5
    )


def test_without_a_picture_there_is_nothing_to_share(world_off: TheWorld):
    with pytest.raises(ValueError, match="no pictures"):
        prefill(world_off, [])


def test_the_ids_of_a_question_end_where_an_answer_begins(fused: TheWorld):
    tokenizer = fused.processor.tokenizer
    assert tokenizer.decode(question_ids(fused.processor, "Which bin?")).endswith("<start_of_turn>model\n")
