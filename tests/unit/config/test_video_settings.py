"""Settings of videos: keys by role, limits, and what a former hash does not see."""

from pathlib import Path

import pytest

from theworld.config import DataSettings, VideoData, VsrData
from theworld.config.commands import ImagineSettings
from theworld.config.inferred import for_training


def test_the_data_set_is_chosen_by_its_name():
    data = DataSettings(dataset="video", source="clips", num_future_steps=2)
    assert isinstance(data, VideoData)
    assert data.num_future_steps == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"keys": ("film=a",)},
            "keys: given 'film=a'; expected ROLE=KEY, with a role of video, question, answer, time",
        ),
        ({"keys": ("time=a", "time=b")}, "names a role twice"),
        ({"num_future_steps": 0}, "num_future_steps"),
        ({"stride_s": 0.0}, "stride_s"),
        ({"min_motion": -1.0}, "min_motion"),
        ({"train_split": "test"}, "nothing may train on the test split"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        VideoData(source="clips", **settings)


def test_other_data_sets_are_described_as_before():
    assert "stride_s" not in VsrData(source="s", image_dir=Path("p")).with_idle()


def test_a_run_on_videos_without_a_model_takes_the_embedded_one():
    values = for_training({"data": {"dataset": "video", "source": "some/clips"}})
    assert values["output_dir"] == "runs/clips"
    assert values["model"]["gemma_model_name"] == "tiny"


def test_the_output_of_a_future_must_have_a_known_ending():
    assert ImagineSettings(clip=Path("a.mp4"), out=Path("b.GIF")).out == Path("b.GIF")
    with pytest.raises(ValueError, match=r"expected a file that ends in '\.mp4', '\.gif' or '\.png'"):
        ImagineSettings(clip=Path("a.mp4"), out=Path("b"))
