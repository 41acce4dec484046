"""Rows of LLaVA's format with videos: LLaVA-Video's, LLaMA-Factory's, and their marks."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import picture
from fixtures_video_rows import RULE, write_films
from theworld.config import DataSettings
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.public.llava import LlavaDataset
from theworld.datasets.sample import KnowsShapes
from theworld.datasets.video import read_clip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, 3)
    picture(0).save(folder / "0.png")
    return folder


def said(question: str = "<video>\nWhat moves?", **media: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "a square"}]
    return {"id": "v", "conversations": turns, **media}


def llava(folder: Path, films: Path, *rows: Any) -> LlavaDataset:
    path = folder / "rows.json"
    path.write_text(json.dumps(list(rows)))
    return LlavaDataset(path, films, rule=RULE)


@pytest.mark.parametrize(
    ("question", "media"),
    [
        ("<video>\nWhat moves?", {"video": "clips/1.mp4"}),
        ("<image>\nWhat moves?", {"video": "clips/1.mp4"}),  # as LLaVA-Video-178K writes it
        ("What moves?\n<image>", {"video": "clips/1.mp4", "data_source": "0_30_s_nextqa"}),
        ("What moves?", {"videos": ["clips/1.mp4"]}),
        ("<video>What moves?", {"videos": ["clips/1.mp4"], "video": None}),  # as LLaMA-Factory writes it
        ("<image>\nWhat moves?", {"image": "clips/1.mp4"}),
    ],
)
def test_a_video_is_a_clip_and_its_mark_leaves_the_question(
    tmp_path: Path, films: Path, question: str, media: dict[str, Any]
) -> None:
    samples: Any = llava(tmp_path, films, said(question, **media))

    sample = samples[0]

    expected = read_clip(films / "clips/1.mp4", RULE)
    assert [frame.tobytes() for frame in sample.clips[0]] == [frame.tobytes() for frame in expected.frames]
    assert [image.tobytes() for image in sample.images] == [expected.frames[-1].tobytes()]
    assert [turn.text for turn in sample.turns] == ["What moves?", "a square"]
    assert (sample.fields, samples.shape_of(0), sample.shape) == ({"video": "clips/1.mp4"}, ((5,), None), ((5,), None))


def test_pictures_texts_and_videos_take_turns(tmp_path: Path, films: Path) -> None:
    rows = [said("<image>\nWhat?", image="0.png"), said("What is <video> in HTML?"), said(video="clips/0.mp4")]

    samples: Any = llava(tmp_path, films, *rows)

    assert [samples.shape_of(index)[0] for index in range(3)] == [(1,), (1,), (5,)]
    assert [samples.num_images_of(index) for index in range(3)] == [1, 0, 1]
    assert [len(samples[index].images) for index in range(3)] == [1, 0, 1]
    assert samples[1].turns[0].text == "What is <video> in HTML?"
    assert not isinstance(llava(tmp_path / "..", films, *rows[:2]), KnowsShapes)


def test_an_index_of_a_former_version_is_written_anew(tmp_path: Path, films: Path) -> None:
    samples = llava(tmp_path, films, said(video="clips/0.mp4"))
    place = tmp_path / "rows.json.rows" / "index.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "version": 3}))
    (place.parent / "rows.bin").write_bytes(b"")

    again = LlavaDataset(tmp_path / "rows.json", films, rule=RULE)

    assert len(again) == len(samples) == 1


@pytest.mark.parametrize(
    ("row", "cause", "message"),
    [
        (said(video="clips/gone.mp4"), "missing video", "no such file"),
        (said(video="0.png"), "unreadable video", "one picture"),
        (said(video=3), "malformed", "video"),
        (said(video=["clips/0.mp4", 3]), "malformed", "video"),
        (said("<video><video>What?", video="clips/0.mp4"), "malformed", "2 times <video> for 1 videos"),
        (said("<image>\nWhat?", image="0.png", video="clips/0.mp4"), "malformed", "1 pictures beside 1 videos"),
        (said("<video>\nWhat?", image="0.png"), "malformed", "a question with <video>, and no video"),
        (said("<video>\nWhat?"), "malformed", "a question with <video>, and no video"),
        (said(video="clips/0.mp4", videos=["clips/1.mp4"]), "malformed", "other paths in video than in videos"),
        (said(video_path="clips/0.mp4"), "malformed", "media under video_path: expected image or video"),
    ],
)
def test_a_bad_row_says_why(tmp_path: Path, films: Path, row: Any, cause: str, message: str) -> None:
    samples = llava(tmp_path, films, row, said(video="clips/0.mp4"))

    with pytest.raises(RecordError, match=message) as caught:
        samples[0]
    assert caught.value.cause == cause
    assert len(samples[1].clips or ()) == 1


def test_a_video_needs_the_folder_of_videos(tmp_path: Path, films: Path) -> None:
    llava(tmp_path, films, said(video="clips/0.mp4"))

    with pytest.raises(RecordError, match=r"give image_dir, the folder of the videos \(missing video\)"):
        LlavaDataset(tmp_path / "rows.json")[0]


def test_the_settings_open_them_and_hold_out_whole_videos(tmp_path: Path, films: Path) -> None:
    rows = [{**said(video=f"clips/{index % 3}.mp4"), "id": str(index)} for index in range(9)]
    llava(tmp_path, films, *rows)
    settings = DataSettings(dataset="llava", source=str(tmp_path / "rows.json"), image_dir=films)

    sides: Any = [open_samples(settings, side, None, rule=RULE) for side in ("train", "validation")]

    files = [{side[index].fields["video"] for index in range(len(side))} for side in sides]
    assert (len(files[0]), len(files[1]), len(files[0] & files[1])) == (2, 1, 0)
