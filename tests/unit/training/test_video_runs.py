"""Runs on rows of videos: workers, resume, length limits, packing, mixtures, the feature store, preview and items."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_model import picture
from fixtures_video_rows import row, write_rows
from theworld import TheWorld
from theworld.cli.handlers import preview
from theworld.config import DataSettings, MixturePart, TrainingConfig, WorldSettings
from theworld.config.commands import FillSettings, PreviewSettings
from theworld.config.model import ModelSettings
from theworld.datasets.collator import Collator
from theworld.datasets.errors import VideoError
from theworld.datasets.factory import open_items, open_samples
from theworld.datasets.sample import question
from theworld.datasets.samplers import batches
from theworld.datasets.video import read_clip
from theworld.evaluation.partners import paired
from theworld.evaluation.shown_items import write_items
from theworld.training.dataloading import decoded
from theworld.training.feature_cache import fill
from theworld.training.metrics import read_metrics
from theworld.training.run import train
from theworld.world.store import FeatureStore, clip_key, stored_fingerprint

MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows about ten videos, about one that is not there, and about one that is cut short."""
    path = write_rows(tmp_path / "data")
    rows = json.loads(path.read_text())
    (path.parent / "cut.mp4").write_bytes((path.parent / "clips/0.mp4").read_bytes()[:700])
    path.write_text(json.dumps([*rows, row("clips/gone.mp4"), row("cut.mp4")]))
    return path


@pytest.fixture
def data(source: Path) -> DataSettings:
    return DataSettings(source=str(source))


