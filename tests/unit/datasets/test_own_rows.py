"""Your own rows: files and folders, keys by their usual names, bad rows, and refusals on one line."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import picture
from theworld.config import DataSettings, OwnData
from theworld.datasets import own
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.images import to_image
from theworld.datasets.own import OwnDataset
from theworld.datasets.public.json_array import UnreadableRow
from theworld.datasets.row_files import first_rows, rows_of
from theworld.datasets.sample import Sample


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with the pictures `photos/0.png` to `photos/9.png`."""
    (tmp_path / "photos").mkdir()
    for number in range(10):
        picture(number).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def rows(image: str = "image", question: str = "question", answer: str = "answer", number: int = 10) -> list[Any]:
    return [
        {image: f"photos/{index}.png", question: f"What is {index}?", answer: f"number {index}"}
        for index in range(number)
    ]


def write(path: Path, content: list[Any]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            table = csv.DictWriter(stream, list(content[0]))
            table.writeheader()
            table.writerows(content)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(json.dumps(content))
    return path


def all_of(source: Path, **options: Any) -> list[Sample]:
    """The samples of both sides."""
    sides = [OwnDataset(str(source), split, **options) for split in ("train", "validation")]
    return [side[index] for side in sides for index in range(len(side))]


@pytest.mark.parametrize("name", ["my.json", "my.jsonl", "my.csv"])
def test_a_file_needs_no_name_of_a_data_set(photos: Path, name: str) -> None:
    settings = DataSettings(source=str(write(photos / name, rows())))

    samples = open_samples(settings, "train", None)

    assert isinstance(settings, OwnData)
    assert len(samples) == 8
    assert [turn.text for turn in samples[0].turns] == ["What is 0?", "number 0"]
    assert to_image(samples[0].images[0]).getpixel((0, 0)) == picture(0).getpixel((0, 0))
    assert (samples[0].id, samples[0].fields) == ("photos/0.png", {"image": "photos/0.png"})
    assert len(open_samples(settings, "validation", None)) == 2


@pytest.mark.parametrize(
    ("image", "question", "answer"),
    [
        ("image_path", "text", "label"),
        ("img", "prompt", "output"),
        ("file", "query", "response"),
        ("file_name", "question", "answer"),
        ("Picture", "Question", "Answer"),
        ("Image Path", "PROMPT", "Ground-Truth"),
    ],
)
def test_usual_names_of_keys_are_understood_and_said(
    photos: Path, image: str, question: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "theworld.notes")

    samples = all_of(write(photos / "my.csv", rows(image, question, answer)))

    assert sorted(sample.answer or "" for sample in samples) == [f"number {index}" for index in range(10)]
    said = [record.message for record in caplog.records if "from" in record.message]
    assert len(said) == 1
    assert f"image from {image!r}, question from {question!r}, answer from {answer!r}; pictures in" in said[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, r"no question among the keys 'image', 'answer'; expected rows like \{\"image\""),
        ({"answer": None}, "no answer among the keys"),
        ({"image": None}, "no image among the keys .* --data.keys image=KEY"),
        ({"prompt": "Another?"}, "'question' and 'prompt' may each be the question; say which: --data.keys question="),
        ({"label": "another"}, "'answer' and 'label' may each be the answer"),
        ({"img": "photos/0.png"}, "'image' and 'img' may each be the image"),
        ({"messages": [{"role": "user", "content": "Why?"}]}, "'question' and 'messages' may each be the question"),
    ],
)
def test_a_key_that_the_names_do_not_tell_is_refused_on_one_line(
    photos: Path, change: dict[str, Any], message: str
) -> None:
    content = [{key: value for key, value in ({**row, **change}).items() if value is not None} for row in rows()]
    path = write(photos / "my.json", content)

    with pytest.raises(ValueError, match=message) as caught:
        OwnDataset(str(path))
    assert "\n" not in str(caught.value)


def test_a_named_key_decides(photos: Path) -> None:
    path = write(photos / "my.json", [{**row, "prompt": "Another?", "Bild": "x"} for row in rows()])

    samples = all_of(path, keys=("question=prompt",))

    assert {sample.turns[0].text for sample in samples} == {"Another?"}
    with pytest.raises(ValueError, match="no key 'frage' for question; its rows have 'image'"):
        OwnDataset(str(path), keys=("question=frage",))
    with pytest.raises(ValueError, match="expected ROLE=KEY, with a role of image"):
        OwnData(source="my.json", keys=("frage=prompt",))


def test_keys_of_one_role_may_take_turns(photos: Path) -> None:
    content = rows()
    content[3]["images"] = [content[3].pop("image"), "photos/4.png"]

    samples = all_of(write(photos / "my.json", content))

    assert sorted(len(sample.images) for sample in samples) == [1] * 9 + [2]


