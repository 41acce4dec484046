"""Videos without labels as samples: windows, the future in them, splits, windows that are left out, and the index."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures_windows import number_of, numbered, write_numbered
from theworld.config import VideoData
from theworld.datasets import video_limits, window_index
from theworld.datasets.animation import write_mp4
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.video import ClipRule
from theworld.datasets.video_list import VideoFiles
from theworld.datasets.video_windows import VideoWindows
from theworld.datasets.window_index import WindowRule, measure, moments_of, period_of

RULE = ClipRule(6.0, 5)


def opened(source: Path, split="train", with_future=True, rule=RULE, size=None, **settings) -> VideoWindows:
    settings = {"num_future_steps": 1, **settings}
    samples = open_samples(VideoData(source=str(source), **settings), split, size, with_future, rule)
    assert isinstance(samples, VideoWindows)
    return samples


def every(source: Path, **settings) -> list:
    """The samples of both sides of the split."""
    return [sample for split in ("train", "validation") for sample in opened(source, split, **settings)]


def test_a_sample_has_the_given_frames_and_those_that_followed(videos: Path):
    samples = {sample.fields["video"]: sample for sample in every(videos)}

    assert sorted(samples) == ["a.mp4", "b.mp4", "c.mp4", "more/d.mp4"]
    sample = samples["b.mp4"]
    assert [number_of(frame) for frame in sample.clips[0]] == [10, 11, 12, 13, 14]
    assert [number_of(frame) for frame in sample.future[0]] == [15, 16, 17, 18]
    assert [number_of(frame) for frame in sample.images] == [14]
    assert (sample.num_world_steps, sample.answer, sample.is_labelled) == (1, None, False)
    assert sample.shape == opened(videos).shape_of(0) == ((5,), 1)


def test_without_a_future_it_has_the_same_given_frames(videos: Path):
    sample = opened(videos, with_future=False)[0]
    assert sample.future is None
    assert [number_of(frame) for frame in sample.clips[0]] == [number_of(frame) for frame in opened(videos)[0].clips[0]]


def test_gemma_sees_as_many_frames_as_the_rule_says(videos: Path):
    sample = opened(videos, rule=ClipRule(6.0, 5, 3))[0]
    numbers = [number_of(frame) for frame in sample.clips[0]]
    assert [number_of(frame) for frame in sample.images] == numbers[::2]


def test_a_long_video_gives_windows_that_share_no_frame(tmp_path: Path):
    write_numbered(tmp_path / "v" / "a.mp4", range(40))
    write_numbered(tmp_path / "v" / "b.mp4", range(9))
    samples = [sample for sample in every(tmp_path / "v") if sample.fields["video"] == "a.mp4"]
    numbers = [number_of(frame) for sample in samples for frame in (*sample.clips[0], *sample.future[0])]
    assert numbers == list(range(36))
    assert len({sample.id for sample in samples}) == 4


def test_the_stride_and_the_number_of_windows_are_settings(tmp_path: Path):
    write_numbered(tmp_path / "v" / "a.mp4", range(40))
    write_numbered(tmp_path / "v" / "b.mp4", range(9))

    def firsts(**settings) -> list[int]:
        samples = [sample for sample in every(tmp_path / "v", **settings) if sample.fields["video"] == "a.mp4"]
        return [number_of(sample.clips[0][0]) for sample in samples]

    assert firsts(stride_s=1.0) == [0, 6, 12, 18, 24, 30]
    two = firsts(stride_s=1.0, windows_per_video=2)
    assert len(two) == 2
    assert set(two) < {0, 6, 12, 18, 24, 30}
    others = {tuple(firsts(stride_s=1.0, windows_per_video=2, window_seed=seed)) for seed in range(4)}
    assert len(others) > 1
    assert firsts(stride_s=1.0, windows_per_video=2) == two


def test_a_video_of_another_rate_gives_frames_at_the_models_rate(tmp_path: Path):
    write_numbered(tmp_path / "v" / "a.mp4", range(36), 24.0)
    write_numbered(tmp_path / "v" / "b.mp4", range(9), 3.0)
    samples = {sample.fields["video"]: sample for sample in every(tmp_path / "v")}
    fast, slow = samples["a.mp4"], samples["b.mp4"]
    assert [number_of(frame) for frame in (*fast.clips[0], *fast.future[0])] == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    assert [number_of(frame) for frame in (*slow.clips[0], *slow.future[0])] == list(range(9))  # it keeps each frame


def test_whole_videos_are_held_out_and_copies_stay_together(videos: Path):
    for number in range(4):
        shutil.copy(videos / "a.mp4", videos / f"copy-{number}.mp4")
    train = {sample.fields["video"] for sample in opened(videos, held_out_share=0.5)}
    held_out = {sample.fields["video"] for sample in opened(videos, "validation", held_out_share=0.5)}

    copies = {"a.mp4", *(f"copy-{number}.mp4" for number in range(4))}
    assert train | held_out == copies | {"b.mp4", "c.mp4", "more/d.mp4"}
    assert not train & held_out
    assert copies <= train or copies <= held_out


def test_the_split_depends_on_the_contents_and_not_on_the_place(videos: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere" / "w"
    shutil.copytree(videos, elsewhere)
    shutil.move(elsewhere / "a.mp4", elsewhere / "z.mp4")
    before = [number_of(sample.clips[0][0]) for sample in opened(videos, "validation", held_out_share=0.5)]
    after = [number_of(sample.clips[0][0]) for sample in opened(elsewhere, "validation", held_out_share=0.5)]
    assert sorted(before) == sorted(after)


@pytest.mark.parametrize("stride_s", [None, 0.5])
def test_a_single_video_is_divided_in_time_without_a_frame_on_both_sides(tmp_path: Path, stride_s: float | None):
    write_numbered(tmp_path / "v" / "a.mp4", range(50))
    frames = {
        split: {
            number_of(frame)
            for sample in opened(tmp_path / "v", split, stride_s=stride_s)
            for frame in (*sample.clips[0], *sample.future[0])
        }
        for split in ("train", "validation")
    }
    assert frames["train"]
    assert frames["validation"]
    assert max(frames["train"]) < min(frames["validation"])


def test_folders_for_splits_are_read_as_they_are(videos: Path, tmp_path: Path):
    for name in ("train", "val", "test"):
        (tmp_path / "all" / name).mkdir(parents=True)
    shutil.copy(videos / "a.mp4", tmp_path / "all" / "train")
    shutil.copy(videos / "b.mp4", tmp_path / "all" / "val")
    shutil.copy(videos / "c.mp4", tmp_path / "all" / "test")
    firsts = [number_of(opened(tmp_path / "all", split)[0].clips[0][0]) for split in ("train", "validation", "test")]
    assert firsts == [0, 10, 20]


def still(level: int) -> np.ndarray:
    return np.full((9, 32, 32, 3), level, np.uint8)


def test_static_black_and_cut_windows_are_left_out_and_counted(videos: Path, caplog: pytest.LogCaptureFixture):
    noise = np.random.default_rng(0).normal(120, 3, (9, 240, 320, 3)).clip(0, 255).astype(np.uint8)
    write_mp4(noise, videos / "noise.mp4", 6.0)
    write_mp4(still(128), videos / "still.mp4", 6.0)
    write_mp4(still(0), videos / "black.mp4", 6.0)
    write_mp4(np.concatenate([still(60)[:4], still(200)[:5]]), videos / "cut.mp4", 6.0)
    with caplog.at_level(logging.INFO, "theworld.notes"):
        samples = opened(videos)

    assert samples.left_out == {"static": 2, "black": 1, "cut": 1}
    assert f"{videos}: 4 windows of 8 videos; left out: 2 static, 1 black, 1 cut" in caplog.messages
    kept = {sample.fields["video"] for sample in every(videos, min_motion=0.0, min_luminance=0.0, max_jump=256.0)}
    assert {"noise.mp4", "still.mp4", "black.mp4", "cut.mp4"} <= kept


def test_a_small_thing_that_moves_is_no_static_window_and_a_flash_no_cut():
    pictures = [Image.fromarray(np.full((240, 320, 3), 90, np.uint8)) for _ in range(9)]
    for number, picture in enumerate(pictures):
        picture.paste((200, 200, 200), (40, 40 + 6 * number, 52, 52 + 6 * number))
    _, motion, jump = measure(pictures)
    assert motion > 2
    assert jump < 1
    pictures[4] = Image.fromarray(np.full((240, 320, 3), 255, np.uint8))
    assert measure(pictures)[2] < 1
    pictures[5:] = [pictures[4]] * 4
    assert measure(pictures)[2] > 100


def test_a_missing_and_a_damaged_video_are_bad_records_and_a_short_one_is_counted(videos: Path, tmp_path: Path):
    (videos / "b.mp4").write_bytes((videos / "b.mp4").read_bytes()[:400])
    write_numbered(videos / "short.mp4", range(8))
    names = ["a.mp4", "b.mp4", "c.mp4", "gone.mp4", "short.mp4"]
    (videos / "list.txt").write_text("\n".join(["# my videos", "", *names, "a.mp4"]))
    samples = [opened(videos / "list.txt", split) for split in ("train", "validation")]
    causes = {}
    for part in samples:
        for index in range(len(part)):
            try:
                causes[part[index].fields["video"]] = "good"
            except RecordError as error:
                causes[error.message.partition(":")[0]] = error.cause

    assert causes == {"a.mp4": "good", "b.mp4": "unreadable video", "c.mp4": "good", "gone.mp4": "missing video"}
    assert samples[0].left_out == {"unreadable video": 1, "missing video": 1, "too short": 1}


def test_videos_of_which_no_window_is_left_are_refused_with_the_counts(tmp_path: Path):
    write_numbered(tmp_path / "v" / "a.mp4", range(8))
    with pytest.raises(
        ValueError, match=r"no window of 1 video is left; left out: 1 too short; such as a.mp4: 1.33 s;"
    ):
        opened(tmp_path / "v")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.json", '["a.mp4", "more/d.mp4"]', ""),
        ("list.jsonl", '{"clip": "a.mp4", "n": 1}\n{"clip": "more/d.mp4", "n": 2}\n', ""),
        ("list.csv", "path,width\na.mp4,32\nmore/d.mp4,32\n", ""),
        ("list.csv", "width,height\n32,32\n", r"no video among the keys 'width', 'height'; expected rows like"),
        ("list.txt", "# nothing\n", "an empty list"),
        ("list.txt", "../a.mp4\n", r"'\.\./a\.mp4' leaves .*: set --data.video-dir"),
        ("list.json", '["a.mp4", 3]', "row 1 has 3 as the video: expected a path"),
        ("list.doc", "a.mp4", r"expected a folder of videos, or a list of them \(\.txt, \.json"),
    ],
)
def test_lists_of_paths_in_several_forms(videos: Path, name: str, content: str, message: str):
    (videos / name).write_text(content)
    if message:
        with pytest.raises(ValueError, match=message):
            opened(videos / name)
    else:
        assert {sample.fields["video"] for sample in every(videos / name)} == {"a.mp4", "more/d.mp4"}


def test_a_source_without_videos_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no videos in this folder; expected files such as clip\.mp4"):
        opened(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        opened(tmp_path / "nowhere")
    write_numbered(tmp_path / "a.mp4", range(9))
    with pytest.raises(ValueError, match="no test split; expected train or validation, or a folder `test` in it"):
        opened(tmp_path, "test")
    with pytest.raises(ValueError, match="no such folder"):
        opened(tmp_path, video_dir=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        (
            "",
            {"video_column": "film"},
            "^video_column=film: .* is a folder of videos, on which it has no effect; drop it$",
        ),
        ("", {"keys": ("video=film",)}, "^keys=video=film: .* is a folder of videos"),
        ("", {"config_name": "all"}, "^config_name=all: .* is a folder of videos"),
        ("", {"video_dir": "."}, "^video_dir=.*is a folder of videos"),
        (
            "",
            {"revision": "main"},
            "^revision='main' is for a repository of the hub, and .* is on this machine: drop it$",
        ),
        ("list.txt", {"video_column": "film"}, "is a list of videos"),
        ("list.txt", {"keys": ("video=film",)}, "is a list of videos"),
        ("list.json", {"keys": ("video=film",)}, "is a list of videos"),
        ("rows.json", {"video_column": "film"}, r"is a file of rows \(its keys are named by keys, as video=NAME\)"),
        ("rows.json", {"revision": "main"}, "on this machine"),
    ],
)
def test_a_setting_without_effect_on_the_source_is_refused(
    tmp_path: Path, name: str, setting: dict[str, Any], message: str
):
    write_numbered(tmp_path / "v" / "a.mp4", range(9))
    (tmp_path / "list.txt").write_text("v/a.mp4")
    (tmp_path / "list.json").write_text('["v/a.mp4"]')
    (tmp_path / "rows.json").write_text('[{"video": "v/a.mp4"}]')
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / (name or "v"), **setting)


def test_a_share_to_hold_out_has_no_effect_beside_a_folder_for_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for folder in ("train", "validation", "test"):
        write_numbered(tmp_path / folder / "a.mp4", range(9))
    for split in ("train", "validation", "test"):
        assert len(opened(tmp_path, split, held_out_share=0.5)) == len(opened(tmp_path, split))
    assert caplog.text.count("held_out_share=0.5 has no effect") == 1


def test_the_index_is_read_again_and_a_changed_video_measured_anew(videos: Path, monkeypatch: pytest.MonkeyPatch):
    measured: list[str] = []
    index_video = window_index.index_video
    monkeypatch.setattr(
        window_index, "index_video", lambda name, *rest: measured.append(name) or index_video(name, *rest)
    )
    opened(videos)
    assert sorted(measured) == ["a.mp4", "b.mp4", "c.mp4", "more/d.mp4"]
    measured.clear()
    opened(videos, "validation", min_motion=5.0)  # limits apply to what is measured already
    assert measured == []
    write_numbered(videos / "b.mp4", range(30, 39))
    os.utime(videos / "b.mp4", ns=(1, 1))
    assert any(number_of(sample.clips[0][0]) == 30 for sample in every(videos))
    assert measured == ["b.mp4"]
    opened(videos, num_future_steps=1, window_seed=1)
    assert len(measured) == 5


def test_an_index_that_a_kill_cut_off_is_completed(videos: Path, tmp_path: Path):
    whole = [sample.id for sample in opened(videos, index_dir=tmp_path / "index")]
    (path,) = (tmp_path / "index").glob("*/*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:20])
    assert [sample.id for sample in opened(videos, index_dir=tmp_path / "index")] == whole
    assert len(path.read_text().splitlines()) == 4


def test_an_index_that_cannot_be_written_names_the_setting(videos: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"the index of the videos cannot be written .*; give index_dir"):
        opened(videos, index_dir=tmp_path / "file")


def test_moments_leave_room_for_the_given_frames_and_the_future():
    times = np.arange(30) / 10
    rule = WindowRule(ClipRule(10.0, 5), 8, None)
    assert moments_of(times, rule, "") == [0.4, 1.7]
    assert moments_of(times[:12], rule, "") == []
    assert moments_of(times[:13], rule, "") == [0.4]
    assert period_of(times, 30.0) == pytest.approx(0.1)
    assert period_of(times, 5.0) == pytest.approx(0.2)


def test_frames_that_tell_their_number_do():
    assert [number_of(Image.fromarray(numbered(number))) for number in (0, 7, 49)] == [0, 7, 49]


def test_a_fault_that_passes_is_measured_again_and_kept(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "index"
    opened_video = window_index.open_video

    def fails(source: Path, **options: Any) -> Any:
        if Path(source).name == "b.mp4":
            raise PermissionError(13, "no permission for now")
        return opened_video(source, **options)

    monkeypatch.setattr(window_index, "open_video", fails)
    assert opened(videos, index_dir=index).left_out == {"unreadable video": 1}
    assert opened(videos, index_dir=index).left_out == {"unreadable video": 1}
    monkeypatch.setattr(window_index, "open_video", opened_video)
    assert opened(videos, index_dir=index).left_out == {}
    (path,) = index.glob("*/*.jsonl")
    assert "no permission" not in path.read_text()
    assert len(path.read_text().splitlines()) == 4


def test_an_index_that_is_whole_need_not_be_writable_for_a_fault_that_stays(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (videos / "b.mp4").write_bytes((videos / "b.mp4").read_bytes()[:400])
    opened(videos, index_dir=tmp_path / "index")

    def refuses(path: Path) -> None:
        raise PermissionError(13, "read only")

    monkeypatch.setattr(window_index, "FileLock", refuses)
    assert opened(videos, index_dir=tmp_path / "index").left_out == {"unreadable video": 1}


def test_measuring_a_long_video_has_no_clock(videos: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = iter(range(0, 10**9, 1_000))
    monkeypatch.setattr(video_limits, "monotonic", lambda: next(seconds))
    assert opened(videos).left_out == {}


def test_a_stride_below_a_frame_is_refused_in_one_line(videos: Path):
    with pytest.raises(ValueError, match=r"^data\.stride_s=1e-09: expected at least 0\.1667 s, the time of a frame"):
        opened(videos, stride_s=1e-9)
    assert len(opened(videos, stride_s=0.166)) == 3


def test_an_index_of_many_videos_is_resumed_without_a_set_per_line(videos: Path, tmp_path: Path):
    class Counted(VideoFiles):
        num_looks = 0

        @property
        def names(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
            self.num_looks += 1
            return self.all_names

        @names.setter
        def names(self, names: list[str]) -> None:
            self.all_names = names

    paths = sorted(videos.glob("*.mp4"))
    rule = WindowRule(RULE, 4)
    path = window_index.WindowIndex(VideoFiles(paths[:1], videos), rule, tmp_path).path
    line = path.read_text()
    path.write_text("".join([line, *(line.replace("a.mp4", f"{number}.mp4") for number in range(100))]))
    counted = Counted(paths, videos)
    window_index.WindowIndex(counted, rule, tmp_path)
    assert counted.num_looks < 50  # a few, and those of the checks of types, but not one for each line


def test_a_broken_video_is_no_validation_set_and_counts_in_training(tmp_path: Path):
    write_numbered(tmp_path / "v" / "good.mp4", range(50))
    for number in range(4):  # whatever their hashes are
        (tmp_path / "v" / f"{number}.mp4").write_bytes(b"no video" * (number + 1))
    held_out = opened(tmp_path / "v", "validation")
    train = opened(tmp_path / "v")
    assert len(held_out) > 0
    assert {record.now_s is None for record in held_out.records} == {False}
    assert sum(record.now_s is None for record in train.records) == 4
    last = max(record.now_s for record in train.records if record.now_s is not None)
    assert last < min(record.now_s or 0.0 for record in held_out.records)


def test_the_remedy_fits_the_cause(tmp_path: Path):
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    with pytest.raises(
        ValueError, match=r"1 missing video; .*; check the videos' paths, and data\.video_dir"
    ) as caught:
        opened(tmp_path / "list.txt")
    assert "limits" not in str(caught.value)
    (tmp_path / "gone.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"1 unreadable video; .*; replace the unreadable videos") as caught:
        opened(tmp_path / "list.txt")
    assert "limits" not in str(caught.value)
    write_numbered(tmp_path / "gone.mp4", range(8))
    with pytest.raises(ValueError, match=r"1 too short; .*; give other videos, or other limits"):
        opened(tmp_path / "list.txt")
