"""BLINK as samples: prompts verbatim, every picture, letters for answers."""

from pathlib import Path

import pytest

from fixtures_public import picture, write_blink
from theworld.datasets.images import to_image
from theworld.datasets.public.blink import BlinkDataset


def test_an_item_is_its_prompt_verbatim_after_all_of_its_pictures(tmp_path: Path):
    folder = write_blink(tmp_path, {"Jigsaw": ["(A)", "(B)"], "Counting": ["(B)"]})

    samples = BlinkDataset(str(folder), tasks=("Jigsaw", "Counting"))

    assert [samples[index].id for index in range(3)] == ["val_Jigsaw_1", "val_Jigsaw_2", "val_Counting_1"]
    first = samples[0]
    assert first.prompt[-1].text == "Which is it?\nSelect from the following choices.\n(A) this one\n(B) that one"
    assert first.answer == "(A)"
    assert first.fields == {"benchmark": "blink", "task": "Jigsaw", "choices": ("(A)", "(B)")}
    assert [to_image(image).getpixel((0, 0)) for image in first.images] == [
        picture(number).getpixel((0, 0)) for number in (1, 2, 3)
    ]
    assert len(samples[2].images) == 1


def test_hidden_answers_of_the_test_split_are_no_answers(tmp_path: Path):
    folder = write_blink(tmp_path, {"Counting": ["hidden"]}, split="test")

    assert BlinkDataset(str(folder), "test", ("Counting",))[0].answer is None


def test_the_first_items_alone_can_be_asked_for(tmp_path: Path):
    folder = write_blink(tmp_path, {"Jigsaw": ["(A)"], "Counting": ["(B)", "(A)"]})

    samples = BlinkDataset(str(folder), tasks=("Jigsaw", "Counting"), size=2)

    assert len(samples) == 2
    with pytest.raises(IndexError, match="sample 2 of 2"):
        samples[2]


def test_an_unknown_task_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="expected some of Art_Style, Counting"):
        BlinkDataset(str(tmp_path), tasks=("Depth",))


def test_a_folder_without_the_files_says_what_was_looked_for(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no Counting/val-\*\.parquet"):
        BlinkDataset(str(tmp_path), tasks=("Counting",))


def test_a_table_without_its_columns_names_them(tmp_path: Path):
    (tmp_path / "Counting").mkdir()
    (tmp_path / "Counting" / "val.jsonl").write_text('{"idx": "val_Counting_1", "prompt": "?"}\n')

    with pytest.raises(ValueError, match="no column choices, answer, image_1"):
        BlinkDataset(str(tmp_path), tasks=("Counting",))[0]


def test_from_the_hub_only_the_files_of_the_tasks_are_fetched(tmp_path: Path, monkeypatch):
    folder = write_blink(tmp_path, {"Counting": ["(B)"]})
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr("theworld.hub.snapshot_download", snapshot_download)

    assert len(BlinkDataset(tasks=("Counting",), revision="abc")) == 1
    [(name, options)] = asked
    assert name == "BLINK-Benchmark/BLINK"
    assert (options["repo_type"], options["revision"]) == ("dataset", "abc")
    assert options["allow_patterns"] == ["Counting/val-*.parquet", "Counting/val.jsonl"]
