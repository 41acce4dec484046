"""Runs on videos: imitation without labels, the true future as a world, and answers to questions beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures_windows import write_numbered
from theworld.config import MixturePart, ModelSettings, VideoData, WorldSettings
from theworld.config.commands import FillSettings, PreviewSettings
from theworld.datasets.collator import Collator
from theworld.datasets.factory import open_samples
from theworld.modeling.factory import open_processor
from theworld.training.feature_cache import fill
from theworld.training.preview import look
from theworld.training.run import train


def model(tap: str = "rollout") -> ModelSettings:
    world = WorldSettings(tap=tap, cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0, num_inference_steps=2)
    return ModelSettings(gemma_model_name="tiny", dtype="float32", world_grid=4, num_world_steps=1, world=world)


@pytest.fixture
def data(videos: Path) -> VideoData:
    return VideoData(source=str(videos), num_future_steps=1)


@pytest.fixture
def labelled(videos: Path) -> VideoData:
    rows = [
        {"video": name, "question": "Where?", "answer": name[0], "time": 0.667} for name in ("a.mp4", "b.mp4", "c.mp4")
    ]
    (videos / "rows.json").write_text(json.dumps(rows))
    return VideoData(source=str(videos / "rows.json"), num_future_steps=1)


@pytest.mark.parametrize("tap", ["rollout", "true-future"])
def test_imitation_trains_on_videos_without_any_label(make_config: Callable, data: VideoData, tmp_path: Path, tap: str):
    config = make_config(
        objective="imitation",
        data=data,
        settings_of_model=model(tap),
        num_steps=2,
        batch_size=2,
        store_dir=tmp_path / "s",
    )
    result = train(config)
    assert result["step"] == 2
    assert result["loss"] > 0
    checkpoint = json.loads((config.output_dir / "checkpoint-2" / "manifest.json").read_text())
    assert set(checkpoint["data"]) == {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}


def test_a_damaged_video_is_listed_and_the_run_goes_on(make_config: Callable, videos: Path):
    (videos / "e.mp4").write_bytes(b"no video")
    for name in ("train", "val"):
        shutil.copytree(videos, videos.parent / "split" / name)
    data = VideoData(source=str(videos.parent / "split"), num_future_steps=1)
    config = make_config(objective="imitation", data=data, settings_of_model=model(), num_steps=4, batch_size=4)
    train(config)
    (line,) = (config.output_dir / "bad_records.jsonl").read_text().splitlines()
    assert json.loads(line)["cause"] == "unreadable video"


def test_answers_need_labels(make_config: Callable, data: VideoData):
    with pytest.raises(ValueError, match="videos without answers: train with --objective imitation"):
        train(make_config(data=data, settings_of_model=model()))
    with pytest.raises(ValueError, match="videos without answers"):
        train(make_config(mixture=(MixturePart(data=data),), settings_of_model=model()))


def test_a_collator_that_labels_refuses_a_sample_without_a_label(data: VideoData):
    processor = open_processor(model())
    sample = open_samples(data, "train", None, True, processor.clip_rule)[0]
    with pytest.raises(ValueError, match="has no label: train with objective 'imitation'"):
        Collator(processor, supervise=True)([sample])
    batch = Collator(processor, supervise=True, show_slots=True)([sample])
    assert batch["world_pixels"].shape == (1, 5, 3, 64, 64)
    assert batch["slot_pixel_values"].shape[:2] == (1, 3)
    assert (batch["labels"] == -100).all()


def test_questions_train_on_the_true_future_and_are_measured(make_config: Callable, labelled: VideoData):
    config = make_config(data=labelled, settings_of_model=model("true-future"), num_steps=2, batch_size=2)
    assert train(config)["step"] == 2


def test_a_mixture_of_videos_and_scenes_trains(make_config: Callable, data: VideoData):
    config = make_config(objective="imitation", settings_of_model=model(), num_steps=2, batch_size=2)
    mixture = (MixturePart(data=data), MixturePart(data=config.data))
    assert (
        train(
            make_config(objective="imitation", settings_of_model=model(), num_steps=2, batch_size=2, mixture=mixture)
        )["step"]
        == 2
    )


def test_the_preview_shows_a_question_without_an_answer(
    make_config: Callable, data: VideoData, labelled: VideoData, tmp_path: Path
):
    fields = {"output_dir": tmp_path / "x", "num_steps": 1, "model": model()}
    unlabelled = look(PreviewSettings(**fields, data=data, objective="imitation"))
    assert unlabelled.shown[0].sample.answer is None
    assert unlabelled.shown[0].lengths.supervised == 0
    assert look(PreviewSettings(**fields, data=labelled)).shown[0].lengths.supervised > 0


def test_the_features_of_videos_fill_a_store(data: VideoData, tmp_path: Path):
    settings = FillSettings(
        output_dir=tmp_path / "x",
        store_dir=tmp_path / "s",
        num_steps=1,
        model=model(),
        data=data,
        objective="imitation",
    )
    assert fill(settings)["computed"] == 3
    assert fill(settings)["found"] == 3


def test_the_two_ends_of_one_video_train_and_measure(make_config: Callable, tmp_path: Path):
    write_numbered(tmp_path / "v" / "long.mp4", range(50))
    data = VideoData(source=str(tmp_path / "v"), num_future_steps=1)
    config = make_config(objective="imitation", data=data, settings_of_model=model(), num_steps=1, batch_size=2)
    assert train(config)["step"] == 1
