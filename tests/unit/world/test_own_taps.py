"""Taps of one's own: named in settings once they are registered, and known again by checkpoints and stores."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from theworld import TheWorld, TrainingConfig
from theworld.config import WorldSettings, loader
from theworld.config.world import OWN_TAPS
from theworld.modeling import configuration
from theworld.modeling.loading import CheckpointError
from theworld.planning.batch_shape import BatchShape
from theworld.planning.world_cost import world_cost_of
from theworld.training.run import train
from theworld.world.custom import FeatureShape, OwnTap, register_tap
from theworld.world.factory import open_tap, tap_fingerprint

SIDE = {"image_size_px": 64, "cosmos_model_name": "tiny"}


class MeanTap(OwnTap):
    """The mean colour of each cell of 16 px, of the last frame of each slot; the last again for slots to come."""

    imagines = True
    version: ClassVar[int] = 1

    @classmethod
    def shape(cls, settings: WorldSettings) -> FeatureShape:
        return FeatureShape(3, 16)

    @classmethod
    def identity(cls, settings: WorldSettings) -> dict[str, Any]:
        return {"version": cls.version}

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        slots = torch.nn.functional.avg_pool2d(frames[:, ::4].flatten(0, 1).float(), 16).unflatten(0, (len(frames), -1))
        return torch.cat([slots, *[slots[:, -1:]] * num_world_steps], 1).transpose(1, 2)


def test_a_tap_is_refused_until_its_module_registers_it_and_then_read_by_its_name():
    with pytest.raises(ValueError, match=r"no tap 'mean'.*import its module first"):
        WorldSettings(tap="mean")
    register_tap("mean")(MeanTap)

    tap = open_tap(WorldSettings(tap="mean", **SIDE))
    features = tap.read(torch.full((2, 5, 3, 64, 64), 7, dtype=torch.uint8), 3, [0, 0])

    assert features.shape == (2, 3, 5, 4, 4)
    assert features.unique().tolist() == [7.0]


def test_a_slip_in_a_name_is_met_with_the_nearest():
    register_tap("mean")(MeanTap)

    with pytest.raises(ValueError, match=r"no tap 'maen'; did you mean mean\?"):
        WorldSettings(tap="maen")


def test_a_tap_that_cannot_look_ahead_serves_no_future():
    class Present(MeanTap):
        imagines = False

    register_tap("present")(Present)

    with pytest.raises(ValueError, match="needs a tap that looks ahead"):
        WorldSettings(tap="present").num_slots(1, 2)


def test_the_fingerprint_follows_identity_and_settings_and_not_where_anything_lies(monkeypatch):
    register_tap("mean")(MeanTap)
    first = tap_fingerprint(WorldSettings(tap="mean", **SIDE))

    assert tap_fingerprint(WorldSettings(tap="mean", image_size_px=64, cosmos_model_name="elsewhere")) == first
    assert tap_fingerprint(WorldSettings(tap="mean", **SIDE, seed=1)) != first
    monkeypatch.setattr(MeanTap, "version", 2)
    assert tap_fingerprint(WorldSettings(tap="mean", **SIDE)) != first


def test_a_checkpoint_names_its_tap_and_loads_only_with_the_same(tmp_path, monkeypatch):
    register_tap("mean")(MeanTap)
    TheWorld.from_pretrained("tiny", world_tap="mean", num_world_steps=2).save_pretrained(tmp_path)

    again = TheWorld.from_pretrained(tmp_path)
    assert (type(again.tap), again.config.world_channels, again.config.tokens_per_slot) == (MeanTap, 3, 16)
    assert again.generate(torch.zeros(1, 3, 64, 64), "What is there?", max_new_tokens=1) is not None
    assert again.tap.clips_read == 1

    monkeypatch.setattr(MeanTap, "version", 2)
    with pytest.raises(CheckpointError, match="trained on the world"):
        TheWorld.from_pretrained(tmp_path)
    del OWN_TAPS["mean"]
    configuration._checked_world.cache_clear()  # as in another program
    with pytest.raises(ValueError, match="no tap 'mean'"):
        TheWorld.from_pretrained(tmp_path, load_world=False)


def test_a_run_trains_on_stored_features_of_a_tap_of_ones_own(tmp_path):
    register_tap("mean")(MeanTap)
    flags = {
        "output-dir": tmp_path / "run",
        "store-dir": tmp_path / "store",
        "num-steps": 2,
        "batch-size": 2,
        "num-workers": 0,
        "log-to": "none",
        "optim.warmup-steps": 0,
        "data.num-train": 2,
        "data.tasks": "drop",
        "model.world.tap": "mean",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    shipped = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"

    done = train(loader.load(TrainingConfig, shipped, words))

    assert TheWorld.from_pretrained(done["model"]).config.world_tap == "mean"
    assert any((tmp_path / "store").iterdir())


def test_the_plan_says_that_it_does_not_know_the_network_of_such_a_tap():
    register_tap("mean")(MeanTap)
    model = TheWorld.from_pretrained("tiny", world_tap="mean", load_world=False)

    with pytest.raises(ValueError, match="'mean' is your own tap"):
        world_cost_of(model.config, BatchShape(1, 100, 1, 1, 1, 1, 0))


def test_the_tap_that_the_page_shows_can_be_fused():
    page = (Path(__file__).parents[3] / "docs" / "world-taps.md").read_text()
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(shown, {"torch": torch, "__name__": "shown"})

    model = TheWorld.from_pretrained("tiny", world_tap="brightness", num_world_steps=2)

    features = model.read_world(torch.full((1, 5, 3, 64, 64), 9, dtype=torch.uint8))
    assert features.shape == (1, 1, 4, 4, 4)
    assert features.unique().tolist() == [9.0]


def test_an_installed_package_registers_its_tap_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "package_of_taps.py").write_text(
        "from theworld.world.custom import OwnTap, register_tap\n@register_tap('packaged')\nclass Tap(OwnTap): ...\n"
    )
    about = tmp_path / "package_of_taps-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: package_of_taps\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[theworld.taps]\npackaged = package_of_taps\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert WorldSettings(tap="packaged").tap == "packaged"
    monkeypatch.delitem(sys.modules, "package_of_taps")


@pytest.mark.parametrize(
    ("name", "cls", "message"),
    [
        ("vae", MeanTap, "'vae' is a built-in tap"),
        ("taken", MeanTap, "'taken' is already the name of"),
    ],
)
def test_a_name_that_is_taken_is_refused(name, cls, message):
    register_tap("taken")(type("Other", (MeanTap,), {}))

    with pytest.raises(ValueError, match=re.escape(message)):
        register_tap(name)(cls)
