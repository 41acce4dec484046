"""A run shows its first sample, and stops before the weights follow a loss that explodes."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from theworld.config import TrainingConfig
from theworld.modeling import TheWorld
from theworld.training.callbacks import ExplodingLossError, LossWatch
from theworld.training.metrics import read_metrics
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]


def watched(folder: Path, losses: list[float], **settings: float) -> LossWatch:
    watch = LossWatch(folder, **{"max_ratio": 5.0, **settings})  # pyright: ignore[reportArgumentType]
    for step, loss in enumerate(losses, start=1):
        watch.see(step, loss, [f"sample-{step}"], ends_step=True)
    return watch


def test_a_loss_far_above_the_median_stops_the_run_and_names_the_samples_of_the_whole_step(tmp_path: Path) -> None:
    watch = watched(tmp_path, [2.0] * 20)
    watch.see(21, 5.0, ["a", "b"], ends_step=False)

    with pytest.raises(ExplodingLossError, match="loss 11 at step 21 is more than 5 times the median 2"):
        watch.see(21, 6.0, ["c"], ends_step=True)

    report = json.loads((tmp_path / "exploding_loss.json").read_text())
    assert report == {"step": 21, "loss": 11.0, "median": 2.0, "sample_ids": ["a", "b", "c"]}


def test_a_loss_near_zero_may_rise_by_a_large_factor_and_still_be_small(tmp_path: Path) -> None:
    watched(tmp_path, [0.01] * 20 + [4.9])

    with pytest.raises(ExplodingLossError):
        watched(tmp_path, [0.01] * 20 + [5.1])


def test_nothing_explodes_in_the_warm_up_among_the_first_steps_or_without_a_ratio(tmp_path: Path) -> None:
    watched(tmp_path, [2.0] * 20 + [100.0], warmup_steps=12)
    watched(tmp_path, [2.0] * 9 + [100.0])
    watched(tmp_path, [2.0] * 20 + [100.0], max_ratio=None)  # pyright: ignore[reportArgumentType]


def test_a_run_that_explodes_does_so_again_where_it_is_continued(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(num_steps=12, save_steps=11, max_loss_ratio=2.0)
    forward, calls = TheWorld.forward, []

    def exploding(self: TheWorld, *args: object, **kwargs: object) -> object:
        output = forward(self, *args, **kwargs)
        calls.append(None)
        output.loss = output.loss * (100.0 if len(calls) == 12 else 1.0)
        return output

    monkeypatch.setattr(TheWorld, "forward", exploding)
    with pytest.raises(ExplodingLossError, match="at step 12"):
        train(config)
    calls[:] = [None] * 11

    with pytest.raises(ExplodingLossError, match="at step 12"):
        train(make_config(num_steps=12, save_steps=11, max_loss_ratio=2.0, resume=True))


def test_rows_tell_operations_waiting_and_the_time_that_is_left(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(num_steps=2, peak_tflops=1.0)
    with caplog.at_level(logging.INFO, logger="theworld"):
        train(config)

    first, last = read_metrics(config.output_dir / "metrics.jsonl")
    assert first["eta_seconds"] > last["eta_seconds"] == 0
    assert first["mfu"] == first["tflops_per_second"] > 0
    assert 0 < first["frozen_share"] < 1
    assert 0 <= first["data_wait_share"] < 1
    shown = [record.getMessage() for record in caplog.records if "the first sample" in record.getMessage()]
    assert len(shown) == 1
    assert "<start_of_turn>model\n⟦" in shown[0]
    assert "<end_of_turn>⟧" in shown[0]


def test_curves_show_what_the_rows_tell(make_config: MakeConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(num_steps=2, log_to="tensorboard", peak_tflops=1.0)
    train(config)

    curves = EventAccumulator(str(config.output_dir / "tensorboard")).Reload()
    rows = read_metrics(config.output_dir / "metrics.jsonl")
    for name in ("loss", "mfu", "data_wait_share", "tokens_per_second", "peak_memory_gb"):
        seen = [point.value for point in curves.Scalars(f"train/{name}")]
        torch.testing.assert_close(seen, [row[name] for row in rows])


def test_weights_and_biases_offline_leaves_its_files_in_the_runs_folder(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # a session that began earlier in this process keeps its settings
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HF_TOKEN", "hf_thissecretmustnotshow")
    monkeypatch.setenv("WANDB_NAME", "a name of my own")
    config = make_config(num_steps=2, log_to="wandb", peak_tflops=1.0)

    train(config)

    written = b"".join(path.read_bytes() for path in (config.output_dir / "wandb").rglob("*") if path.is_file())
    assert b"train/mfu" in written
    assert b"a name of my own" in written
    assert b"thissecretmustnotshow" not in written
