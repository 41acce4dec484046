"""Videos of records and of columns: every form in which tables hold them."""

import csv
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_clips import Decoder, frames_of
from fixtures_public import picture
from fixtures_video_rows import RULE, write_films
from theworld import HFDatasetWrapper, TheWorldDataset
from theworld.config import DataSettings, HFData
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import KnowsShapes, Sample
from theworld.datasets.video import read_clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    return folder / write_films(folder, 1)[0]


def pixels(sample: Sample) -> list[bytes]:
    clips: Any = sample.clips
    return [frame.tobytes() for frame in clips[0]]


def expected(film: Path, **part: Any) -> list[bytes]:
    return [frame.tobytes() for frame in read_clip(film, RULE, **part).frames]


FORMS: dict[str, Any] = {
    "a path": str,
    "a Path": lambda film: film,
    "bytes": lambda film: film.read_bytes(),
    "a struct of bytes": lambda film: {"bytes": film.read_bytes(), "path": None},
    "a struct of a path": lambda film: {"bytes": None, "path": str(film)},
    "an array": frames_of,
    "a tensor": lambda film: torch.from_numpy(frames_of(film)).permute(0, 3, 1, 2),
    "a list of arrays": lambda film: list(frames_of(film)),
    "a list of pictures": lambda film: [Image.fromarray(frame) for frame in frames_of(film)],
    "nested lists": lambda film: frames_of(film).tolist(),
    "a decoder": lambda film: Decoder(frames_of(film)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_record_gives_the_same_frames(film: Path, form: str) -> None:
    record = {"video": FORMS[form](film), "text": "What moves?", "label": "a square", "frame_rate": 12}

    samples: Any = TheWorldDataset([record], RULE)
    sample = samples[0]

    assert pixels(sample) == expected(film)
    assert [image.tobytes() for image in sample.images] == expected(film)[-1:]
    assert sample.shape == samples.shape_of(0) == ((5,), None)
    assert samples.num_images_of(0) == 1


def test_a_record_names_a_part_or_several_videos(film: Path) -> None:
    record = {"text": "What moves?", "label": "a square"}

    samples = TheWorldDataset(
        [
            {**record, "video": str(film), "start": 0.25, "end": "0:00.75"},
            {**record, "videos": [str(film), film.read_bytes()]},
            {**record, "image": picture(0)},
        ],
        RULE,
    )

    assert pixels(samples[0]) == expected(film, start_s=0.25, end_s=0.75)
    assert [len(clip) for clip in samples[1].clips or ()] == [5, 5]
    assert isinstance(samples, KnowsShapes)
    assert [samples.shape_of(index) for index in range(3)] == [samples[index].shape for index in range(3)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"video": "a.mp4", "image": "a.png"}, "record 0 has both image and video: give one"),
        ({"video": "a.mp4", "videos": ["a.mp4"]}, "record 0 has both video and videos"),
        ({"video": "a.mp4", "clips": [[picture(0)]]}, "record 0 has both video and clips"),
        ({"video_path": "a.mp4"}, "record 0 has video_path: expected image or video"),
    ],
)
def test_a_record_with_two_media_is_refused(record: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TheWorldDataset([{"text": "What?", "label": "red", **record}])


def test_a_record_whose_video_cannot_be_read_says_why(film: Path) -> None:
    record = {"text": "What?", "label": "red"}
    samples = TheWorldDataset(
        [
            {**record, "video": "gone.mp4"},
            {**record, "video": film.read_bytes()[:600]},
            {**record, "video": str(film), "start": "now"},
            {**record, "video": frames_of(film), "start": 1},
        ]
    )

    for index, cause in enumerate(("missing video", "unreadable video", "malformed", "unreadable video")):
        with pytest.raises(RecordError) as caught:
            samples[index]
        assert caught.value.cause == cause


def table(values: list[Any], feature: Any = None) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict(
        {
            "clip": values,
            "question": [f"<video>\nWhat moves in {index}?" for index in range(len(values))],
            "answer": ["a square"] * len(values),
        }
    )
    return rows if feature is None else rows.cast_column("clip", feature)


COLUMNS: dict[str, Any] = {
    "texts": lambda film: table([str(film)]),
    "bytes": lambda film: table([film.read_bytes()]),
    "structs": lambda film: table([{"bytes": film.read_bytes(), "path": "0.mp4"}]),
    "datasets.Video of paths": lambda film: table([str(film)], datasets.Video()),
    "datasets.Video of bytes": lambda film: table([{"bytes": film.read_bytes(), "path": None}], datasets.Video()),
    "datasets.Video, undecoded": lambda film: table([str(film)], datasets.Video(decode=False)),
    "lists of datasets.Video": lambda film: table([[str(film)]], datasets.List(datasets.Video())),
}


@pytest.mark.parametrize("form", COLUMNS)
def test_every_column_gives_the_same_frames(film: Path, form: str) -> None:
    samples: Any = HFDatasetWrapper(COLUMNS[form](film), video_key="clip", rule=RULE)

    sample = samples[0]

    assert pixels(sample) == expected(film)
    assert sample.turns[0].text == "What moves in 0?"
    assert sample.shape == samples.shape_of(0) == ((5,), None)
    assert (samples.num_images_of(0), samples.text_length_of(0)) == (1, len("What moves in 0?") + len("a square"))


@pytest.mark.parametrize("is_formatted", [False, True])
def test_columns_of_frames_and_arrays_are_videos(film: Path, is_formatted: bool) -> None:
    frames = frames_of(film)
    arrays = table([frames.tolist()], datasets.Array4D(frames.shape, "uint8"))
    if is_formatted:
        arrays = arrays.with_format("numpy")
    pictures = [{"bytes": _png(frame), "path": None} for frame in frames]

    for rows in (arrays, table([pictures], datasets.List(datasets.Image()))):
        sample = HFDatasetWrapper(rows, video_key="clip", rule=RULE)[0]
        assert pixels(sample) == [Image.fromarray(frame).tobytes() for frame in frames[-5:]]


def _png(frame: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def test_decoded_columns_of_torchcodec_are_read(film: Path) -> None:
    rows = table([0]).with_transform(lambda batch: {**batch, "clip": [Decoder(frames_of(film)) for _ in batch["clip"]]})

    assert pixels(HFDatasetWrapper(rows, video_key="clip", rule=RULE)[0]) == expected(film)


def test_pictures_and_videos_in_two_columns_take_turns(film: Path) -> None:
    rows = datasets.Dataset.from_dict(
        {
            "image": [str(film.with_name("0.png")), None, None, str(film.with_name("0.png"))],
            "clip": [None, str(film), None, str(film)],
            "question": ["What?"] * 4,
            "answer": ["red"] * 4,
        }
    ).cast_column("image", datasets.Image())
    picture(0).save(film.with_name("0.png"))

    samples: Any = HFDatasetWrapper(rows, video_key="clip", rule=RULE)

    assert [samples[index].shape[0] for index in range(3)] == [(1,), (5,), (1,)]
    assert [samples.shape_of(index)[0] for index in range(2)] == [(1,), (5,)]
    with pytest.raises(RecordError, match="1 pictures beside 1 videos"):
        samples[3]


def test_parts_are_read_from_their_columns_and_bad_rows_say_why(film: Path) -> None:
    rows = table([str(film), str(film), "gone.mp4"])
    rows = rows.add_column("begin", [0.25, 0.7, None]).add_column("stop", [0.75, 0.2, None])  # pyright: ignore[reportCallIssue]

    samples = HFDatasetWrapper(rows, video_key="clip", start_key="begin", end_key="stop", rule=RULE)

    assert pixels(samples[0]) == expected(film, start_s=0.25, end_s=0.75)
    for index, cause in ((1, "malformed"), (2, "missing video")):
        with pytest.raises(RecordError, match=f"row {index}: ") as caught:
            samples[index]
        assert caught.value.cause == cause
    with pytest.raises(ValueError, match=r"no column \['film'\]"):
        HFDatasetWrapper(rows, video_key="film")


def test_a_folder_of_videos_is_opened_by_the_settings(
    tmp_path: Path, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(5):
        (tmp_path / "train").mkdir(exist_ok=True)
        shutil.copy(film, tmp_path / "train" / f"{index}.mp4")
    with (tmp_path / "train" / "metadata.csv").open("w") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file_name", "question", "answer"])
        rows.writerows([f"{index}.mp4", "What moves?", "a square"] for index in range(5))
    settings = DataSettings(dataset="hf", source=str(tmp_path), video_column="video")

    sides: Any = [open_samples(settings, side, None, rule=RULE) for side in ("train", "validation")]

    assert sum(map(len, sides)) == 5
    assert pixels(sides[0][0]) == expected(film)
    with pytest.raises(ValueError, match="name a part of a video: name its column, video_column"):
        HFData(source=str(tmp_path), start_column="begin")
    with pytest.raises(ValueError, match="conversation_column stands for question_column and answer_column"):
        HFData(source=str(tmp_path), conversation_column="messages", answer_column="label")
    with pytest.raises(ValueError, match=r"revision='main' is for a repository of the hub, and .* is on this machine"):
        open_samples(HFData(source=str(tmp_path), video_column="video", revision="main"), "train", None, rule=RULE)
    shutil.copytree(tmp_path / "train", tmp_path / "validation")
    with caplog.at_level("WARNING"):
        open_samples(HFData(source=str(tmp_path), video_column="video", held_out_share=0.5), "train", None, rule=RULE)
    assert "held_out_share=0.5 has no effect" in caplog.text
