"""Files of rows and replies: byte order marks, line ends within texts, and values that are not JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from theworld.evaluation.benchmarks.saved_replies import read_rows
from theworld.evaluation.parsing.yes_no import says_yes
from theworld.evaluation.predictions import read_predictions

ROW = {"sample_id": "a", "question": "Q", "answer": "left", "prediction": "left", "prompt_hash": "0", "fields": {}}
FAULTS = ['{"a": NaN}', '{"a": [-Infinity]}', "[" * 20_000 + "]" * 20_000, '{"a": "half \\ud83d"}', "nan"]


def write(path: Path, *rows: Any, mark: str = "") -> Path:
    path.write_text(mark + "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "NaN", '\\" Infinity'])
def test_any_text_is_read_as_it_is(tmp_path: Path, mark: str, end: str) -> None:
    path = write(
        tmp_path / "rows.jsonl", {**ROW, "prediction": f"left{end}right"}, {**ROW, "sample_id": "b"}, mark=mark
    )

    assert [row.prediction for row in read_predictions(path)] == [f"left{end}right", "left"]
    assert [row.text("prediction") for row in read_rows(path)] == [f"left{end}right", "left"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_value_that_is_not_json_is_refused_by_its_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"sample_id": "b"}).replace("{}", fault) + "\n")

    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: ") as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reply_that_is_not_json_is_refused_by_its_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": "b"}}\n{fault}\n')

    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: ") as caught:
        [row.text("a") for row in read_rows(path)]
    assert "\n" not in str(caught.value)


def test_a_reply_with_a_name_twice_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "b"}\n{"a": "b", "a": "c"}\n')

    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: not JSON: 'a' is given twice; keep one"):
        [row.text("a") for row in read_rows(path)]


def test_a_reply_has_lines_at_line_feeds_alone() -> None:
    assert says_yes("Yes.\nNo.") is None
    assert says_yes("Yes.\u2028No.") is True
