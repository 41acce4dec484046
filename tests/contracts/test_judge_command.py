"""`theworld judge`: tables and one line of JSON, one message for a bad judge, and a killed run that goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import theworld
from fixtures_judge import StubEndpoint, answers, save_replies, says
from theworld.cli import main as cli

KEY = "sk-0123456789"
SAME = {**os.environ, "PYTHONPATH": str(Path(theworld.__file__).parents[1])}
"""The environment of a process that is to run the code that is tested."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with replies of every kind."""
    monkeypatch.chdir(tmp_path)
    save_replies(Path("replies.jsonl"))
    return tmp_path


@pytest.fixture
def arguments(endpoint: StubEndpoint) -> list[str]:
    judge = ["--judge.endpoint", endpoint.url, "--judge.model", "m", "--judge.max-wait-seconds", "0.01"]
    return ["judge", "spatial-rgpt", "replies.jsonl", "--output-dir", "judged", *judge]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    """What a program is told."""
    assert cli.main([*arguments, "--json"]) == cli.OK
    return json.loads(capsys.readouterr().out)


def read(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a reader is told."""
    assert cli.main(arguments) == cli.OK
    return capsys.readouterr().out


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one message with which the arguments are refused."""
    assert cli.main(arguments) == cli.REFUSED
    said = capsys.readouterr()
    (message,) = [line for line in said.err.splitlines() if line.startswith("theworld judge spatial-rgpt: ")]
    assert said.out == ""
    assert "Traceback" not in said.err
    return message


def test_the_rows_of_an_evaluation_are_judged_like_saved_replies(arguments, capsys):
    own = run(arguments, capsys)
    records = map(json.loads, Path("replies.jsonl").read_text().splitlines())
    rows = (
        {
            "sample_id": record["id"],
            "question": record["question"],
            "answer": record["ground_truth"],
            "prediction": record["prediction"],
            "fields": {"benchmark": "spatial-rgpt", "category": record["qa_category"], "type": record["qa_type"]},
            "prompt_hash": "0",
        }
        for record in records
    )
    Path("world.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(["world.jsonl" if word == "replies.jsonl" else word for word in arguments], capsys)
    assert {name: found[name] for name in ("overall", "agreement", "num_without_verdict")} == {
        name: own[name] for name in ("overall", "agreement", "num_without_verdict")
    }
    assert found["cost"] == own["cost"]  # the replies are the same, and their verdicts are there already


def test_a_reader_gets_tables_and_a_program_json(arguments, capsys):
    said, found = read(arguments, capsys), run(arguments, capsys)
    assert "| below/above | 1 | 100.0 |" in said
    assert "| height | 1 | 0.0 |" in said
    assert "## Agreement with the readings of theworld score" in said
    assert "| all | 5 | 100.0 | 0 | 0 |" in said
    assert "| m | 5 | 0 | 500 | 50 |" in said
    assert (found["overall"]["num_right"], found["overall"]["num_unparsed"]) == (3, 1)
    assert found["agreement"]["width_data"]["value"] == 1.0
    assert found["cost"]["num_prompt_tokens"] == 500
    assert json.loads(Path("judged/results.json").read_text())["overall"] == found["overall"]


def test_what_is_judged_is_not_asked_about_again(arguments, capsys, endpoint):
    first = run(arguments, capsys)
    again = run(arguments, capsys)
    assert len(endpoint.requests) == 5
    assert again["cost"] == first["cost"]


def test_failures_are_missing_and_made_good_by_the_next_run(arguments, capsys, endpoint):
    endpoint.default = says("I am not sure.")
    said = read([*arguments, "--judge.max-attempts", "2"], capsys)
    found = json.loads(Path("judged/results.json").read_text())
    assert (found["num_without_verdict"], found["overall"]["num_missing"], found["overall"]["value"]) == (5, 5, None)
    assert "the same command asks about them again" in said
    endpoint.default = None
    found = run(arguments, capsys)
    assert (found["num_without_verdict"], found["overall"]["num_right"]) == (0, 3)
    assert (found["cost"]["num_calls"], found["cost"]["num_retries"]) == (15, 10)


def test_an_endpoint_that_stumbles_gives_the_same_verdicts(arguments, capsys, endpoint):
    endpoint.script.extend([answers(429, Retry_After="0"), answers(500), answers(200, "<html>"), says("{}")])
    found = run(arguments, capsys)
    assert (found["overall"]["num_right"], found["cost"]["num_retries"]) == (3, 4)


@pytest.mark.parametrize(("status", "words"), [(401, "the key is not accepted"), (403, "the key may not use")])
def test_a_refused_key_ends_the_run_at_once_with_one_sentence(arguments, capsys, endpoint, monkeypatch, status, words):
    monkeypatch.setenv("THEWORLD_JUDGE_API_KEY", KEY)
    save_replies(Path("replies.jsonl"), copies=20)
    endpoint.default = answers(status, f"{KEY}: unknown")
    message = refused([*arguments, "--judge.num-concurrent", "2"], capsys)
    assert words in message
    assert "set THEWORLD_JUDGE_API_KEY in the environment" in message
    assert len(endpoint.requests) <= 2


def test_the_key_is_in_no_file_and_on_no_screen(arguments, capsys, endpoint, monkeypatch):
    monkeypatch.setenv("THEWORLD_JUDGE_API_KEY", KEY)
    endpoint.script.extend([says(f"The key {KEY}!"), answers(400, KEY)])
    assert cli.main([*arguments, "-vv"]) == cli.OK
    said = capsys.readouterr()
    written = "".join(path.read_text() for path in Path("judged").iterdir())
    assert endpoint.keys[0] == f"Bearer {KEY}"
    assert KEY not in said.out + said.err + written
    assert "***" in written


def test_no_more_requests_are_made_at_a_time_than_asked_for(arguments, capsys, endpoint):
    save_replies(Path("replies.jsonl"), copies=10)
    run([*arguments, "--judge.num-concurrent", "3"], capsys)
    assert 1 <= endpoint.most_at_a_time <= 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arguments: [*arguments, "--judge.temperature", "1.0"], "settings_hash: "),
        (lambda arguments: [*arguments, "--judge.model", "n"], "judge: 'm at http"),
        (lambda arguments: save_replies(Path("replies.jsonl"), copies=2) and arguments, "replies: "),
    ],
)
def test_verdicts_of_another_judging_are_refused(arguments, capsys, change: Callable[[list[str]], list[str]], words):
    run(arguments, capsys)
    message = refused(change(arguments), capsys)
    assert "verdicts.jsonl belongs to another run" in message
    assert words in message


