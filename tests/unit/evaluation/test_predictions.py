"""Files of predictions: restarts, refusals, round trips."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.evaluation.jsonl import error_text
from theworld.evaluation.predictions import (
    Prediction,
    PredictionWriter,
    RunIdentity,
    identity_path,
    read_identity,
    read_predictions,
)

RUN = RunIdentity(settings_hash="5e77", checkpoint="tiny", tap_fingerprint="7a9", versions={"torch": "2.14.1"})


def row(sample_id: str, prediction: str | None = "left", **rest) -> Prediction:
    return Prediction(
        sample_id=sample_id, question="Which bin?", answer="left", prediction=prediction, prompt_hash="0", **rest
    )


def failed(sample_id: str) -> Prediction:
    return row(sample_id, None, error=error_text(OSError("disk full")))


def write(path: Path, *rows: Prediction) -> None:
    with PredictionWriter(path, RUN) as writer:
        writer.append(rows)


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "vae.jsonl"
    rows = [
        row("a", "Left.\nOr so", fields={"task": "drop", "level": 2}, world_read=1, seconds=0.25),
        row("b", None, choices=("left", "right"), log_likelihoods={"left": -0.5, "right": -1}),
        failed("c"),
    ]
    write(path, *rows)
    assert read_predictions(path) == rows
    assert len(path.read_bytes().splitlines()) == 3
    assert read_identity(path) == RUN


@settings(deadline=None, max_examples=40)
@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()))
def test_any_reply_and_any_fields_survive_the_file(tmp_path_factory, reply, fields):
    path = tmp_path_factory.mktemp("run") / "vae.jsonl"
    write(path, row("a", reply, fields=fields), row("b"))
    assert read_predictions(path)[0] == row("a", reply, fields=fields)


def test_a_file_cut_at_any_byte_is_finished_to_the_same_bytes(tmp_path):
    rows = [row("a"), row("b", "right\nor ü"), row("c")]
    whole = tmp_path / "whole.jsonl"
    write(whole, *rows)
    content = whole.read_bytes()
    path = tmp_path / "cut.jsonl"
    first_line = content.index(b"\n") + 1
    for length in [*range(0, first_line, 40), *range(first_line - 2, len(content), 3), len(content)]:
        path.write_bytes(content[:length])
        identity_path(path).write_bytes(identity_path(whole).read_bytes())
        with PredictionWriter(path, RUN) as writer:
            done = writer.done()
            writer.append(one for one in rows if one.sample_id not in done)
        assert len(done) == content[:length].count(b"\n")
        assert path.read_bytes() == content


def test_a_killed_process_loses_no_row_that_it_had_appended(tmp_path):
    path = tmp_path / "vae.jsonl"
    program = f"""
