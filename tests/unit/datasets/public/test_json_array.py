"""Rows of JSON arrays: the same as Python's parser gives, in linear time, and one line for each fault."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.datasets.errors import RecordError
from theworld.datasets.public import json_array
from theworld.datasets.public.json_array import UnreadableRow, array_rows
from theworld.datasets.public.llava import LlavaDataset

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(JSON, max_size=6),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
    has_mark=st.booleans(),
)
def test_rows_are_those_of_python_wherever_the_file_is_cut_into_chunks(
    rows: list[Any], chunk: int, indent: int | None, is_ascii: bool, has_mark: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=is_ascii)
    encoded = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK_BYTES", chunk)
        found = list(array_rows(io.BytesIO(b"\xef\xbb\xbf" * has_mark + encoded)))

    assert found == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"a": NaN}]', "NaN is not JSON: write null"),
        (b"[1, -Infinity]", "-Infinity is not JSON"),
        (b'[{"a": 1} {"b": 2}]', "expected , or ] after a row"),
        (b"[1, 2", "the end of the file"),
        (b"[1] x", "'x' after the end"),
        (b'["a\n"]', "Invalid control character"),
        (b'["abc', "Unterminated string"),
        (b"[1,]", "parse error"),
        (b'["\xff"]', "not UTF-8"),
        (b"[[[", "parse error"),
        (b"[" * 3_000, "ends within a row"),
    ],
)
def test_a_fault_is_one_line(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")) as caught:
        list(array_rows(io.BytesIO(text)))
    assert "\n" not in str(caught.value)


def test_a_fault_early_in_a_file_is_found_without_reading_the_rest() -> None:
    stream = io.BytesIO(b'[{"a": nan}, ' + b'"x",' * 1_000_000 + b"1]")

    with pytest.raises(ValueError, match="parse error"):
        list(array_rows(stream))
    assert stream.tell() < 200_000


@pytest.mark.parametrize(
    "deep", ["[" * 100 + "]" * 100, "[" * 100_000 + "]" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000]
)
def test_a_row_nested_too_deeply_is_one_bad_row(deep: str) -> None:
    rows = list(array_rows(io.BytesIO(f'["a]", {deep}, "b"]'.encode())))

    assert rows == ["a]", "nested too deeply", "b"]
    assert isinstance(rows[1], UnreadableRow)


def test_a_number_of_too_many_digits_is_one_bad_row() -> None:
    digits = "9" * 5_000
    rows = list(array_rows(io.BytesIO(f'[{{"n": {digits}}}, 1]'.encode())))

    assert [isinstance(row, UnreadableRow) for row in rows] == [True, False]


def test_a_name_that_a_row_has_twice_is_one_bad_row() -> None:
    rows = list(array_rows(io.BytesIO(b'[{"a": 1, "b": {"a": 2}}, {"q": {"a": 1, "a": 1}}, {"a": 3}]')))

    assert rows == [{"a": 1, "b": {"a": 2}}, "'a' is given twice", {"a": 3}]
    assert isinstance(rows[1], UnreadableRow)


def test_long_rows_take_linear_time() -> None:
    def seconds(num_bytes: int) -> float:
        stream = io.BytesIO(b'["' + b"x" * num_bytes + b'"]')
        start = time.process_time()
        assert [len(row) for row in array_rows(stream)] == [num_bytes]
        return time.process_time() - start

    assert seconds(32_000_000) < 40 * max(seconds(2_000_000), 0.002)  # quadratic: 256 times


def said(question: Any = "What is it?", answer: Any = "A cup.", **rest: Any) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **rest}


def llava(folder: Path, text: str) -> LlavaDataset:
    path = folder / "rows.json"
    path.write_text(text, encoding="utf-8")
    return LlavaDataset(path)


@pytest.mark.parametrize(
    "row",
    [
        said(image_path="a.jpg"),
        said(video_path="a.mp4"),
        said("<video>\nWhat is it?"),
        said("<video>\nWhat is it?", image="a.jpg"),
        said(img="a.jpg"),
        said("<image>\nWhat is it?"),
        said("<image>\nWhat is it?", image=[]),
        said("What is it?\n<image>", images=None),
        said(image="a.jpg", images=["b.jpg"]),
        said(images=[{"path": "a.jpg"}]),
        said("What \ud83d is it?"),
        said(answer="A \udc00."),
        said(answer=["A cup."]),
        said(answer=None),
        {"conversations": [[["x"]]]},
        {"conversations": {"from": "human"}},
    ],
)
def test_a_row_that_cannot_be_meant_as_text_is_malformed(tmp_path: Path, row: dict[str, Any]) -> None:
    samples = llava(tmp_path, json.dumps([row]))

    with pytest.raises(RecordError) as caught:
        samples[0]
    assert caught.value.cause == "malformed"
    assert samples.text_length_of(0) == 0


def test_images_means_the_same_as_image(tmp_path: Path) -> None:
    samples = llava(tmp_path, json.dumps([said("<image>\nWhat is it?", images=["a.jpg"])]))

    assert (samples.num_images_of(0), samples.text_length_of(0)) == (1, len("What is it?A cup."))


def test_ids_that_repeat_or_are_null_become_distinct(tmp_path: Path) -> None:
    ids = ["a", "a", None, "a#2", "a", 7, {"x": 1}]
    samples = llava(tmp_path, json.dumps([said(id=id) for id in ids]))

    assert [samples[index].id for index in range(7)] == ["a", "a#2@1", "2", "a#2", "a#3", "7", "6"]


@pytest.mark.parametrize("bad", ["[" * 5_000 + "]" * 5_000, '{"n": 1e999}', "9" * 5_000])
def test_a_row_that_cannot_be_read_is_one_bad_record(tmp_path: Path, bad: str) -> None:
    samples = llava(tmp_path, f"[{bad}, {json.dumps(said())}]")

    with pytest.raises(RecordError) as caught:
        samples[0]
    assert caught.value.cause == "malformed"
    assert samples[1].answer == "A cup."


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert llava(tmp_path, "\ufeff" + json.dumps([said()]))[0].answer == "A cup."


def test_nan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN is not JSON: write null"):
        llava(tmp_path, json.dumps([said(id=float("nan"))]))


@pytest.mark.parametrize(
    "name", ["x" * 300, "a/" * 3_000, "data:image/png;base64," + "A" * 10_000, "a\0b.jpg", "\ud83d.jpg"]
)
def test_a_name_that_is_no_path_is_one_missing_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([said(image=name)]))

    with pytest.raises(RecordError) as caught:
        LlavaDataset(path, tmp_path)[0]
    assert caught.value.cause == "missing picture"
    assert len(str(caught.value)) < 500