def test_conversations_choices_ids_and_categories_are_read(photos: Path) -> None:
    talk = [{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": "Gravity."}]
    spoken = all_of(write(photos / "talk.json", [{"image": f"photos/{k}.png", "conversations": talk} for k in (0, 1)]))
    options = [
        {**row, "answer": answer, "options": ["Red", "blue"], "id": f"q{index}", "kind": "colour"}
        for index, (row, answer) in enumerate(zip(rows(number=3), ("red", "B", "Red"), strict=True))
    ]
    chosen = all_of(write(photos / "choices.json", options))

    assert [turn.text for turn in spoken[0].turns] == ["Why?", "Gravity."]
    assert {sample.id: sample.answer for sample in chosen} == {"q0": "Red", "q1": "blue", "q2": "Red"}
    assert chosen[0].fields["choices"] == ("Red", "blue")
    assert chosen[0].fields["category"] == "colour"


def test_bad_rows_are_counted_by_cause_as_elsewhere(photos: Path) -> None:
    (photos / "photos" / "2.png").write_bytes(b"no picture")
    content = rows()
    content[1]["image"] = "photos/nowhere.png"
    content[3]["answer"] = ""
    content[4]["question"] = 5
    content[5]["answer"] = ["one", "two"]
    content[6] = 17
    content[7] |= {"choices": ["a thing", "another"]}
    path = write(photos / "my.jsonl", content)
    path.write_text(path.read_text() + '{"image": \n')

    causes = {}
    for split in ("train", "validation"):
        side = OwnDataset(str(path), split)
        for index in range(len(side)):
            try:
                side[index]
            except RecordError as error:
                causes[int(side.places[index])] = error.cause

    assert causes == {
        1: "missing picture",
        2: "unreadable picture",
        3: "empty answer",
        4: "malformed",
        5: "malformed",
        6: "malformed",
        7: "malformed",
        10: "malformed",
    }


def test_pictures_start_from_the_file_or_from_a_named_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = write(tmp_path / "lists" / "my.json", rows())

    assert len(all_of(path, image_dir=photos)) == 10
    with pytest.raises(ValueError, match=r"none of its first 10 pictures is there, such as .*set --data.image-dir"):
        OwnDataset(str(path))


def test_a_folder_is_read_by_its_metadata_whole_or_by_split(photos: Path) -> None:
    write(photos / "metadata.csv", rows())
    assert len(all_of(photos)) == 10

    (photos / "val").mkdir()
    write(photos / "val" / "metadata.jsonl", [{**row, "image": f"../{row['image']}"} for row in rows(number=3)])
    write(photos / "train.json", rows(number=6))
    assert [len(OwnDataset(str(photos), split)) for split in ("train", "validation")] == [6, 3]
    with pytest.raises(ValueError, match="no test split"):
        OwnDataset(str(photos), "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.json", "[", "cannot be read as rows"),
        ("my.json", "", "neither|no rows"),
        ("my.json", "[]", "no rows"),
        ("my.json", '{\n"rows": []}', "neither a JSON array nor a JSON object a line"),
        ("my.csv", "", "no rows"),
        ("my.csv", b"image,question,answer\n\xff\xfe,a,b", "not UTF-8"),
        ("my.txt", "x", "expected .json, .jsonl"),
        ("nowhere.json", None, "no such file or folder; a data set of the hub needs --data.dataset"),
    ],
)
def test_a_source_without_rows_is_refused_on_one_line(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(ValueError, match=message) as caught:
        OwnDataset(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_office_programs_are_read(photos: Path, separator: str) -> None:
    lines = [separator.join(("Image", "Question", "Answer"))]
    lines += [separator.join((f"photos\\{number}.png", f"What is {number}?", "yes")) for number in range(10)]
    (photos / "my.csv").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())

    assert len(all_of(photos / "my.csv")) == 10


def test_what_was_taken_for_what_is_said_once(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "theworld.notes")
    own._announced.clear()
    path = write(photos / "my.json", rows())

    for _ in range(3):
        all_of(path)

    assert sum("image from 'image'" in record.message for record in caplog.records) == 1


def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = [f"{number}.png,Which?,a" for number in range(20)]
    rows[4] = '4.png,"Which?,a'
    path = tmp_path / "my.csv"
    path.write_text("\n".join(["image,question,answer", *rows]) + "\n")
    with pytest.raises(ValueError, match=r"no table .* at line \d+ .*: is a quote never closed"):
        first_rows(path, 30)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("image,question,answer,answer\n0.png,Which?,a,b\n")
    with pytest.raises(ValueError, match="the header names 'answer' twice"):
        first_rows(path, 5)


@pytest.mark.parametrize("name", ["my.json", "my.jsonl"])
def test_a_row_with_a_name_twice_is_a_bad_row_and_no_choice_between_them(tmp_path: Path, name: str) -> None:
    rows = ['{"question": "Which?", "answer": "red"}', '{"question": "Which?", "answer": "red", "answer": "blue"}']
    text = f"[{', '.join(rows)}]" if name == "my.json" else "\n".join(rows)
    path = tmp_path / name
    path.write_text(text)

    with path.open("rb") as stream:
        good, bad = rows_of(path, stream)
    assert good == {"question": "Which?", "answer": "red"}
    assert isinstance(bad, UnreadableRow)
    assert "'answer' is given twice" in bad


def test_a_list_in_a_cell_with_a_name_twice_makes_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text('image,turns\n0.png,"[{""user"": ""a""}]"\n1.png,"[{""user"": ""a"", ""user"": ""b""}]"\n')

    with path.open("rb") as stream:
        good, bad = rows_of(path, stream)
    assert good == {"image": "0.png", "turns": [{"user": "a"}]}
    assert isinstance(bad, UnreadableRow)
    assert bad == "'user' is given twice; keep one"