BAD = {
    "no judge": ([], "judge.checkpoint and judge.endpoint: neither given; give --judge.endpoint URL and"),
    "two judges": (
        ["--judge.checkpoint", "tiny", "--judge.endpoint", "http://127.0.0.1:1", "--judge.model", "m"],
        "both given",
    ),
    "no model": (["--judge.endpoint", "http://127.0.0.1:1"], "judge.model: names the model at judge.endpoint"),
    "no URL": (["--judge.endpoint", "127.0.0.1:1", "--judge.model", "m"], "expected the base of an endpoint"),
    "half a URL": (["--judge.endpoint", "http://[", "--judge.model", "m"], "expected the base of an endpoint"),
    "a query": (["--judge.endpoint", "http://a.b/v1?key=x", "--judge.model", "m"], "without a query"),
    "a password": (["--judge.endpoint", "http://me:pw@a.b/v1", "--judge.model", "m"], "secrets come from the"),
    "a key": (["--judge.api-key", KEY], "secrets never go into settings"),
    "no checkpoint": (["--judge.checkpoint", "none/there"], "none/there"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_judge_gets_one_message(case, capsys):
    given, words = BAD[case]
    message = refused(["judge", "spatial-rgpt", "replies.jsonl", *given], capsys)
    assert words in message
    assert KEY not in message
    assert "pw" not in message


def test_a_killed_run_goes_on_where_it_stopped(arguments, capsys, endpoint):
    save_replies(Path("replies.jsonl"), copies=4)
    endpoint.script.extend([endpoint.judges] * 12 + [endpoint.waits] * 2)
    arguments += ["--judge.num-concurrent", "2"]
    process = subprocess.Popen([sys.executable, "-m", "theworld", *arguments], stderr=subprocess.DEVNULL, env=SAME)
    while len(endpoint.requests) < 14 and process.poll() is None:
        endpoint.over.wait(0.02)
    process.kill()
    process.wait()
    kept = Path("judged/verdicts.jsonl").read_bytes()
    with Path("judged/verdicts.jsonl").open("ab") as stream:
        stream.write(b'{"sample_id": "torn')
    found = run(arguments, capsys)
    assert Path("judged/verdicts.jsonl").read_bytes().startswith(kept)
    assert kept.count(b"\n") == 12
    assert (len(endpoint.requests), found["num_without_verdict"], found["overall"]["num_right"]) == (22, 0, 12)


def test_the_embedded_gemma_is_a_judge_if_not_a_good_one(capsys):
    save_replies(Path("replies.jsonl"), "above_predicate", "width_data")
    judge = ["--judge.checkpoint", "tiny", "--judge.max-new-tokens", "4", "--judge.max-attempts", "2"]
    found = run(["judge", "spatial-rgpt", "replies.jsonl", *judge], capsys)
    assert found["judge"] == "tiny"
    assert (found["num_without_verdict"], found["cost"]["num_calls"]) == (2, 4)
    assert found["cost"]["num_completion_tokens"] >= 4
    assert json.loads(Path("judged/verdicts.run.json").read_text())["versions"].keys() == {"torch", "transformers"}


def test_an_endpoint_needs_no_torch(arguments):
    look = f"import sys; from theworld.cli.main import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, env=SAME)
    assert "httpx2" in done.stderr.split()
    assert not {"torch", "transformers", "diffusers", "matplotlib"} & set(done.stderr.split())
