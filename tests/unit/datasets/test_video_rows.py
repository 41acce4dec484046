"""Rows about videos: captions, questions at a moment, their future, and videos in a column."""

import json
from pathlib import Path

import datasets
import pytest

from fixtures_windows import number_of, write_numbered
from theworld.config import VideoData
from theworld.datasets import video_rows
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_items, open_samples
from theworld.datasets.video import ClipRule
from theworld.datasets.video_rows import CAPTION_QUESTION, VideoQuestions

RULE = ClipRule(6.0, 5)


def opened(source: Path, with_future=False, split="train", **settings):
    return open_samples(
        VideoData(source=str(source), **{"num_future_steps": 1, **settings}), split, None, with_future, RULE
    )


def every(source: Path, **settings) -> dict:
    """The samples of both sides of the split, by their id."""
    parts = [opened(source, split=split, **settings) for split in ("train", "validation")]
    return {part[index].id: part[index] for part in parts for index in range(len(part))}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two questions about one video of 20 frames, and one about another of 9."""
    write_numbered(tmp_path / "v" / "a.mp4", range(20))
    write_numbered(tmp_path / "v" / "b.mp4", range(30, 39))
    content = [
        {
            "id": "early",
            "video": "v/a.mp4",
            "question": "Where?",
            "answer": "left",
            "time": 1.0,
            "choices": ["left", "right"],
        },
        {"id": "late", "video": "v/a.mp4", "question": "Where?", "answer": "right", "time": 3.0, "task": "drop"},
        {"id": "whole", "video": "v/b.mp4", "question": "What?", "answer": "a ball"},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(content))
    return tmp_path / "rows.json"


def test_a_question_is_asked_at_its_time_and_its_answer_comes_after(rows: Path):
    samples = every(rows)
    numbers = {id: [number_of(frame) for frame in sample.clips[0]] for id, sample in samples.items()}

    assert numbers == {"early": [2, 3, 4, 5, 6], "late": [14, 15, 16, 17, 18], "whole": [30, 31, 32, 33, 34]}
    assert [number_of(frame) for frame in samples["early"].images] == [6]
    assert (samples["early"].answer, samples["early"].fields["choices"]) == ("left", ("left", "right"))
    assert samples["late"].fields["category"] == "drop"
    assert samples["early"].future is None
    assert samples["early"].is_labelled


def test_its_future_follows_and_a_row_without_enough_of_it_is_a_bad_record(rows: Path):
    samples = {}
    for split in ("train", "validation"):
        part = opened(rows, with_future=True, split=split)
        for index in range(len(part)):
            try:
                samples[part[index].id] = [number_of(frame) for frame in part[index].future[0]]
            except RecordError as error:
                samples[error.message.partition(":")[0]] = error.cause
    assert samples == {"early": [7, 8, 9, 10], "whole": [35, 36, 37, 38], "late": "short video"}


def test_all_rows_of_a_video_are_on_one_side(rows: Path):
    ids = [
        {opened(rows, split=split)[index].id for index in range(len(opened(rows, split=split)))}
        for split in ("train", "validation")
    ]
    assert {"early", "late"} in ids
    assert {"whole"} in ids


def test_a_start_limits_the_given_frames(tmp_path: Path):
    write_numbered(tmp_path / "a.mp4", range(20))
    (tmp_path / "rows.jsonl").write_text('{"clip": "a.mp4", "caption": "it moves", "start": 1.5, "end": "2"}\n')
    (sample,) = every(tmp_path / "rows.jsonl").values()
    assert [number_of(frame) for frame in sample.clips[0]] == [9, 9, 10, 11, 12]


@pytest.mark.parametrize("header", ["video,caption", "path,text", "file name,Description"])
def test_captions_are_answers_to_a_question_about_the_video(tmp_path: Path, header: str):
    write_numbered(tmp_path / "a.mp4", range(12))
    (tmp_path / "captions.csv").write_text(f"{header}\na.mp4,a bar moves\n")
    (sample,) = every(tmp_path / "captions.csv").values()
    assert (sample.prompt[-1].text, sample.answer) == (CAPTION_QUESTION, "a bar moves")
    assert (sample.id, sample.fields["video"]) == ("a.mp4", "a.mp4")


def test_metadata_in_a_folder_labels_its_videos(tmp_path: Path):
    write_numbered(tmp_path / "a.mp4", range(12))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.mp4", "caption": "a bar moves"}\n')
    assert [sample.answer for sample in every(tmp_path).values()] == ["a bar moves"]


@pytest.mark.parametrize(
    ("row", "cause", "message"),
    [
        ({"video": "gone.mp4"}, "missing video", "gone.mp4: .*no such file"),
        ({"video": None}, "missing video", "0: no video"),
        ({"video": 3}, "malformed", "3 as the video: expected a path"),
        ({"video": "../a.mp4"}, "malformed", "leaves"),
        ({"time": "soon"}, "malformed", "'soon' as the time: expected seconds, 0 or more"),
        ({"time": "1:x"}, "malformed", "'1:x' as the time: expected seconds, 0 or more"),
        ({"start": 2.0, "time": 1.0}, "malformed", "start=2 s, and the given part ends at 1 s"),
        (
            {"time": 9.0, "id": "q"},
            "unreadable video",
            r"^q: a\.mp4: time=9 s: the video has 1\.83 s; give a time within",
        ),
        ({"answer": ""}, "empty answer", "without text"),
        ({"video": "damaged.mp4"}, "unreadable video", "damaged.mp4"),
    ],
)
def test_a_faulty_row_is_a_bad_record_with_its_cause(tmp_path: Path, row: dict, cause: str, message: str):
    path = write_numbered(tmp_path / "a.mp4", range(12))
    (tmp_path / "damaged.mp4").write_bytes(path.read_bytes()[:500])
    good = {"video": "a.mp4", "question": "Where?", "answer": "left", "time": 1.0, "start": 0.0}
    (tmp_path / "rows.json").write_text(json.dumps([{**good, **row}]))
    samples = opened(tmp_path / "rows.json", split="validation")
    samples = samples if len(samples) else opened(tmp_path / "rows.json")
    with pytest.raises(RecordError, match=message) as caught:
        samples[0]
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("row", "keys", "message"),
    [
        ({"video": "a.mp4", "question": "Where?"}, (), "questions in 'question', and no answers; expected rows like"),
        ({"video": "a.mp4", "frage": "Wo?", "antwort": "links"}, ("question=warum",), "no key 'warum' for question"),
        ({"bild": "a.mp4", "answer": "left"}, (), "no video among the keys 'bild', 'answer'; expected rows like"),
    ],
)
def test_keys_that_do_not_tell_are_refused_in_one_line(tmp_path: Path, row: dict, keys: tuple, message: str):
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=message) as caught:
        opened(tmp_path / "rows.json", keys=keys)
    assert "\n" not in str(caught.value)


def test_keys_can_be_named(tmp_path: Path):
    write_numbered(tmp_path / "a.mp4", range(12))
    (tmp_path / "rows.json").write_text(json.dumps([{"clip": "a.mp4", "frage": "Wo?", "antwort": "links", "t": 0.5}]))
    (sample,) = every(tmp_path / "rows.json", keys=("question=frage", "answer=antwort", "time=t")).values()
    assert (sample.prompt[-1].text, sample.answer) == ("Wo?", "links")
    assert number_of(sample.images[0]) == 3


def column(folder: Path, videos: Path, **columns) -> Path:
    """A folder of Parquet with the content of the videos."""
    stored = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(videos.rglob("*.mp4"))]
    features = datasets.Features(
        {"mp4": datasets.Video(decode=False), **{name: datasets.Value("string") for name in columns}}
    )
    folder.mkdir()
    datasets.Dataset.from_dict({"mp4": stored, **columns}, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_a_column_of_videos_gives_the_samples_of_the_files(videos: Path, tmp_path: Path):
    def firsts(source: Path) -> list[int]:
        return sorted(number_of(sample.clips[0][0]) for sample in every(source, index_dir=tmp_path / "index").values())

    assert firsts(column(tmp_path / "table", videos)) == firsts(videos) == [0, 10, 20, 30]


def test_a_column_of_captions_labels_them(videos: Path, tmp_path: Path):
    table = column(tmp_path / "table", videos, caption=["a", "b", "c", "d"])
    samples = every(table)
    assert sorted(sample.answer for sample in samples.values()) == ["a", "b", "c", "d"]
    assert isinstance(opened(table), VideoQuestions)
    with pytest.raises(ValueError, match="no column 'film': its columns are"):
        opened(table, video_column="film")
    with pytest.raises(ValueError, match="is a data set of tables, on which it has no effect; drop it"):
        opened(table, video_dir=tmp_path)
    with pytest.raises(ValueError, match="revision='main' is for a repository of the hub"):
        opened(table, revision="main")


def test_bad_rows_are_left_out_where_answers_are_measured(rows: Path):
    content = json.loads(rows.read_text())
    rows.write_text(json.dumps([*content, {**content[0], "id": "bad", "video": "v/gone.mp4"}]))
    found = open_items(VideoData(source=str(rows), num_future_steps=1, held_out_share=0.9), None, rule=RULE)
    assert "bad" not in {found[index].id for index in range(len(found))}


def test_videos_without_answers_are_refused_where_answers_are_measured(videos: Path):
    with pytest.raises(ValueError, match="videos without answers: train with --objective imitation, or give a file of"):
        open_items(VideoData(source=str(videos), num_future_steps=1), None, rule=RULE)


@pytest.mark.parametrize(("given", "seconds"), [(1.5, 1.5), ("0:00:01.5", 1.5), ("2:03", 123.0), ("", None)])
def test_times_are_read_as_in_your_own_rows(given, seconds):
    assert video_rows._seconds(given, "time", "row 0") == seconds
