"""Surprise of videos by windows, of IntPhys 2 by pairs and of simulated scenes, with a row for each clip."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fixtures_future as made
from theworld.cli import main as cli
from theworld.config.commands import SurpriseSettings
from theworld.config.world import TINY_WORLD, WorldSettings
from theworld.datasets.foresight.items import make_item
from theworld.datasets.foresight.wrong_futures import future_frames, given_frames, scenes_of, visible_wrongs
from theworld.experiments.run_surprise import ClipRow, compare_pairs, measure_surprise
from theworld.experiments.surprise_sources import ClipPair, open_clips

WORLD = WorldSettings(**TINY_WORLD)


def settings(source: object, out: Path, **more: Any) -> SurpriseSettings:
    given = {"num_future_steps": 1, "world": WORLD, **more}
    return SurpriseSettings(source=str(source), output_dir=out, **given)


def rows_in(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "surprise.jsonl").read_text().splitlines()]


def test_each_frame_of_a_long_video_after_the_given_ones_is_measured_once(tmp_path: Path) -> None:
    film = made.write_video(tmp_path / "long.mp4", num_frames=21)
    [clip] = open_clips(settings(film, tmp_path / "out")).clips

    windows = list(clip.windows())

    assert [round(window.now_s * 6) for window in windows] == [4, 8, 12, 16]
    assert {tuple(window.frames.shape) for window in windows} == {(9, 3, 64, 64)}
    assert clip.num_given == 5


def test_a_folder_of_videos_has_a_row_for_each_and_the_largest_surprise_with_its_time(tmp_path: Path) -> None:
    for number, frames in enumerate((9, 17)):
        made.write_video(tmp_path / "films" / f"{number}.mp4", number, num_frames=frames)

    values, [table] = measure_surprise(settings(tmp_path / "films", tmp_path / "out", noise_levels=(0.5, 0.9)))

    rows = rows_in(tmp_path / "out")
    assert [(row["sample_id"], len(row["windows"])) for row in rows] == [("0.mp4", 1), ("1.mp4", 3)]
    for row in rows:
        numbers = [value for _, value in row["windows"]]
        assert row["mean"] == pytest.approx(sum(numbers) / len(numbers))
        assert [row["at_s"], row["max"]] == max(row["windows"], key=lambda window: window[1])
        assert row["mean"] == pytest.approx(sum(row["levels"].values()) / 2)
        assert set(row["levels"]) == {"0.5", "0.9"}
    assert values["num_windows"] == 4
    assert json.loads(json.dumps(values)) == json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row[0] for row in table.rows] == ["0.mp4", "1.mp4"]


def test_a_killed_measurement_continues_and_another_one_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        made.write_video(tmp_path / "films" / f"{number}.mp4", number)
    given = settings(tmp_path / "films", tmp_path / "out")
    measure_surprise(given)
    file = tmp_path / "out" / "surprise.jsonl"
    first, second, third = file.read_text().splitlines(keepends=True)
    marked = first.replace('"seconds":', '"seconds":10')
    file.write_text(marked + second[:40])  # killed in the second

    measure_surprise(given)

    after = file.read_text().splitlines(keepends=True)
    assert after[0] == marked
    assert [json.loads(line)["mean"] for line in after[1:]] == [json.loads(line)["mean"] for line in (second, third)]
    config = (tmp_path / "out" / "config.json").read_text()
    with pytest.raises(ValueError, match=r"another run \(num_draws: 1 there, 2 here\); choose another output_dir"):
        measure_surprise(replace(given, num_draws=2))
    assert (tmp_path / "out" / "config.json").read_text() == config
    (tmp_path / "films" / "0.mp4").unlink()
    with pytest.raises(ValueError, match=r"holds 1 rows of other clips \(the first: '0.mp4'\)"):
        measure_surprise(given)


def test_intphys2_is_compared_by_pairs_within_scenes(tmp_path: Path) -> None:
    made.write_intphys2(tmp_path / "IntPhys2", 2)

    values, [table] = measure_surprise(settings(tmp_path / "IntPhys2", tmp_path / "out"))

    rows = {row["sample_id"]: row for row in rows_in(tmp_path / "out")}
    sides: dict[str, dict[str, float]] = {}
    for row in rows.values():
        sides.setdefault(row["fields"]["pair"], {})[row["fields"]["type"][2:]] = row["mean"]
    right = sum(side["Possible"] < side["Impossible"] for side in sides.values())
    numbers = values["pairs"]["all"]["by_surprise"]
    assert (numbers["num_pairs"], numbers["num_right"], numbers["num_incomplete"]) == (4, right, 0)
    assert list(values["pairs"]) == ["all", "Permanence", "Solidity"]
    assert [row[0] for row in table.rows] == ["all", "Permanence", "Solidity"]


def test_a_damaged_video_is_an_error_row_and_its_pair_is_not_counted(tmp_path: Path) -> None:
    folder = made.write_intphys2(tmp_path / "IntPhys2", 1)
    next((folder / "Main" / "Videos").iterdir()).write_bytes(b"no film")

    values, _ = measure_surprise(settings(folder, tmp_path / "out"))

    assert values["num_missing"] == 1
    assert values["pairs"]["all"]["by_surprise"]["num_incomplete"] == 1
    assert values["pairs"]["all"]["by_surprise"]["num_pairs"] == 1


@pytest.mark.usefixtures("embedded")
def test_the_embedded_world_takes_a_true_future_for_the_possible_one(tmp_path: Path) -> None:
    values, _ = measure_surprise(settings("foresight", tmp_path / "out", num_future_steps=None, num_clips=1))

    pairs = values["pairs"]
    assert pairs["other-scene"]["by_surprise"]["value"] == 1.0
    assert pairs["reversed"]["by_surprise"]["value"] == 1.0
    assert 4 * pairs["all"]["mean_possible"] < pairs["all"]["mean_impossible"]
    assert values["world"].startswith("Cosmos-Predict2, tiny")


def test_a_wrong_future_follows_the_given_frames_of_its_scene_and_looks_different() -> None:
    for item in scenes_of("test", 5):
        given, true = given_frames(item, 64), future_frames(item, None, 64)
        assert len(given) + len(true) == 17
        for wrong in visible_wrongs(item):
            future = future_frames(item, wrong, 64)
            assert future.shape == true.shape
            assert (future != true).any()
            if wrong == "frozen":
                assert (future == given[-1]).all()
            if wrong == "reversed":
                assert (future == true[::-1]).all()
            if wrong == "permuted":
                assert sorted(frame.tobytes() for frame in future) == sorted(frame.tobytes() for frame in true)


def test_a_future_that_looks_like_the_true_one_is_no_pair(tmp_path: Path) -> None:
    standing = make_item("test", 2, "topple")
    assert visible_wrongs(standing) == ("other-scene",)

    clips = open_clips(settings("foresight", tmp_path / "out", num_clips=12))

    assert [pair.name for pair in clips.pairs if pair.cluster == standing.id] == [f"{standing.id}/other-scene"]
    assert len(clips.pairs) == len(clips.clips) - 12


@pytest.mark.parametrize(("by", "right"), [("mean", 1), ("max", 0)])
def test_pairs_are_compared_by_the_mean_or_the_largest_and_a_tie_is_wrong(by: Any, right: int) -> None:
    rows = [
        ClipRow(sample_id="a", mean=1.0, max=3.0, change=1.0),
        ClipRow(sample_id="b", mean=2.0, max=2.0, change=1.0),
        ClipRow(sample_id="c", error="VideoError: damaged"),
    ]
    pairs = [ClipPair("p", "a", "b", "s", "g"), ClipPair("q", "a", "c", "s", "g")]

    numbers = compare_pairs(pairs, rows, by)["all"]

    assert (numbers["by_surprise"]["num_right"], numbers["by_surprise"]["num_incomplete"]) == (right, 1)
    assert numbers["by_change"]["num_right"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.mp4"], "source=nowhere.mp4: no such file or folder; expected a video"),
        (["notes.md"], "notes.md: no video; expected one, a folder of videos"),
        (["empty"], "empty: no videos in this folder"),
        (["short.mp4"], "none of 1 clips could be measured; the first error: VideoError: short.mp4: 0.5 s"),
        (["foresight", "--num-future-steps", "9"], "num_future_steps=9: a simulated scene of this kind has"),
        (["foresight", "--num-given-frames", "5"], "num_given_frames=5: simulated scenes give the frames"),
        (["short.mp4", "--num-given-frames", "4"], r"num_given_frames=4: expected 1 + 4j"),
        (["short.mp4", "--noise-levels", "1.5"], "--noise-levels"),
        (["short.mp4", "--noise-levels", "0.5", "0.5"], "expected all different"),
        (["short.mp4", "--stride-s", "0.01"], "data.stride_s=0.01: expected at least"),
        (["short.mp4", "--world.tap", "siglip"], "world.tap='siglip': surprise is the error of a denoiser"),
        (["short.mp4", "--world.image-size-px", "72"], "--world.image-size-px"),
    ],
)
def test_bad_input_gets_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made.write_video(tmp_path / "short.mp4", num_frames=3)
    (tmp_path / "notes.md").write_text("no video")
    (tmp_path / "empty").mkdir()

    assert cli.main(["surprise", *words]) == cli.REFUSED
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("theworld surprise: "))
    assert message in line
    assert "Traceback" not in error


def test_without_a_world_model_the_embedded_one_is_measured_at_its_own_size() -> None:
    command, words = cli._named_command(["surprise", "foresight"])
    assert command is not None

    assert cli.settings_of(command, words).world == WORLD
    named = cli.settings_of(command, [*words, "--world.cosmos-model-name", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"]).world
    assert named.image_size_px == 224
