"""Caches of numbered pieces fill up after an interruption, and claims refuse a folder of another run."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from theworld.io import PieceFolder, check_same_run, claim, flattened

REMEDY = "delete that folder"


def numbered(start: int, text: str = "piece", scratch: Path | None = None) -> dict[str, str | bytes]:
    """A piece of two files; notes in `scratch` the process that made it."""
    if scratch is not None:
        (scratch / f"{start}.process").write_text(str(os.getpid()))
    return {".bin": f"{text} {start}", ".txt": f"beside {start}"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pieces_of(folder: Path) -> PieceFolder:
    return PieceFolder(folder / "pieces", range(0, 30, 10), suffix=".bin", num_digits=4)


def test_every_piece_is_written_under_the_number_of_its_first_element(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path)

    pieces.fill(numbered, "making")

    assert [path.name for path in pieces.paths] == ["0000.bin", "0010.bin", "0020.bin"]
    assert [path.read_text() for path in pieces.paths] == ["piece 0", "piece 10", "piece 20"]
    assert names(pieces.folder) == ["0000.bin", "0000.txt", "0010.bin", "0010.txt", "0020.bin", "0020.txt"]


def test_only_missing_pieces_are_made(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path)
    pieces.fill(numbered, "making")
    pieces.paths[1].unlink()

    pieces.fill(partial(numbered, text="later"), "making")

    assert [path.read_text() for path in pieces.paths] == ["piece 0", "later 10", "piece 20"]


def test_an_interrupted_folder_resumes_where_it_stopped(tmp_path: Path) -> None:
    def interrupted(start: int) -> dict[str, str | bytes]:
        if start == 20:
            raise KeyboardInterrupt
        return numbered(start)

    pieces = pieces_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pieces.fill(interrupted, "making")
    assert [path.exists() for path in pieces.paths] == [True, True, False]

    pieces.fill(partial(numbered, text="later"), "making")

    assert [path.read_text() for path in pieces.paths] == ["piece 0", "piece 10", "later 20"]


def test_the_file_that_marks_a_piece_as_whole_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("theworld.io.write_whole", lambda path, content: written.append(path.name))

    PieceFolder(tmp_path, range(1), suffix=".bin").fill(numbered, "making")

    assert written == ["00000000.txt", "00000000.bin"]


def test_several_processes_make_the_same_pieces(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path)

    pieces.fill(partial(numbered, scratch=tmp_path), "making", num_processes=2)

    assert [path.read_text() for path in pieces.paths] == ["piece 0", "piece 10", "piece 20"]
    makers = {int(path.read_text()) for path in tmp_path.glob("*.process")}
    assert makers
    assert os.getpid() not in makers


def failing(start: int) -> dict[str, str | bytes]:
    raise RuntimeError(f"no piece {start}")


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_in_a_piece_is_raised(tmp_path: Path, num_processes: int) -> None:
    with pytest.raises(RuntimeError, match="no piece 0"):
        pieces_of(tmp_path).fill(failing, "making", num_processes)


def test_a_folder_of_other_pieces_is_refused_by_its_first_whole_piece(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path)
    pieces.fill(numbered, "making")
    pieces.paths[0].unlink()

    def compare(text: str) -> None:
        pieces.compare(
            lambda path: {path.stem: path.read_text()}, lambda start: {f"{start:04d}": f"{text} {start}"}, REMEDY
        )

    compare("piece")
    with pytest.raises(ValueError, match=r"pieces belongs to another run \(0010: 'piece 10' there, 'other 10' here\)"):
        compare("other")


def test_an_empty_folder_is_compared_with_nothing(tmp_path: Path) -> None:
    pieces_of(tmp_path).compare(lambda path: {}, lambda start: {"never": "made"}, REMEDY)


def test_a_folder_is_claimed_once_and_by_one_run(tmp_path: Path) -> None:
    path = tmp_path / "run" / "identity.json"
    claim(path, {"seed": 1, "data": {"name": "a", "sizes": (1, 2)}}, REMEDY)
    before = path.read_bytes()

    claim(path, {"data": {"sizes": [1, 2], "name": "a"}, "seed": 1}, REMEDY)
    with pytest.raises(ValueError, match=r"run belongs to another run \(data.name: 'a' there, 'b' here\); delete that"):
        claim(path, {"seed": 1, "data": {"name": "b", "sizes": (1, 2)}}, REMEDY)

    assert path.read_bytes() == before
    assert json.loads(before) == {"seed": 1, "data": {"name": "a", "sizes": [1, 2]}}


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ({}, {"a": None}, "(a: nothing there, None here); delete"),
        ({"a": {"b": 1}}, {"a": None}, "(a: nothing there, None here; a.b: 1 there, nothing here); delete"),
        ({"a": {}}, {}, "(a: {} there, nothing here); delete"),
        ({"a": "x" * 200}, {"a": 1}, "(a: '" + "x" * 98 + "… there, 1 here); delete"),
        ({}, {str(number): number for number in range(10)}, "7: nothing there, 7 here; 2 more); delete"),
    ],
)
def test_a_refusal_names_each_differing_value_briefly(
    tmp_path: Path, found: dict[str, object], expected: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match="belongs to another run") as caught:
        check_same_run(tmp_path, expected, found, REMEDY)

    assert message in str(caught.value)


def test_nested_values_are_named_by_their_dotted_path_in_their_json_form() -> None:
    values = {"a": {"b": {"c": Path("d")}, "e": (1, None)}, "f": {}}

    assert flattened(values) == {"a.b.c": "d", "a.e": [1, None], "f": {}}


@pytest.mark.parametrize("content", ["[]", "{", "7", '"text"'])
def test_a_claim_that_is_damaged_or_foreign_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(content)

    with pytest.raises(ValueError, match=r"identity\.json: (damaged|it holds no identity).*choose another folder"):
        claim(path, {"seed": 1}, "choose another folder")
