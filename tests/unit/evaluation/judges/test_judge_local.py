"""A judge on this machine: Gemma 3 with the world off."""

import asyncio

import pytest

from theworld.evaluation.judges.client import CallRefusedError
from theworld.evaluation.judges.local import LocalJudge
from theworld.evaluation.judges.prompts import Prompt


@pytest.fixture(scope="module")
def judge() -> LocalJudge:
    return LocalJudge("tiny", max_new_tokens=8)


def test_it_answers_with_the_world_off_and_counts_its_tokens(judge):
    reply = asyncio.run(judge.ask(Prompt("Be brief.", "How are you?")))
    assert not judge.model.config.enable_world
    assert reply.num_completion_tokens is not None
    assert 1 <= reply.num_completion_tokens <= 8
    assert reply.num_prompt_tokens is not None
    assert reply.num_prompt_tokens > 8
    assert asyncio.run(judge.ask(Prompt("Be brief.", "How are you?"))) == reply


def test_its_name_tells_its_weights(judge):
    name, weights = judge.name.split()
    assert (name, len(weights)) == ("tiny", 16)


def test_a_prompt_beyond_its_context_is_refused(judge):
    with pytest.raises(CallRefusedError, match="the model takes 8192"):
        asyncio.run(judge.ask(Prompt("", "red " * 9000)))
