"""Your own rows of videos: keys, parts of a video, folders, sides of the split, and bad rows."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures_clips import film, moving_square
from fixtures_public import picture
from fixtures_video_rows import RULE, row, write_films, write_rows
from theworld.config import DataSettings, OwnData
from theworld.datasets import own, row_videos
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.own import OwnDataset
from theworld.datasets.sample import KnowsShapes, Sample
from theworld.datasets.video import ClipRule, read_clip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the films `clips/0.mp4` to `clips/9.mp4`, and a picture."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder)
    picture(0).save(folder / "0.png")
    return folder


def dataset(tmp_path: Path, films: Path, rows: list[Any], name: str = "my.json", **options: Any) -> OwnDataset:
    path = tmp_path / name
    if path.suffix == ".csv":
        lines = [list(rows[0]), *(list(one.values()) for one in rows)]
        path.write_text("\n".join(",".join(map(str, line)) for line in lines))
    else:
        path.write_text(json.dumps(rows))
    samples = OwnDataset(str(path), image_dir=films, rule=RULE, **options)
    samples.places = np.arange(len(samples.rows))  # both sides, in the order of the rows
    return samples


def pixels(frames: Any) -> list[bytes]:
    return [frame.tobytes() for frame in frames]


def test_a_video_is_a_clip_for_the_world_and_its_last_frame_for_gemma(tmp_path: Path) -> None:
    path = write_rows(tmp_path)
    settings = DataSettings(source=str(path))

    samples = open_samples(settings, "train", None, rule=RULE)
    sample = samples[0]

    assert isinstance(settings, OwnData)
    assert (len(samples), len(open_samples(settings, "validation", None, rule=RULE))) == (8, 2)
    clip = read_clip(tmp_path / sample.id, RULE)
    assert sample.clips is not None
    assert pixels(sample.clips[0]) == pixels(clip.frames)
    assert len(set(pixels(clip.frames))) == 5
    assert pixels(sample.images) == pixels(clip.frames[-1:])
    assert sample.fields == {"video": sample.id}
    assert sample.answer is not None
    assert sample.answer.startswith("square")


def test_the_rule_of_the_model_decides_on_the_frames(tmp_path: Path, films: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps([row("clips/0.mp4")]))
    rule = ClipRule(frame_rate_hz=12.0, num_frames=9, num_gemma_frames=3)

    samples: Any = open_samples(DataSettings(source=str(path), image_dir=films), "train", None, rule=rule)

    assert samples[0].shape == samples.shape_of(0) == ((9,), None)
    assert (len(samples[0].images), samples.num_images_of(0)) == (3, 3)


@pytest.mark.parametrize("name", ["my.json", "my.csv"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("video", "clips/1.mp4"),
        ("Video Path", "clips/1.mp4"),
        ("clip", "clips/1.mp4"),
        ("file_name", "clips/1.mp4"),
        ("path", "clips/1.mp4"),
        ("image", "clips/1.mp4"),
        ("videos", ["clips/1.mp4"]),
        ("images", ["clips/1.mp4"]),
    ],
)
def test_usual_names_of_keys_are_understood(tmp_path: Path, films: Path, key: str, value: Any, name: str) -> None:
    if name.endswith("csv") and isinstance(value, list):
        value = value[0]
    rows = [{key: value, "question": "What?", "answer": "red"}]

    samples = dataset(tmp_path, films, rows, name)

    assert samples.keys.of["video"] == (key,)
    assert samples[0].shape == samples.shape_of(0) == ((5,), None)


def test_a_key_is_named_where_its_name_does_not_tell(tmp_path: Path, films: Path) -> None:
    rows = [{"film_id": "clips/1.mp4", "question": "What?", "answer": "red"}]

    with pytest.raises(ValueError, match=r"no image among the keys .*, and no video; .* image=KEY or video=KEY"):
        dataset(tmp_path, films, rows)
    assert dataset(tmp_path, films, rows, keys=("video=film_id",))[0].shape == ((5,), None)
    rows = [{"video": "v_1", "question": "What?", "answer": "red"}]  # a name without an ending, and no other key
    with pytest.raises(ValueError, match=r"none of its first 1 videos is there, such as .*v_1"):
        dataset(tmp_path, films, rows)


def test_words_beside_pictures_are_no_videos(tmp_path: Path, films: Path) -> None:
    rows = [{"image": "0.png", "clip": 0.31, "video": "v_1", "start": 3, "question": "What?", "answer": "red"}]

    samples = dataset(tmp_path, films, rows)

    assert not isinstance(samples, KnowsShapes)
    assert samples[0].clips is None
    assert not any(samples.keys.of[role] for role in ("video", "start", "end", "frame_rate"))


def test_a_picture_and_a_video_in_every_row_are_refused_until_one_is_named(tmp_path: Path, films: Path) -> None:
    rows = [{"image": "0.png", **row("clips/1.mp4")}]

    with pytest.raises(ValueError, match=r"a picture in 'image' and a video in 'video'; .* image=image or video=video"):
        dataset(tmp_path, films, rows)
    assert dataset(tmp_path, films, rows, keys=("video=video",))[0].shape == ((5,), None)
    assert dataset(tmp_path, films, rows, keys=("image=image",))[0].shape == ((1,), None)


@pytest.mark.parametrize(
    ("given", "start_s", "end_s"),
    [
        ({"start": 0.25, "end": 0.75}, 0.25, 0.75),
        ({"start_time": "0:00:00.25", "end_time": "00:00.75"}, 0.25, 0.75),
        ({"start_sec": "0.25"}, 0.25, None),
        ({"end_s": 0.5}, 0.0, 0.5),
        ({"timestamp": [0.25, 0.75]}, 0.25, 0.75),
    ],
)
def test_a_part_of_a_video_counts_alone(
    tmp_path: Path, films: Path, given: dict[str, Any], start_s: float, end_s: float | None
) -> None:
    sample = dataset(tmp_path, films, [row("clips/1.mp4", **given)])[0]

    expected = read_clip(films / "clips/1.mp4", RULE, start_s=start_s, end_s=end_s)
    assert sample.clips is not None
    assert pixels(sample.clips[0]) == pixels(expected.frames)
    assert sample.fields.get("end") == end_s
    assert sample.fields.get("start", 0.0) == start_s


def test_columns_of_a_table_give_parts(tmp_path: Path, films: Path) -> None:
    rows = [row("clips/1.mp4", start=0.25, end=0.75), row("clips/1.mp4", 1, start="", end="")]

    samples = dataset(tmp_path, films, rows, "my.csv")

    assert samples[0].fields == {"video": "clips/1.mp4", "start": 0.25, "end": 0.75}
    assert samples[1].fields == {"video": "clips/1.mp4"}
    assert samples[1].id == "clips/1.mp4#2"


def test_several_videos_and_frames_as_pictures_are_clips(tmp_path: Path, films: Path) -> None:
    (tmp_path / "frames").mkdir()
    frames = [f"frames/{index}.png" for index in range(6)]
    for name, frame in zip(frames, moving_square(6, 32), strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    for number in (0, 1):
        film(tmp_path / f"{number}.mp4", moving_square(12, 32, seed=number))
    rows = [row("0.mp4"), row("1.mp4", frame_rate=12)]
    rows[0]["video"] = ["0.mp4", "1.mp4"]
    rows[1]["video"] = frames

    samples: Any = dataset(tmp_path, tmp_path, rows)

    assert [len(clip) for clip in samples[0].clips] == [5, 5]
    assert (len(samples[0].images), samples.num_images_of(0), samples.num_images_of(1)) == (2, 2, 1)
    expected = read_clip([tmp_path / name for name in frames], RULE, source_rate_hz=12.0)
    assert pixels(samples[1].clips[0]) == pixels(expected.frames)  # every other one of six
    assert samples[1].fields["video"] == "frames/0.png"


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_videos_is_read_by_its_metadata(tmp_path: Path, name: str) -> None:
    names = write_films(tmp_path, 3)
    rows = [{"file_name": file, "text": "What?", "label": "red"} for file in names]
    if name.endswith("csv"):
        text = "file_name,text,label\n" + "".join(f"{file},What?,red\n" for file in names)
    else:
        text = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / name).write_text(text)

    sides = [open_samples(DataSettings(source=str(tmp_path)), split, None) for split in ("train", "validation")]

    assert sorted(side[index].id for side in sides for index in range(len(side))) == names


def test_all_rows_of_a_video_are_on_one_side(tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "theworld.notes")
    own._announced.clear()
    row_videos._announced.clear()
    path = tmp_path / "my.json"
    rows = [row(f"clips/{index % 10}.mp4", index, start=index / 40) for index in range(20)]
    path.write_text(json.dumps(rows))

    train, validation = (OwnDataset(str(path), side, image_dir=films, rule=RULE) for side in ("train", "validation"))

    files = [{side[index].fields["video"] for index in range(len(side))} for side in (train, validation)]
    assert (len(files[0]), len(files[1]), len(files[0] & files[1])) == (8, 2, 0)
    messages = [record.message for record in caplog.records]
    assert any("16 samples to train on; 4 held out to measure on (2 of 10 videos)" in text for text in messages)
    assert any("video from 'video', question from 'question'" in text and "videos in" in text for text in messages)
    rule = [text for text in messages if "the world model sees the last 5 frames at 6 a second" in text]
    assert len(rule) == 1


def test_pictures_and_videos_may_take_turns_and_shapes_are_known_unread(tmp_path: Path, films: Path) -> None:
    rows = [row("clips/1.mp4"), {"image": "0.png", "question": "What?", "answer": "red"}, row("clips/gone.mp4")]

    samples = dataset(tmp_path, films, rows)

    assert [samples.shape_of(index) for index in range(3)] == [((5,), None), ((1,), None), ((5,), None)]
    assert [samples[index].shape for index in range(2)] == [((5,), None), ((1,), None)]
    assert [samples.num_images_of(index) for index in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "cause", "message"),
    [
        ({"video": "clips/gone.mp4"}, "missing video", "no such file"),
        ({"video": "http://x.org/a.mp4"}, "missing video", "addresses are not opened"),
        ({"video": "../a.mp4"}, "malformed", "leaves"),
        ({"video": "cut.mp4"}, "unreadable video", "cut.mp4"),
        ({"video": "0.png"}, "unreadable video", "one picture, and no video"),
        ({"video": ["0.png", 3]}, "malformed", "as the video: expected a path"),
        ({"video": 7}, "malformed", "7 as the video: expected a path"),
        ({"video": None}, "missing picture", "no picture or video"),
        ({"image": "0.png"}, "malformed", "1 pictures beside 1 videos"),
        ({"images": ["0.png", "clips/1.mp4"], "video": None}, "malformed", "1 pictures beside 1 videos"),
        ({"start": "soon"}, "malformed", "'soon' as the start: expected seconds"),
        ({"end": -1}, "malformed", "-1 as the end: expected seconds"),
        ({"start": 0.7, "end": 0.2}, "malformed", "the end, 0.2 s, comes before the start, 0.7 s"),
        ({"start": 5}, "unreadable video", "no frame between 5 s"),
        ({"end": 9}, "unreadable video", r"1\.mp4: end=9 s: the video has .* s; give a time within it"),
        ({"video": ["clips/1.mp4", "clips/2.mp4"], "start": 1}, "malformed", "a start or an end for 2 videos"),
        ({"question": "<video> <video>\nWhat?"}, "malformed", "2 times <video> for 1 videos"),
        ({"answer": ""}, "empty answer", "no answer"),
    ],
)
def test_a_bad_row_says_why_on_one_line(
    tmp_path: Path, films: Path, change: dict[str, Any], cause: str, message: str
) -> None:
    (films / "cut.mp4").write_bytes((films / "clips/0.mp4").read_bytes()[:700])
    good = [row("clips/2.mp4", start=0, end=1), {"image": "0.png", "question": "What?", "answer": "red"}]
    samples = dataset(tmp_path, films, [*good, row("clips/1.mp4") | change])

    with pytest.raises(RecordError, match=message) as caught:
        samples[2]
    assert caught.value.cause == cause
    assert "\n" not in str(caught.value)
    assert isinstance(samples[0], Sample)


def test_marks_and_parts_of_videos_leave_the_question(tmp_path: Path, films: Path) -> None:
    talk = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "red"},
    ]
    turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "red"}]
    samples = [
        dataset(tmp_path, films, [{"video": "clips/1.mp4", "messages": messages}], f"{number}.json")[0]
        for number, messages in enumerate((talk, turns))
    ]

    assert [[turn.text for turn in sample.turns] for sample in samples] == [["What?", "red"]] * 2
    with pytest.raises(RecordError, match="2 parts of type video for 1 videos"):
        dataset(
            tmp_path,
            films,
            [
                {
                    "video": "clips/1.mp4",
                    "messages": [
                        {
                            "role": "user",
                            "content": [{"type": "video"}, {"type": "video"}, {"type": "text", "text": "What?"}],
                        },
                        talk[1],
                    ],
                }
            ],
        )[0]


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_an_animation_is_a_video_under_its_key_and_refused_under_that_of_pictures(tmp_path: Path, name: str) -> None:
    still, *others = [picture(index) for index in range(3)]
    still.save(tmp_path / name, save_all=True, append_images=others, duration=100)
    still.save(tmp_path / f"still{Path(name).suffix}")
    question = {"question": "What?", "answer": "red"}
    good = {"image": f"still{Path(name).suffix}", **question}

    samples = dataset(tmp_path, tmp_path, [good, {"image": name, **question}, {"images": [name, name], **question}])
    assert samples[0].images[0].size == still.size
    for index in (1, 2):
        with pytest.raises(
            RecordError, match=rf"{name}: an animation in the place of a picture: read its key as"
        ) as caught:
            samples[index]
        assert caught.value.cause == "malformed"
    (clip,) = dataset(tmp_path, tmp_path, [{"video": name, **question}])[0].clips or ()
    assert len(clip) == 5


def test_a_list_of_gifs_is_several_videos_and_an_animated_frame_of_one_is_refused(tmp_path: Path) -> None:
    still, *others = [picture(index) for index in range(3)]
    for name in ("0.gif", "1.gif", "0.webp", "1.webp"):
        still.save(tmp_path / name, save_all=True, append_images=others, duration=100)
    question = {"question": "What?", "answer": "red"}

    rows = [{"video": [f"{index}.{kind}" for index in range(2)], **question} for kind in ("gif", "webp")]
    samples = dataset(tmp_path, tmp_path, rows)
    assert len(samples[0].clips or ()) == 2
    with pytest.raises(RecordError, match=r"0\.webp: an animation of 3 frames, in the place of one") as caught:
        samples[1]
    assert "\n" not in str(caught.value)