def pictures_beside(folder: Path, number: int = 8) -> DataSettings:
    """Rows of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"image": f"{index}.png", "question": "What?", "answer": "red"} for index in range(number)]
    for index in range(number):
        picture(index).save(folder / f"{index}.png")
    (folder / "pictures.json").write_text(json.dumps(rows))
    return DataSettings(source=str(folder / "pictures.json"))


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / "metrics.jsonl")]


def test_a_run_on_videos_is_the_same_with_workers_and_when_it_is_resumed(
    make_config: MakeConfig, data: DataSettings
) -> None:
    options: dict[str, Any] = {"data": data, "batch_size": 2, "max_bad_share": 1.0}
    config = make_config("unbroken", **options)
    train(config)
    train(make_config("workers", num_workers=2, **options))
    broken = make_config("broken", resume=True, **options)
    shutil.copytree(config.output_dir, broken.output_dir)
    shutil.rmtree(broken.output_dir / "checkpoint-4")

    train(broken)

    assert len(losses(config.output_dir)) == 4
    assert losses(broken.output_dir) == losses(config.output_dir)
    assert losses(config.output_dir.parent / "workers") == losses(config.output_dir)
    listed = [json.loads(line) for line in (config.output_dir / "bad_records.jsonl").read_text().splitlines()]
    assert {line["cause"] for line in listed} <= {"missing video", "unreadable video"}
    assert listed
    assert all("\n" not in line["message"] for line in listed)


def test_packed_rows_of_videos_learn_the_same_and_long_ones_are_left_out(make_config: MakeConfig, source: Path) -> None:
    rows = json.loads(source.read_text())[:10]
    rows = [{**item, "question": item["question"] * (1 + 99 * (index in (1, 3, 5)))} for index, item in enumerate(rows)]
    source.write_text(json.dumps(rows))
    data = DataSettings(source=str(source))
    options: dict[str, Any] = {"data": data, "num_steps": 3, "max_length": 400, "max_bad_share": 1.0}

    for packing in (False, True):
        train(make_config(f"packing-{packing}", packing=packing, **options))

    plain, packed = (make_config(f"packing-{packing}").output_dir for packing in (False, True))
    assert losses(packed) == pytest.approx(losses(plain), abs=1e-5)
    listed = [json.loads(line) for line in (plain / "bad_records.jsonl").read_text().splitlines()]
    assert {line["cause"] for line in listed} == {"overlong"}
    assert "1 picture" in listed[0]["message"]


@pytest.mark.parametrize("options", [{}, {"group_by_length": True}, {"packing": True}])
def test_a_mixture_of_pictures_and_videos_has_batches_of_one_shape(
    make_config: MakeConfig, source: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    source.write_text(json.dumps(json.loads(source.read_text())[:10]))
    parts = (
        MixturePart(data=DataSettings(source=str(source))),
        MixturePart(data=pictures_beside(tmp_path / "pictures")),
    )
    config = make_config(mixture=parts, num_steps=6, batch_size=2, num_workers=1, **options)
    frames: list[int] = []

    def noted(self: Collator, samples: Any, original: Any = Collator.__call__) -> dict[str, Any]:
        batch = original(self, samples)
        frames.append(batch["world_pixels"].shape[1])
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collator, "__call__", noted)
        train(replace(config, num_workers=0))

    assert len(losses(config.output_dir)) == 6
    assert set(frames) == {1, 5}


def test_rows_of_pictures_and_videos_in_one_file_train_together(make_config: MakeConfig, source: Path) -> None:
    rows = json.loads(source.read_text())[:10]
    picture(1).save(source.parent / "1.png")
    rows += [{"image": "1.png", "question": f"What is {index}?", "answer": "red"} for index in range(10)]
    source.write_text(json.dumps(rows))

    train(make_config(data=DataSettings(source=str(source)), batch_size=2, num_steps=4))

    assert len(losses(make_config().output_dir)) == 4


def test_gemma_may_see_several_frames_of_a_clip(make_config: MakeConfig, source: Path) -> None:
    source.write_text(json.dumps(json.loads(source.read_text())[:10]))
    options: dict[str, Any] = {"data": DataSettings(source=str(source)), "batch_size": 2, "num_steps": 2}

    train(make_config(model={"num_gemma_frames": 3}, packing=True, **options))

    assert len(losses(make_config().output_dir)) == 2


def test_a_partner_in_an_audit_shows_another_video(source: Path) -> None:
    rows = json.loads(source.read_text())
    asked = [{**rows[0], "answer": "a"}, {**rows[0], "answer": "b"}, {**rows[1], "answer": "b"}]
    source.write_text(json.dumps([{**item, "question": "What?"} for item in asked]))
    samples: Any = open_samples(DataSettings(source=str(source)), "train", None)
    samples.places = np.arange(3)

    result = paired([samples[index] for index in range(3)])

    pairs = list(zip(result.samples, result.partners, strict=True))
    assert pairs
    assert all(one.fields["video"] != other.fields["video"] for one, other in pairs)


def test_a_broken_video_that_a_sample_opens_late_has_its_cause(tmp_path: Path) -> None:
    sample = question("0", [VideoError("cut short")], "What?", "red")

    assert getattr(decoded(sample, 0), "cause", None) == "unreadable video"


def fill_settings(tmp_path: Path, data: DataSettings, num_world_steps: int = 0, **world: Any) -> FillSettings:
    settings = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0, **world)
    return FillSettings(
        output_dir=tmp_path / "run",
        store_dir=tmp_path / "features",
        model=ModelSettings(
            gemma_model_name="tiny", dtype="float32", world_grid=4, num_world_steps=num_world_steps, world=settings
        ),
        data=data,
        fill_batch_size=2,
    )


def test_the_store_keeps_the_features_of_decoded_frames(tmp_path: Path, data: DataSettings, source: Path) -> None:
    world: dict[str, Any] = {"num_world_steps": 1, "tap": "rollout"}
    result = fill(replace(fill_settings(tmp_path, data, **world), store_dtype="float32"))

    model = TheWorld.from_pretrained("tiny", world_grid=4, world_tap="rollout", num_world_steps=1, frame_rate_hz=6.0)
    rule = model.config.clip_rule
    samples = open_samples(data, "train", None, rule=rule)
    store = FeatureStore(tmp_path / "features", stored_fingerprint(tmp_path / "features"))
    assert (result["computed"], result["found"]) == (len(store), 0)
    shutil.copy(source.parent / "clips/0.mp4", source.parent / "copy.mp4")
    collator = Collator(model.processor, supervise=False)
    num_equal = 0
    for index in range(len(samples)):
        name = str(samples.rows[int(samples.places[index])]["video"])  # pyright: ignore[reportAttributeAccessIssue]
        if name in ("clips/gone.mp4", "cut.mp4"):
            continue
        frames, steps = collator.frames([samples[index]])
        assert frames is not None
        by_hand = model.processor.world_frames([list(read_clip(source.parent / name, rule).frames)])
        assert by_hand is not None
        assert torch.equal(frames, by_hand)
        assert clip_key(frames[0], steps) == clip_key(by_hand[0], steps)
        stored = store.get([clip_key(frames[0], steps)])
        torch.testing.assert_close(stored, model.read_world(frames, steps), rtol=1e-5, atol=1e-5)
        num_equal += 1
    assert num_equal == len(store)
    again = fill(fill_settings(tmp_path, data, **world))
    assert (again["computed"], again["found"]) == (0, num_equal)


def test_a_copy_of_a_video_under_another_name_is_found_in_the_store(tmp_path: Path, source: Path) -> None:
    fill(fill_settings(tmp_path, DataSettings(source=str(source))))
    other = tmp_path / "moved"
    shutil.copytree(source.parent / "clips", other / "films")
    rows = [row(f"films/{index}.mp4") for index in range(10)]
    (other / "others.json").write_text(json.dumps(rows))
    before = len(FeatureStore(tmp_path / "features", stored_fingerprint(tmp_path / "features")))

    result = fill(fill_settings(tmp_path, DataSettings(source=str(other / "others.json"))))

    assert result["found"] >= 6  # most of the eight to train on, whose sides differ
    after = len(FeatureStore(tmp_path / "features", stored_fingerprint(tmp_path / "features")))
    assert after - before == result["computed"]


def test_a_run_reads_the_store_and_learns_what_one_without_it_learns(make_config: MakeConfig, source: Path) -> None:
    source.write_text(json.dumps(json.loads(source.read_text())[:10]))
    options: dict[str, Any] = {"data": DataSettings(source=str(source)), "batch_size": 2, "num_steps": 3}
    plain, stored = (make_config(name, **options) for name in ("plain", "stored"))
    train(plain)

    train(replace(stored, store_dir=stored.output_dir.parent / "features", store_dtype="float32", num_workers=1))

    assert losses(stored.output_dir) == pytest.approx(losses(plain.output_dir), abs=1e-5)


def test_samples_to_measure_on_leave_bad_videos_out(source: Path, data: DataSettings) -> None:
    source.write_text(json.dumps([row("clips/gone.mp4"), *json.loads(source.read_text())[:10]]))

    samples = open_items(replace(data, validation_split="train", train_split="validation"), None)

    assert 1 <= len(samples) <= 10
    shapes = {
        sample.shape for batch in batches((samples[index] for index in range(len(samples))), 4) for sample in batch
    }
    assert shapes == {((5,), None)}


def test_the_preview_shows_the_frames_of_a_clip_and_lists_bad_rows(tmp_path: Path, data: DataSettings) -> None:
    page = tmp_path / "page.html"

    result = preview(
        PreviewSettings(data=data, page=page, output_dir=tmp_path / "run", model=fill_settings(tmp_path, data).model)
    )

    text = page.read_text()
    assert result["num_read"] >= 8
    assert text.count("world, frame 5") == text.count("world, frame 1") >= 4
    assert "missing video" in text or "unreadable video" in text


def test_items_of_a_report_show_their_clip(tmp_path: Path, source: Path) -> None:
    samples = open_samples(DataSettings(source=str(source), num_train=4), "train", 4)

    write_items(samples, tmp_path / "evaluation", 6.0)

    folders = sorted((tmp_path / "evaluation" / "items").iterdir())
    assert folders
    assert {path.name for path in folders[0].iterdir()} == {"item.json", "picture.png", "clip.gif"}


def test_frames_of_a_clip_gif_keep_their_shape(tmp_path: Path) -> None:
    wide = [np.full((360, 1280, 3), 40 * number, np.uint8) for number in range(5)]
    write_items([question("0", wide[-1:], "What?", "red", clips=(wide,))], tmp_path, 6.0)

    with Image.open(tmp_path / "items" / "00" / "clip.gif") as film:
        assert film.size == (1138, 320)
