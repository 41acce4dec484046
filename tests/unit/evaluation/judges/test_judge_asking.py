"""Asking judges: pauses, what is asked again and what is not, and a file in which no cost is lost."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures_judge import verdict_on
from theworld.config.evaluation import JudgeSettings, SpatialRGPTJudgeSettings
from theworld.evaluation.benchmarks.saved_replies import prediction
from theworld.evaluation.judges import run
from theworld.evaluation.judges.client import CallFailedError, CallRefusedError, JudgeReply, JudgeUnusableError
from theworld.evaluation.judges.prompts import REMINDER, Prompt
from theworld.evaluation.judges.run import MOST_FAILURES_IN_A_ROW, Persistence, judge_all, judge_one
from theworld.evaluation.judges.verdicts import JudgingIdentity, Verdict, VerdictWriter, cost, read_verdicts

RUN = JudgingIdentity(judge="stub", settings_hash="0", prompts="1", replies="2")
MARK = '{"your_mark": 1}'


class ScriptedJudge:
    """Says or raises what its script holds, then judges well."""

    def __init__(self, *script: str | Exception) -> None:
        self.script = list(script)
        self.prompts: list[Prompt] = []

    async def ask(self, prompt: Prompt) -> JudgeReply:
        self.prompts.append(prompt)
        await asyncio.sleep(0)
        next_one = self.script.pop(0) if self.script else verdict_on(prompt.user)
        if isinstance(next_one, Exception):
            raise next_one
        return JudgeReply(next_one, 100, 10)


def row(sample_id: str = "a", category: str = "big_predicate"):
    return prediction(sample_id, "It is.", "Yes.", question="Is it?", fields={"category": category})


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def persistence(pauses) -> Persistence:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return Persistence(max_attempts=4, max_wait_seconds=10.0, sleep=sleep, draw=lambda: 0.0)


def ask(judge: ScriptedJudge, persistence: Persistence):
    return asyncio.run(judge_one(judge, row(), persistence))


def test_pauses_double_up_to_the_longest_and_chance_takes_up_to_half():
    steady = Persistence(max_wait_seconds=6.0, draw=lambda: 0.0)
    assert [steady.wait_seconds(number, None) for number in (1, 2, 3, 4, 5000)] == [1, 2, 4, 6, 6]
    assert Persistence(draw=lambda: 1.0).wait_seconds(2, None) == 1.0


def test_a_judge_that_asks_for_a_pause_gets_it_or_is_left_alone():
    steady = Persistence(max_wait_seconds=6.0, draw=lambda: 0.0)
    assert steady.wait_seconds(1, 5.0) == 6.0  # never less than it asked for
    assert steady.wait_seconds(1, 6.1) is None


def test_failures_that_pass_are_asked_again_after_growing_pauses(persistence, pauses):
    found = ask(ScriptedJudge(CallFailedError("HTTP 500"), CallFailedError("HTTP 429", 3.0), MARK), persistence)
    assert (found.reply, found.error, found.num_calls, found.num_prompt_tokens) == (MARK, None, 3, 100)
    assert pauses == [1.0, 5.0]


def test_failures_that_do_not_pass_end_in_an_error_row(persistence, pauses):
    found = ask(ScriptedJudge(*[CallFailedError("HTTP 500")] * 4), persistence)
    assert (found.reply, found.error, found.num_calls) == (None, "CallFailedError: HTTP 500", 4)
    assert pauses == [1.0, 2.0, 4.0]  # and none before giving up


@pytest.mark.parametrize("failure", [CallRefusedError("HTTP 400: too long"), CallFailedError("HTTP 429", 3600.0)])
def test_what_would_fail_again_is_asked_once(failure, persistence, pauses):
    found = ask(ScriptedJudge(failure), persistence)
    assert (found.num_calls, pauses) == (1, [])
    assert str(failure) in str(found.error)


def test_a_reply_that_cannot_be_used_is_asked_for_again_with_a_reminder(persistence, pauses):
    judge = ScriptedJudge("I would say it is right.", MARK)
    found = ask(judge, persistence)
    assert (found.reply, found.error, found.num_calls, found.num_completion_tokens) == (MARK, None, 2, 20)
    assert [prompt.user.endswith(REMINDER) for prompt in judge.prompts] == [False, True]
    assert pauses == []


def test_replies_that_can_never_be_used_leave_the_item_missing(persistence):
    found = ask(ScriptedJudge(*["Right!"] * 9), persistence)
    assert (found.reply, found.num_calls) == ("Right!", 4)
    assert str(found.error).startswith("UnusableReplyError: the reply: Invalid JSON")


def judged(path, judge, rows, persistence, num_concurrent: int = 3) -> None:
    with VerdictWriter(path, RUN) as writer:
        asyncio.run(judge_all(judge, rows, writer, num_concurrent, persistence))


def test_failed_items_are_asked_again_by_the_next_run_and_their_cost_is_kept(tmp_path, persistence):
    path = tmp_path / "verdicts.jsonl"
    rows = [row(name) for name in "abc"]
    judged(path, ScriptedJudge(*["Right!"] * 4), rows[:1], persistence, num_concurrent=1)
    again = ScriptedJudge()
    judged(path, again, rows, persistence)
    found = read_verdicts(path)
    assert (found[0].sample_id, found[0].error is None) == ("a", False)
    assert sorted(one.sample_id for one in found if one.error is None) == ["a", "b", "c"]
    assert len(again.prompts) == 3
    assert (cost(found).num_calls, cost(found).num_retries, cost(found).num_prompt_tokens) == (7, 4, 700)
    judged(path, ScriptedJudge(AssertionError("asked again")), rows, persistence)


def test_verdicts_of_another_judging_are_refused(tmp_path, persistence):
    path = tmp_path / "verdicts.jsonl"
    judged(path, ScriptedJudge(), [row()], persistence)
    with pytest.raises(ValueError, match=r"belongs to another run \(prompts: '1' there, '9' here\)"):
        VerdictWriter(path, JudgingIdentity(judge="stub", settings_hash="0", prompts="9", replies="2"))


def test_a_refused_judging_leaves_the_settings_of_the_earlier_one(tmp_path):
    settings = SpatialRGPTJudgeSettings(
        file=tmp_path / "replies.jsonl",
        output_dir=tmp_path,
        judge=JudgeSettings(endpoint="http://127.0.0.1:1/v1", model="stub"),
    )
    identity = JudgingIdentity(judge="stub", settings_hash="0", prompts="1", replies="2")
    with run._writer(settings, identity) as writer:
        writer.append([Verdict(sample_id="a", category="left", reply=MARK, num_calls=1, seconds=0.5)])
    saved = (tmp_path / "config.json").read_bytes()

    other = replace(settings, judge=replace(settings.judge, model="other"))
    with pytest.raises(ValueError, match=r"another run \(judge: 'stub' there, 'other' here\); choose another"):
        run._writer(other, replace(identity, judge="other"))
    assert (tmp_path / "config.json").read_bytes() == saved


def test_a_file_cut_at_any_byte_is_finished(tmp_path, persistence):
    path = tmp_path / "verdicts.jsonl"
    rows = [row(name) for name in "abc"]
    judged(path, ScriptedJudge(*["Right!"] * 4), rows, persistence, num_concurrent=1)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        judged(path, ScriptedJudge(), rows, persistence)
        assert sorted(one.sample_id for one in read_verdicts(path) if one.error is None) == ["a", "b", "c"]


def test_a_judge_that_cannot_be_used_ends_the_run_and_what_was_judged_stays(tmp_path, persistence):
    path = tmp_path / "verdicts.jsonl"
    judge = ScriptedJudge(MARK, MARK, JudgeUnusableError("the key is not accepted"))
    with pytest.raises(JudgeUnusableError, match="the key is not accepted"):
        judged(path, judge, [row(str(number)) for number in range(50)], persistence)
    assert len(judge.prompts) < 10
    assert len(read_verdicts(path)) >= 2


def test_many_items_without_any_reply_end_the_run(tmp_path, persistence):
    judge = ScriptedJudge(*[CallFailedError("ConnectError: refused")] * 10_000)
    with pytest.raises(JudgeUnusableError, match="20 items one after another got no reply"):
        judged(tmp_path / "verdicts.jsonl", judge, [row(str(number)) for number in range(200)], persistence, 1)
    assert len(judge.prompts) == MOST_FAILURES_IN_A_ROW * persistence.max_attempts


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text() | st.sampled_from([MARK, "```json\n" + MARK + "```", "{}"]), min_size=1, max_size=4))
def test_no_reply_of_a_judge_raises(tmp_path_factory, replies):
    path = tmp_path_factory.mktemp("judged") / "verdicts.jsonl"
    with VerdictWriter(path, RUN) as writer:
        asyncio.run(judge_all(ScriptedJudge(*replies), [row()], writer, 1, Persistence(max_attempts=len(replies))))
    (found,) = read_verdicts(path)
    assert (found.error is None) == (MARK in str(found.reply))
    assert json.loads(path.read_bytes())["sample_id"] == "a"
