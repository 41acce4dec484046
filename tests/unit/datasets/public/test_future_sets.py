"""Benchmarks about the future as samples: what the models see, the right choice, and files of another form."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import fixtures_future as made
from fixtures_public import picture
from theworld.config import DataSettings
from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.public import futurebench, intphys2, mvp, openworldqa, physbench, sat, vpct, vrqabench
from theworld.datasets.public.choice_items import ChoiceItem, asked
from theworld.datasets.video import ClipRule

RULE = ClipRule(frame_rate_hz=6.0, num_frames=5)


def samples(name: str, source: Path, split: Any = "validation", **more: Any) -> Any:
    settings = DataSettings(dataset=name, source=str(source), **more)
    return open_samples(settings, split, None, rule=RULE)


def test_vpct_shows_the_first_picture_alone_and_sorts_by_number(tmp_path: Path):
    opened = samples("vpct", made.write_vpct(tmp_path, [1, 3, 2]))

    assert [opened[index].id for index in range(3)] == ["sim_9", "sim_10", "sim_11"]
    assert [opened[index].answer for index in range(3)] == ["1", "3", "2"]
    assert opened[1].images == (tmp_path / "sim_10_initial.png",)
    assert opened[1].clips is None
    assert opened[1].fields["choices"] == ("1", "2", "3")
    assert opened[1].prompt[-1].text.endswith("end with answer(X), where X is the number of the bucket.")


def test_a_problem_of_vpct_without_its_picture_is_left_out(tmp_path: Path):
    made.write_vpct(tmp_path, [1, 3])
    (tmp_path / "sim_9_initial.png").unlink()

    assert [item.id for item in vpct.read(tmp_path)] == ["sim_10"]


def test_vpct_is_fetched_from_the_hub_by_its_two_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def fetch(name: str, patterns: Any, revision: Any, kind: str) -> Path:
        calls.append((name, patterns, revision, kind))
        return made.write_vpct(tmp_path, [1])

    monkeypatch.setattr(vpct, "fetch", fetch)

    assert len(vpct.read(revision="abc")) == 1
    assert calls == [("camelCase12/vpct-1", ("sim_*_initial.png", "sim_*_results.json"), "abc", "dataset")]


def test_futurebench_shows_the_first_part_of_a_video_only(tmp_path: Path):
    opened = samples("futurebench", made.write_futurebench(tmp_path, ["B", "c"], ["hop1", "hop5"]))
    sample = opened[0]

    assert len(sample.clips) == 1
    assert len(sample.clips[0]) == 5
    assert len(sample.images) == 1
    assert sample.answer == "B"
    assert sample.prompt[-1].text.split("\n")[1:3] == ["(A) He pours water", "(B) He leaves"]
    assert (sample.fields["task"], opened[1].fields["task"]) == ("1-hop", "interpolation")
    assert opened[1].answer == "C"  # the scorer compares capitals
    assert sample.fields["video"] == "source/0.mp4"


def test_options_that_a_question_of_futurebench_lists_already_are_listed_once(tmp_path: Path):
    made.write_futurebench(tmp_path, ["A"])
    (tmp_path / "futurebench.json").write_text(json.dumps([made.future_row(0, "A", inline=True)]))

    text = samples("futurebench", tmp_path)[0].prompt[-1].text

    assert text.startswith("What happens after event 0?\n(A) He pours water")
    assert text.count("A dog runs in") == 1


def test_more_frames_of_a_video_for_gemma_are_spread_over_all_of_it(tmp_path: Path):
    source = made.write_futurebench(tmp_path, ["A"])

    sample = samples("futurebench", source, num_video_frames=4)[0]

    assert len(sample.images) == 4
    assert len(sample.clips) == 1
    # the ball of frame k begins at x = 4 + 4k: the first frame and the last one are shown
    brightest = [
        max(range(64), key=lambda x: image.getpixel((x, 32))[2] + image.getpixel((x, 32))[1]) for image in sample.images
    ]
    assert brightest[0] < 16
    assert brightest[-1] > 44


def test_a_video_that_is_missing_is_an_error_on_access_and_not_of_the_set(tmp_path: Path):
    source = made.write_futurebench(tmp_path, ["A", "B"])
    (source / "first_part_video" / "source" / "0.mp4").unlink()

    opened = samples("futurebench", source)

    assert isinstance(opened[0].images[0], ImageError)
    assert opened[0].shape == opened[1].shape
    assert isinstance(opened[1].images[0], Image.Image)


def test_openworldqa_shows_the_anchor_frame_and_takes_missing_fields_from_the_id(tmp_path: Path):
    opened = samples("openworldqa", made.write_openworldqa(tmp_path, ["A", "B"]))
    by_id = {opened[index].id: opened[index] for index in range(2)}

    whole, bare = by_id["WLA_C10_chain_reaction_0001"], by_id["WLA_C1_fit_clearance_0002"]
    assert whole.images == (tmp_path / "frames" / "v1" / "frame_008.jpg",)
    assert bare.images == (tmp_path / "frames" / "v2" / "frame_008.jpg",)
    assert (whole.fields["category"], whole.fields["difficulty"]) == ("C10_chain_reaction", "Easy")
    assert (bare.fields["category"], bare.fields["difficulty"]) == ("C1_fit_clearance", "Hard")


def test_vrqabench_takes_its_id_from_the_name_of_the_file(tmp_path: Path):
    opened = samples("vrqabench", made.write_vrqabench(tmp_path, ["C", "A"]))

    ids = [opened[index].id for index in range(2)]
    assert ids == ["VRB_C1_turn_count_0002", "VRB_C4_sokoban_push_0001"]
    assert opened[1].answer == "C"
    assert opened[1].fields["task"] == "sokoban"
    assert opened[1].images[0].is_file()


@pytest.mark.parametrize("key", ["image_bytes", "images", "image"])
def test_sat_quotes_two_texts_and_tells_start_from_end_in_every_layout(tmp_path: Path, key: str):
    opened = samples("sat", made.write_sat(tmp_path, [0, 1, 1, 0], key))
    first, second = opened[0], opened[1]

    assert [made.first_pixel(image) for image in first.images] == [made.first_pixel(picture(n)) for n in (0, 1)]
    assert first.answer == "rotated left"
    assert set(first.fields["choices"]) == {"rotated left", "rotated right"}
    assert first.prompt[-1].text.startswith("The first picture is the start of a video, the second its end.")
    assert not second.prompt[-1].text.startswith("The first picture")
    places = [opened[index].fields["choices"].index(opened[index].answer) for index in range(4)]
    assert set(places) == {0, 1}  # whichever text is stored first
    assert places == [
        samples("sat", tmp_path)[index].fields["choices"].index(opened[index].answer) for index in range(4)
    ]


def test_physbench_validation_has_the_items_with_answers_and_test_all_without(tmp_path: Path):
    made.write_physbench(tmp_path)
    opened, test = samples("physbench", tmp_path), samples("physbench", tmp_path, "test")

    assert [opened[index].id for index in range(len(opened))] == ["0", "7", "9757"]  # 1011 has an empty answer
    assert [test[index].id for index in range(len(test))] == ["0", "7", "1011", "9757", "5"]
    assert test[0].answer is None
    film, still, mixed = (opened[index] for index in range(3))
    assert (len(film.clips), len(film.images), still.clips) == (1, 1, None)
    assert film.prompt[-1].text.startswith("Which one?\nA. first")
    assert mixed.prompt[-1].text.startswith("(picture 1) before and (picture 2) after. Which one?")
    assert [path.name for path in mixed.images] == ["first.jpg", "second.png"]
    assert film.fields | {"choices": None} == {
        "benchmark": "physbench",
        "mode": "image&video",
        "video": '["0.mp4"]',
        "task": "dynamics",
        "sub_type": "collision",
        "ability": "prediction",
        "choices": None,
    }


def test_an_item_of_physbench_with_other_placeholders_is_a_missing_item(tmp_path: Path):
    made.write_physbench(tmp_path)
    rows = json.loads((tmp_path / "test.json").read_text())
    rows[1]["question"] = rows[1]["question"].replace("<image>", "")
    rows[3]["file_name"] = ["first.jpg", "second.webp"]
    (tmp_path / "test.json").write_text(json.dumps(rows))

    opened = samples("physbench", tmp_path)

    assert "0 placeholders for 1 files" in str(opened[1].images[0])
    assert "second.webp" in str(opened[2].images[1])


def test_mvp_asks_one_question_of_both_videos_of_a_pair(tmp_path: Path):
    made.write_mvp(tmp_path)
    opened = samples("mvp", tmp_path, video_dir=tmp_path / "videos", subsets=("intuitive_physics",))

    assert len(opened) == 4
    assert opened[0].prompt == opened[1].prompt
    assert (opened[0].answer, opened[1].answer) == ("A", "B")
    assert opened[0].fields["pair"] == opened[1].fields["pair"] == "intuitive_physics/intphys_0"
    assert opened[0].clips[0][0].getpixel((0, 0)) != opened[1].clips[0][0].getpixel((0, 0))


def test_shuffled_options_stand_in_one_order_within_a_pair(tmp_path: Path):
    made.write_mvp(tmp_path, num_pairs=8)
    opened = samples(
        "mvp",
        tmp_path,
        video_dir=tmp_path / "videos",
        subsets=("intuitive_physics",),
        option_order="shuffled",
        num_option_orders=1,
    )

    prompts = [opened[index].prompt[-1].text for index in range(16)]
    assert prompts[0::2] == prompts[1::2]
    assert len(set(prompts)) == 2


def test_intphys2_asks_if_a_video_is_possible_and_tells_nothing_of_its_kind(tmp_path: Path):
    opened = samples("intphys2", made.write_intphys2(tmp_path))

    assert [opened[index].answer for index in range(4)] == ["yes", "no", "yes", "no"]
    assert [opened[index].fields["pair"] for index in range(4)] == ["0/1", "0/1", "0/2", "0/2"]
    assert len({opened[index].prompt for index in range(8)}) == 1
    text = opened[0].prompt[-1].text
    assert not any(word in text for word in ("Permanence", "Easy", "Fixed", "possible"))


def test_of_intphys2_debug_the_first_generation_is_read(tmp_path: Path):
    made.write_intphys2(tmp_path, 5, "Debug", generations=3)

    assert len(intphys2.read(tmp_path, "Debug")) == 20
    assert samples("intphys2", tmp_path, subsets=("Debug",))[0].id.endswith("000")


def test_held_out_videos_of_intphys2_have_no_answers(tmp_path: Path):
    made.write_csv(tmp_path / "HeldOut" / "metadata.csv", [{"name": "x", "file_name": "Videos/x.mp4"}])

    assert samples("intphys2", tmp_path, "test")[0].answer is None


def test_former_names_of_intphys2_are_read(tmp_path: Path):
    made.write_intphys2(tmp_path, 1, "Test")
    path = tmp_path / "Test" / "metadata.csv"
    path.write_text(path.read_text().replace("SceneIndex,name,", "SceneIndex,filename,"))

    assert len(intphys2.read(tmp_path)) == 4


ITEM = ChoiceItem("q", "Which?", ("red", "green", "blue"), "green", ())


def test_circular_options_put_the_answer_at_each_letter_once():
    entries = asked([ITEM], "circular")

    assert [entry.id for entry in entries] == ["q@0", "q@1", "q@2"]
    assert [entry.item.right(entry.order) for entry in entries] == ["B", "A", "C"]
    assert entries[1].item.prompt(entries[1].order).split("\n")[1:4] == ["(A) green", "(B) blue", "(C) red"]
    assert [entry.fields for entry in entries] == [{"item": "q", "order": number} for number in range(3)]


def test_shuffled_options_are_the_same_again_and_others_for_each_number():
    orders = [entry.order for entry in asked([ITEM], "shuffled", 8)]

    assert orders == [entry.order for entry in asked([ITEM], "shuffled", 8)]
    assert len(set(orders)) > 2


def test_several_orders_need_shuffling():
    with pytest.raises(ValueError, match="num_option_orders=3 with option_order='circular'"):
        DataSettings(dataset="openworldqa", source="x", option_order="circular", num_option_orders=3)


def _json(path: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        [file] = [*folder.rglob(path)][:1]
        content = json.loads(file.read_text())
        first = content[0] if isinstance(content, list) else content
        first.update(changes)
        file.write_text(json.dumps(content))

    return change


def _without(path: str, key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        [file] = [*folder.rglob(path)][:1]
        content = json.loads(file.read_text())
        del (content[0] if isinstance(content, list) else content)[key]
        file.write_text(json.dumps(content))

    return change


def _table(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        [file] = [*folder.rglob("*.parquet")]
        table = pq.read_table(file)
        rows = table.to_pylist()
        rows[0].update(changes)
        pq.write_table(type(table).from_pylist(rows), file)

    return change


def _csv(**changes: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "Main" / "metadata.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[0].update(changes)
        made.write_csv(path, rows)

    return change


QA = made.future_row(0, "A")["qa"]
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "vpct": (lambda folder: made.write_vpct(folder, [1]), vpct.read),
    "futurebench": (lambda folder: made.write_futurebench(folder, ["A"]), futurebench.read),
    "openworldqa": (lambda folder: made.write_openworldqa(folder, ["A"]), openworldqa.read),
    "vrqabench": (lambda folder: made.write_vrqabench(folder, ["A"]), vrqabench.read),
    "sat": (lambda folder: made.write_sat(folder, [0]), sat.read),
    "physbench": (made.write_physbench, physbench.read),
    "mvp": (
        lambda folder: made.write_mvp(folder, 1),
        lambda folder: mvp.read(folder, "mini", folder, ("intuitive_physics",)),
    ),
    "intphys2": (lambda folder: made.write_intphys2(folder, 1), intphys2.read),
}
UNLIKE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "another bucket": ("vpct", _json("*_results.json", finalBucket=4), "finalBucket 4: expected 1, 2 or 3"),
    "true as a bucket": ("vpct", _json("*_results.json", finalBucket=True), "finalBucket True"),
    "another number": ("vpct", _json("*_results.json", simId="8"), "simId '8': expected '9', as in its name"),
    "no bucket": ("vpct", _without("*_results.json", "finalBucket"), "no finalBucket; it has duration, simId"),
    "unknown hops": ("futurebench", _json("futurebench.json", question_type="hop4"), "expected one of hop1, hop2"),
    "letter E": ("futurebench", _json("futurebench.json", qa={**QA, "Answer": "E"}), "answer 'E': expected one of A"),
    "a list": ("futurebench", _json("futurebench.json", qa={**QA, "Options": ["a"]}), "expected texts under A, B"),
    "a path elsewhere": ("futurebench", _json("futurebench.json", video_path="x.mp4"), "expected a path below video_d"),
    "a path that leaves": (
        "futurebench",
        _json("futurebench.json", video_path="video_dataset/../../x.mp4"),
        "leaves",
    ),
    "two equal options": (
        "openworldqa",
        _json("*_0001.json", options={"A": "x", "B": "x", "C": "y", "D": "z"}),
        "expected all different",
    ),
    "unknown category": ("openworldqa", _json("*_0001.json", category="C13_other"), "category 'C13_other'"),
    "no anchor": ("openworldqa", _without("*_0001.json", "anchor_frame"), "no anchor_frame"),
    "a value of another option": ("vrqabench", _json("VRB_*.json", correct_value="7"), "correct_value '7'"),
    "no third category": ("vrqabench", _json("VRB_*.json", category="C3_other"), "category 'C3_other'"),
    "three answers of one text": ("sat", _table(answers=["x", "x"]), "expected two different texts"),
    "an answer of none": ("sat", _table(correct_answer="moved"), "correct_answer 'moved': expected one of"),
    "another index": ("sat", _table(correct_answer_idx=1), "correct_answer_idx 1, and the answer 'rotated left'"),
    "an unknown mode": ("physbench", _json("test.json", mode="video"), "mode 'video': expected one of image-only"),
    "an idx as text": ("physbench", _json("test.json", idx="0"), "idx '0': expected a whole number"),
    "answer E": ("physbench", _json("val_answer.json", answer="E"), "answer 'E': expected A to D"),
    "an answer to no item": ("physbench", _json("val_answer.json", idx=99), "idx 99, which test.json lacks"),
    "candidates in words": ("mvp", _table(candidates="one or two"), "candidates 'one or two': not a Python list"),
    "three candidates": ("mvp", _table(candidates="['a', 'b', 'c']"), "expected a list of two texts"),
    "an answer of no candidate": ("mvp", _table(answer="both"), "answer 'both': expected one of"),
    "a pair with one answer": ("mvp", _table(answer="the ball floats"), "a pair with one answer; expected two"),
    "a pair of two questions": ("mvp", _table(question="And?"), "a pair of two questions; expected one"),
    "another type": ("intphys2", _csv(type="3_Possible"), "type '3_Possible': expected one of 1_Possible"),
    "no file": ("intphys2", _csv(file_name=""), "no file_name; the columns are SceneIndex, name, file_name"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_a_file_of_another_form_is_refused_with_its_place_and_the_expected_form(case: str, tmp_path: Path):
    name, change, words = UNLIKE[case]
    write, read = READERS[name]
    write(tmp_path)
    assert read(tmp_path)
    change(tmp_path)

    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        read(tmp_path)

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_without_the_files_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=str(tmp_path)) as refusal:
        READERS[name][1](tmp_path)

    assert not isinstance(refusal.value, RecordError)
