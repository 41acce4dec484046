"""Imitation: world tokens learn to resemble Gemma's own image tokens of what each slot shows."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_model import features
from theworld import TheWorld
from theworld.config import ModelSettings, OptimSettings, TrainingConfig, WorldSettings
from theworld.config.data import DataSettings
from theworld.datasets import Sample, Turn
from theworld.datasets.collator import Collator
from theworld.modeling.alignment import unexplained
from theworld.training.metrics import read_metrics
from theworld.training.run import train


def block_of(tokens: torch.Tensor) -> torch.Tensor:
    """One slot a clip, between two markers."""
    markers = torch.full_like(tokens[:, :1], 7.0)
    return torch.cat([markers, tokens, markers], dim=1)


def test_equal_tokens_leave_nothing_unexplained_and_the_mean_leaves_all():
    seen = torch.randn(6, 16, 8)
    mean = seen.mean((0, 1)).expand_as(seen)
    assert unexplained(block_of(seen), seen) == 0
    assert unexplained(block_of(mean), seen).item() == pytest.approx(1.0)


def test_slots_are_compared_in_order_oldest_first():
    seen = torch.randn(6, 4, 8)
    two_clips = seen.view(2, 3 * 4, 8)
    assert unexplained(block_of(two_clips), seen) == 0
    assert unexplained(block_of(two_clips.flip(0)), seen) > 1


def test_image_tokens_are_brought_to_the_grid_of_the_world():
    seen = torch.randn(2, 1, 8).expand(2, 16, 8).contiguous()  # the same in each cell
    assert unexplained(block_of(seen[:, :4]), seen).item() == pytest.approx(0.0, abs=1e-6)


def test_a_slot_is_shown_by_its_last_frame(processor):
    def grey(value: int) -> Image.Image:
        return Image.new("RGB", (64, 64), (value, value, value))

    frames = [np.asarray(grey(10 * number)) for number in range(13)]
    turns = (Turn("user", "What?"), Turn("assistant", "grey"))
    # The model looks no step ahead: what follows after the nine given frames is not shown.
    sample = Sample("a", turns, (grey(0),), clips=(frames[:9],), future=(frames[9:],), num_world_steps=0)
    batch = Collator(processor, supervise=True, show_slots=True)([sample])
    slots = batch["slot_pixel_values"]
    assert slots.shape == (1, 3, 3, 64, 64)
    shown = (slots[0, :, 0, 0, 0] + 1) * 127.5
    assert shown.round().tolist() == [0, 40, 80]


def test_without_a_true_future_there_is_nothing_to_imitate(processor):
    sample = Sample("a", (Turn("user", "What?"), Turn("assistant", "grey")), (Image.new("RGB", (64, 64)),))
    with pytest.raises(ValueError, match="imitation need"):
        Collator(processor, supervise=True, show_slots=True)([sample])


def test_the_loss_moves_the_world_and_nothing_else(model: TheWorld):
    model.train()
    pictures = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    output = model(world_features=features(2), num_world_steps=0, slot_pixel_values=pictures)
    output.loss.backward()
    moved = {name.split(".")[0] for name, one in model.named_parameters() if one.grad is not None and one.grad.any()}
    assert moved == {"world"}
    assert output.logits is None
    with pytest.raises(ValueError, match="no world tokens to compare"):
        model(slot_pixel_values=pictures)


def test_a_run_of_imitation_explains_more_with_each_step_and_its_model_goes_on_to_answers(tmp_path: Path):
    world = WorldSettings(tap="true-future", cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
    model = ModelSettings(gemma_model_name="tiny", dtype="float32", num_world_steps=4, world_grid=4, world=world)
    config = TrainingConfig(
        output_dir=tmp_path / "run",
        objective="imitation",
        num_steps=20,
        batch_size=2,
        precision="fp32",
        logging_steps=5,
        log_to="none",
        num_workers=0,
        store_dir=tmp_path / "features",
        model=model,
        data=DataSettings(questions="alignment", image_size_px=64, num_train=10, drawn_dir=tmp_path / "drawn"),
        optim=OptimSettings(learning_rate=1e-2),
    )
    train(config)
    losses = [row["loss"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.7 * losses[0]
    assert TheWorld.from_pretrained(tmp_path / "run" / "model").config.trained_parts == ["world"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enable_world": False, "freeze_gemma_language": False}, "model.enable_world=False, model.freeze_gemma_"),
        ({"world_fusion": "residual"}, "model.world_fusion='residual' does not go with it"),
        ({"freeze_gemma_language": False}, "model.freeze_gemma_language=False does not go with it"),
    ],
)
def test_imitation_is_refused_where_it_has_no_meaning(tmp_path: Path, changes: dict, reason: str):
    with pytest.raises(ValueError, match=re.escape(reason)):
        TrainingConfig(output_dir=tmp_path, objective="imitation", model=ModelSettings(**changes))
