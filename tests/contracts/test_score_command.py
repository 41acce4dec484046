"""`theworld score`: tables, or one line of JSON, one message for bad files, and neither torch nor waiting."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theworld.cli import main as cli

SPATIAL = {
    "id": "qualitative_1",
    "question": "Is Region [0] above Region [1]?",
    "ground_truth": "No.",
    "prediction": "Actually, Region [0] is below Region [1].",
    "qa_type": "qualitative",
    "qa_category": "above_predicate",
    "correct": True,
}
ANNOTATION = {"image": "1.jpg", "caption": "The dog is on the surfboard.", "label": 1, "relation": "on"}
REPLY = {"image": "1.jpg", "caption": "The dog is on the surfboard.", "prediction": "1"}
BLINK = ["score", "blink", "--answers", "answers.json", "--predictions", "replies.json"]
VSR = ["score", "vsr", "--annotations", "test.jsonl", "--predictions", "vsr.jsonl"]
SPATIAL_RGPT = ["score", "spatial-rgpt", "spatial.jsonl"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good files of each benchmark."""
    monkeypatch.chdir(tmp_path)
    Path("spatial.jsonl").write_text(json.dumps(SPATIAL) + "\n")
    Path("answers.json").write_text('{"val_Jigsaw_1": "(B)"}')
    Path("replies.json").write_text('{"val_Jigsaw_1": "(B)"}')
    Path("test.jsonl").write_text(json.dumps(ANNOTATION) + "\n")
    Path("vsr.jsonl").write_text(json.dumps(REPLY) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "row", "key"),
    [
        ([*SPATIAL_RGPT, "--judged", "correct"], "| below/above | 1 | 100.0 |", "overall"),
        (BLINK, "| macro mean | 1 | 100.0 |", "macro"),
        (VSR, "| on | 1 | 100.0 |", "relations"),
    ],
)
def test_a_reader_gets_tables_and_a_program_json(arguments, row, key, capsys):
    assert cli.main(arguments) == cli.OK
    assert any(line.startswith(row) for line in capsys.readouterr().out.splitlines())
    assert cli.main([*arguments, "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["benchmark"], key in found) == (arguments[1], True)


# What stands in which file, with which arguments, and words of the message.
BAD: dict[str, tuple[dict[str, str], list[str], str]] = {
    "a missing file": ({}, ["score", "spatial-rgpt", "none.jsonl"], "none.jsonl: No such file"),
    "a folder": ({}, ["score", "spatial-rgpt", "."], "Is a directory"),
    "an empty file": ({"spatial.jsonl": ""}, SPATIAL_RGPT, "the file is empty"),
    "blank lines": ({"spatial.jsonl": "\n\n"}, SPATIAL_RGPT, "no rows in it"),
    "no JSON": ({"spatial.jsonl": "hello"}, SPATIAL_RGPT, "spatial.jsonl, line 1: not JSON"),
    "a number that is none": ({"spatial.jsonl": '{"id": NaN}'}, SPATIAL_RGPT, "NaN is not JSON"),
    "a list": ({"spatial.jsonl": "[1]"}, SPATIAL_RGPT, "a list; expected an object"),
    "wrong keys": ({"spatial.jsonl": '{"idx": 1}'}, SPATIAL_RGPT, "qa_category: missing; the row has 'idx'"),
    "no verdict": ({}, [*SPATIAL_RGPT, "--judged", "mark"], "mark: missing"),
    "no answers": ({}, ["score", "blink", "--predictions", "replies.json"], "answers: missing; give --answers"),
    "answers that are a list": ({"answers.json": "[]"}, BLINK, "answers.json: a list; expected an object"),
    "other ids": ({"replies.json": '{"val_Jigsaw_2": "(A)"}'}, BLINK, "'val_Jigsaw_2' is no item of answers.json"),
    "no replies": ({"replies.json": "{}"}, BLINK, "replies.json: no replies in it"),
    "replies nested deeply": ({"replies.json": "[" * 100_000}, BLINK, "nested too deeply"),
    "a reply to nothing": (
        {"vsr.jsonl": json.dumps({**REPLY, "image": "2.jpg"})},
        VSR,
        "is no annotation of test.jsonl",
    ),
    "an unknown flag": ({}, [*VSR, "--judged", "correct"], "--judged: unknown setting"),
    "no benchmark": ({}, ["score"], "'score' needs a second word: score spatial-rgpt, score blink, score vsr"),
    "an unknown benchmark": ({}, ["score", "blinc"], "unknown command 'score blinc'; did you mean score blink?"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message_and_exit_code_2(case, capsys):
    files, arguments, words = BAD[case]
    for name, content in files.items():
        Path(name).write_text(content)
    assert cli.main(arguments) == cli.REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("theworld")
    assert said.err.count("\n") == 1
    assert words in said.err


def test_bytes_that_are_no_text_get_one_message(capsys):
    Path("spatial.jsonl").write_bytes(b"\xff\xfe{")
    assert cli.main(SPATIAL_RGPT) == cli.REFUSED
    assert "spatial.jsonl, line 1: not JSON" in capsys.readouterr().err


def test_no_torch_is_imported_for_saved_replies():
    look = f"import sys; from theworld.cli.main import main; main({SPATIAL_RGPT}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "diffusers", "matplotlib"} & set(done.stderr.split())


def test_two_thousand_replies_are_scored_in_a_moment(capsys):
    replies = [
        "Region [0] is below Region [1].",
        "**Yes**, it is.",
        "To the left of the tall box, which is red, it seems.",
    ]
    rows = ({**SPATIAL, "id": str(index), "prediction": f"{replies[index % 3]} ({index})"} for index in range(2_000))
    Path("spatial.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = time.process_time()
    assert cli.main([*SPATIAL_RGPT, "--json"]) == cli.OK
    seconds = time.process_time() - start
    assert json.loads(capsys.readouterr().out)["overall"]["num_items"] == 2_000
    assert seconds < 5, f"{seconds:.1f} s"  # a tenth of it without the checks of tests; a busy machine must not fail
