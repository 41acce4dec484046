"""The command `imagine`: which frames are given, what is compared, the files it writes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures_windows import write_numbered
from theworld.cli.main import main
from theworld.datasets.errors import VideoError
from theworld.datasets.video import ClipRule, open_video
from theworld.experiments.imagine import Cut, cut_at
from theworld.world import guardrail

RULE = ClipRule(6.0, 5)


def cut(num_frames: int, steps: int, at_s: float | None = None, rate_hz: float = 6.0) -> tuple[float, int, int]:
    """Number of the current frame at 6 a second, given frames, and true slots."""
    result = cut_at(np.arange(num_frames) / rate_hz, RULE, steps, at_s)
    return round(result.now_s * 6, 3), result.num_given, result.num_true


def test_the_given_part_ends_where_the_slots_of_truth_begin():
    assert cut(30, 2) == (21, 5, 2)
    assert cut(13, 2) == (4, 5, 2)


def test_a_short_clip_gives_fewer_frames_so_that_the_truth_remains():
    assert cut(17, 4) == (0, 1, 4)
    assert cut(12, 2) == (3, 1, 2)


def test_a_clip_without_room_for_the_slots_is_continued_from_its_end():
    assert cut(16, 4) == (15, 5, 0)
    assert cut(1, 1) == (0, 1, 0)


def test_a_given_time_ends_the_given_part_and_compares_the_slots_that_are_there():
    assert cut(30, 4, at_s=1.0) == (6, 5, 4)
    assert cut(17, 4, at_s=1.0) == (6, 5, 2)
    assert cut(17, 4, at_s=0.0) == (0, 1, 4)
    assert cut(61, 2, at_s=0.5, rate_hz=30.0) == (3, 1, 2)
    with pytest.raises(VideoError, match=r"at=9 s: the video lasts 2\.67 s; give a time within it"):
        cut(17, 4, at_s=9.0)


def test_the_moments_are_those_of_the_given_and_true_frames():
    np.testing.assert_allclose(Cut(1.0, 0.5, 1, 1).moments_s, [1.0, 1.5, 2.0, 2.5, 3.0])


@pytest.fixture
def clip(tmp_path: Path, embedded: Path) -> Path:
    return write_numbered(tmp_path / "clip.mp4", range(14))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["imagine", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["future.mp4", "future.gif", "future.PNG"])
def test_the_future_is_written_in_the_form_that_the_name_says(clip: Path, tmp_path: Path, capsys, name: str):
    out = tmp_path / name
    values = run(capsys, str(clip), "--steps", "2", "--out", str(out))

    assert values["num_true_slots"] == 2
    assert [row["slot"] for row in values["slots"]] == [1, 2]
    for row in values["slots"]:
        assert row["relative"] == pytest.approx(row["imagined"] / row["still"])
        assert 0 < row["psnr_db"] < 100
        assert row["extrapolated"] > 0
    if name == "future.PNG":
        with Image.open(out) as sheet:
            assert sheet.format == "PNG"
            assert sheet.width > 3 * 256
    else:
        with open_video(out) as video:
            assert video.num_frames == values["num_given_frames"] + 8
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["clip.mp4", name])


def test_the_table_tells_the_slots_and_a_clip_that_ends_has_none(clip: Path, tmp_path: Path, capsys):
    assert main(["imagine", str(clip), "--steps", "1", "--out", str(tmp_path / "a.png")]) == 0
    text = capsys.readouterr().out
    assert "| slot | after | imagined | still | repeated | extrapolated | imagined / still |" in text
    assert "| 1 | 0.67 s |" in text
    values = run(capsys, str(clip), "--steps", "4", "--out", str(tmp_path / "a.png"))
    assert (values["num_true_slots"], values["slots"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clip.mp4", "--out", "a.avi"], "out='a.avi': expected a file that ends in '.mp4', '.gif' or '.png'"),
        (["clip.mp4", "--out", "nowhere/a.mp4"], "nowhere/a.mp4: its folder does not exist; create it first"),
        (["clip.mp4", "--out", "clip.mp4"], "clip.mp4: the clip itself; give another name with --out"),
        (["gone.mp4"], "gone.mp4: no such file"),
        (["text.mp4"], "text.mp4: not a readable video"),
        (["clip.mp4", "--steps", "40"], "--steps: num_world_steps=40: expected 0 to 16, the slots of tiny-foresight"),
        (["clip.mp4", "--at", "7"], "at=7 s: the video lasts 2.17 s; give a time within it"),
    ],
)
def test_wrong_input_is_one_line(clip: Path, monkeypatch, capsys, words: list[str], message: str):
    monkeypatch.chdir(clip.parent)
    (clip.parent / "text.mp4").write_text("no video")
    assert main(["imagine", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"theworld imagine: {message}")
    assert not list(clip.parent.glob("future*"))


def test_the_future_of_nvidias_weights_passes_the_guardrail_or_is_not_written(
    clip: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(guardrail, "is_nvidias", lambda *_: True)
    assert main(["imagine", str(clip), "--steps", "1", "--out", str(tmp_path / "a.mp4")]) == 2
    assert "must pass its guardrail" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()
