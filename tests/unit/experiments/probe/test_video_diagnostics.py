"""Diagnostics of imagined futures on videos without labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from theworld.config import WorldSettings
from theworld.config.experiments import ProbeSettings
from theworld.evaluation.statistics import Interval
from theworld.experiments.probe.diagnostics import _ratio_intervals
from theworld.experiments.probe.report import run_probes

WORLD = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0, num_inference_steps=4)


@pytest.fixture
def settings(videos: Path, tmp_path: Path) -> ProbeSettings:
    shutil.copy(videos / "a.mp4", videos / "e.mp4")
    (videos / "f.mp4").write_bytes(b"no video")
    more = {"num_clip_frames": 5, "num_future_steps": 1, "num_test": 20, "batch_size": 3}
    return ProbeSettings(labels="video", output_dir=tmp_path / "probe", source=str(videos), world=WORLD, **more)


def test_a_folder_of_videos_gives_a_row_per_slot_a_table_and_curves(settings: ProbeSettings):
    values = run_probes(settings)

    assert (values["num_videos"], values["num_clips"], values["left_out"]) == (5, 5, {"unreadable video": 1})
    (row,) = json.loads((settings.output_dir / "probe.json").read_text())
    assert (row["slot"], round(row["after_s"], 3)) == (1, 0.667)
    assert min(row["imagined"], row["still"], row["repeated"], row["extrapolated"]) > 0
    assert row["interval"]["low"] <= row["relative"] <= row["interval"]["high"]
    assert 0 <= row["share_closer"] <= 1
    text = (settings.output_dir / "probe.md").read_text()
    assert text.startswith("## Imagined futures\n\n| slot | after | imagined | still | repeated | extrapolated |")
    assert "5 clips of 5 videos" in text
    assert Path(values["curves"]).read_bytes().startswith(b"\x89PNG")


def test_a_single_given_frame_has_no_step_to_continue(settings: ProbeSettings, videos: Path, tmp_path: Path):
    one = ProbeSettings(
        labels="video",
        output_dir=tmp_path / "one",
        source=str(videos),
        world=WORLD,
        num_clip_frames=1,
        num_future_steps=2,
        num_test=20,
    )
    rows = run_probes(one)["slots"]
    assert [row["extrapolated"] for row in rows] == [None, None]


def test_clips_of_one_video_are_drawn_together():
    values, of = np.array([[1.0], [1.0], [3.0]]), np.ones((3, 1))
    assert _ratio_intervals(values, of, ["a", "a", "a"]) == [Interval(5 / 3, 5 / 3)]
    (interval,) = _ratio_intervals(values, of, ["a", "a", "b"])
    assert (interval.low, interval.high) == (1.0, 3.0)


def test_a_clip_of_another_length_is_refused(settings: ProbeSettings):
    with pytest.raises(ValueError, match="num_clip_frames=4: expected"):
        ProbeSettings(labels="video", source="x", num_clip_frames=4)
