"""A JSON array of any size is read row by row, from an index that is made once."""

import json
import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from theworld.datasets.public.json_index import Measures, RowIndex


def measure(row: Any, place: int) -> Measures:
    return Measures(str(place), len(str(row)), 1)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return path


def test_rows_come_back_as_they_are(tmp_path: Path):
    rows = [{"text": "naïve ☃ \u0000", "box": [1, 2.5, -3e-7], "none": None}, [True], "x", {}]
    index = RowIndex(write(tmp_path / "rows.json", rows), "test", measure)

    assert [index[place] for place in range(len(index))] == rows
    assert index.table["characters"].tolist() == [len(str(row)) for row in rows]


def test_an_index_is_made_once_and_again_when_the_file_has_changed(tmp_path: Path):
    path = write(tmp_path / "rows.json", [1, 2])
    calls: list[int] = []

    def counted(row: Any, place: int) -> Measures:
        calls.append(place)
        return measure(row, place)

    assert len(RowIndex(path, "test", counted)) == len(RowIndex(path, "test", counted)) == len(calls) == 2
    write(path, [1, 2, 3])
    assert len(RowIndex(path, "test", counted)) == 3
    facts = path.stat()
    write(path, [1, 2, 4])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert RowIndex(path, "test", counted)[2] == 4


def test_an_index_of_other_measures_is_made_anew(tmp_path: Path):
    path = write(tmp_path / "rows.json", ["abc"])
    RowIndex(path, "test", measure)

    index = RowIndex(path, "other", lambda row, place: Measures("x", 99, 0))

    assert index.table["characters"].tolist() == [99]


def test_an_index_holds_neither_the_file_nor_its_rows_in_memory(tmp_path: Path):
    path = tmp_path / "rows.json"
    with path.open("w") as stream:
        stream.write("[" + ",".join(json.dumps({"id": place, "text": "x" * 2_000}) for place in range(4_000)) + "]")
    assert path.stat().st_size > 8_000_000

    tracemalloc.start()
    try:
        index = RowIndex(path, "test", measure)
        made = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        total = sum(len(index[place]["text"]) for place in range(len(index)))
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert total == 8_000_000
    assert made < 1_000_000
    assert read < 1_000_000


def test_an_index_can_be_sent_to_another_process(tmp_path: Path):
    index = RowIndex(write(tmp_path / "rows.json", [1, 2]), "test", measure)

    assert pickle.loads(pickle.dumps(index))[1] == 2


def test_an_index_may_lie_elsewhere_and_files_of_one_name_do_not_meet_there(tmp_path: Path):
    cache = tmp_path / "cache"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        RowIndex(write(tmp_path / name / "rows.json", [name]), "test", measure, cache)

    found = [RowIndex(tmp_path / name / "rows.json", "test", measure, cache)[0] for name in ("a", "b")]

    assert found == ["a", "b"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"b"', r"not a whole JSON array, near byte 15 \(parse error[^\n]*\); fetch"),
        ('{"a": 1}', "expected a JSON array"),
        ("", "expected a JSON array"),
    ],
)
def test_a_file_that_is_no_whole_array_is_refused_and_leaves_no_index(tmp_path: Path, text: str, message: str):
    path = tmp_path / "rows.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=message):
        RowIndex(path, "test", measure)
    assert [one.name for one in tmp_path.iterdir() if not one.name.endswith(".lock")] == ["rows.json"]


def test_an_empty_array_has_no_rows(tmp_path: Path):
    assert len(RowIndex(write(tmp_path / "rows.json", []), "test", measure)) == 0


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path):
    path = write(tmp_path / "rows.json", [1])
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="give index_dir, a folder with room"):
        RowIndex(path, "test", measure, tmp_path / "file")


def test_of_several_that_come_at_once_one_makes_the_index(tmp_path: Path):
    path = write(tmp_path / "rows.json", list(range(50)))
    calls: list[int] = []

    def counted(row: Any, place: int) -> Measures:
        calls.append(place)
        return measure(row, place)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: RowIndex(path, "test", counted)[49], range(4)))

    assert found == [49] * 4
    assert calls == list(range(50))