import itertools, sys
from pathlib import Path
from theworld.evaluation.predictions import Prediction, PredictionWriter, RunIdentity
run = RunIdentity(settings_hash="5e77", checkpoint="tiny", tap_fingerprint="7a9", versions={{"torch": "2.14.1"}})
writer = PredictionWriter(Path({str(path)!r}), run)
for index in itertools.count():
    writer.append([Prediction(sample_id=str(index), question="q", answer="a", prediction="x" * 999, prompt_hash="0")])
    print(index, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            last = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    with PredictionWriter(path, RUN) as writer:
        assert {str(index) for index in range(int(last) + 1)} <= writer.done()
    assert [one.sample_id for one in read_predictions(path)] == [str(index) for index in range(len(writer.done()))]


def test_error_rows_are_done_again(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"), failed("b"), row("c"))
    assert read_predictions(path)[1].error == "OSError: disk full"
    with PredictionWriter(path, RUN) as writer:
        assert writer.done() == {"a", "c"}
        writer.append([row("b")])
    assert [(one.sample_id, one.error) for one in read_predictions(path)] == [("a", None), ("c", None), ("b", None)]


def test_an_id_is_written_once(tmp_path):
    with PredictionWriter(tmp_path / "vae.jsonl", RUN) as writer:
        writer.append([row("a")])
        with pytest.raises(ValueError, match="sample 'a' is in the file already"):
            writer.append([row("a", "right")])


def test_rows_of_another_run_are_refused_and_the_difference_is_named(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"))
    before = path.read_bytes()
    other = RunIdentity(settings_hash="5e77", checkpoint="tiny", tap_fingerprint="b0b", versions={"torch": "2.14.1"})
    with pytest.raises(ValueError, match=r"another run \(tap_fingerprint: '7a9' there, 'b0b' here\)"):
        PredictionWriter(path, other)
    assert path.read_bytes() == before


def test_predictions_of_an_unknown_run_are_refused(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"))
    identity_path(path).unlink()
    with pytest.raises(ValueError, match=r"no vae\.run\.json says of which run"):
        PredictionWriter(path, RUN)


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"named \*\.jsonl"):
        PredictionWriter(tmp_path / "vae.json", RUN)


def test_two_writers_of_one_file_are_found_out(tmp_path):
    path = tmp_path / "vae.jsonl"
    with PredictionWriter(path, RUN) as first, PredictionWriter(path, RUN) as second:
        first.append([row("a")])
        with pytest.raises(RuntimeError, match="another process writes to this file"):
            second.append([row("a")])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\0\0\0", r"vae\.jsonl, line 2: row: Invalid JSON"),
        (b"[]", r"line 2: row: Input should be an object"),
        (b'{"sample_id": 3}', r"line 2: sample_id: Input should be a valid string; question: Field required"),
        (b'{"sample_id": "a"', r"line 2: row: Invalid JSON: EOF"),
    ],
)
def test_a_damaged_line_is_named_and_never_dropped(tmp_path, line, message):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ValueError, match=message):
        read_predictions(path)
    with pytest.raises(ValueError, match=message):
        PredictionWriter(path, RUN)


def test_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "score": 1}) + "\n")
    with pytest.raises(ValueError, match="line 1: score: Unexpected keyword argument"):
        read_predictions(path)


def test_a_repeated_id_is_named_with_both_lines(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"), row("b"))
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(ValueError, match="line 3: sample 'a' is in line 1 already"):
        read_predictions(path)


def test_reading_refuses_a_torn_last_line(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"), row("b"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="line 2: cut off in the middle"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": "left", "error": "OSError: x"}, "either an error alone"),
        ({"prediction": None}, "either an error alone"),
        ({"choices": ("up", "down")}, "'left' is none of"),
        ({"choices": ("left", "right"), "log_likelihoods": {"left": -1.0}}, r"log-likelihoods of \['left'\]"),
        ({"log_likelihoods": {"left": -1.0}}, "choices None"),
        ({"choices": ("left",), "log_likelihoods": {"left": float("nan")}}, "finite number"),
        ({"seconds": float("inf")}, "finite number"),
        ({"fields": {"clip": (1, 2)}}, "fields"),
    ],
)
def test_a_row_that_says_nothing_clear_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        row("a", **changes)


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ('"prediction":"left"', '"prediction":"left","prediction":"right"', "prediction"),
        ('"fields":{', '"fields":{"task":"drop","task":"roll"', "task"),
    ],
)
def test_two_values_of_one_name_are_refused_by_line_and_none_is_chosen(tmp_path, before, after, name):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"), row("b"))
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second.replace(before, after))
    with pytest.raises(ValueError, match=rf"vae\.jsonl, line 2: '{name}' is given twice; keep one$"):
        read_predictions(path)


def test_two_values_of_one_name_in_the_identity_of_a_run_are_refused(tmp_path):
    path = tmp_path / "vae.jsonl"
    write(path, row("a"))
    beside = identity_path(path)
    beside.write_text(beside.read_text().replace("{", '{"settings_hash": "other",', 1))
    with pytest.raises(ValueError, match=r"vae\.run\.json: 'settings_hash' is given twice"):
        read_identity(path)
