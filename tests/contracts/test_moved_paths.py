"""Import paths that pages and examples of earlier versions showed still work, and say where their names are today."""

import importlib
import subprocess
import sys

import pytest

from theworld.moved import MOVED

# As the pages and examples of 0.1.0 wrote them.
SHOWN = [
    "from theworld import HFDatasetWrapper, TheWorld, TheWorldDataset, TheWorldProcessor, settings",
    "from theworld.config import DataSettings, EvaluationConfig, ModelSettings, OptimSettings, TrainingConfig",
    "from theworld.config.arms import ArmsSettings",
    "from theworld.constants import BOS_TOKEN_ID, WORLD_SOFT_TOKEN",
    "from theworld.datasets import DataCompDataset, SpatialRGPTDataset",
    "from theworld.datasets.collator import Collator",
    "from theworld.datasets.sample import Sample",
    "from theworld.evaluation.run import evaluate",
    "from theworld.files import fingerprint_weights",
    "from theworld.foresight import FRAME_RATE_HZ, ForesightDataset, clip, preview, to_hf_dataset, world_clip",
    "from theworld.foresight.baselines import baselines",
    "from theworld.foresight.dataset import clip",
    "from theworld.foresight.preview import preview",
    "from theworld.modeling.imagining import imagine",
    "from theworld.modeling.projector import WorldBlock",
    "from theworld.modeling.seen import Seen",
    "from theworld.report.animation import write_gif",
    "from theworld.report.arms import compare_arms",
    "from theworld.report.page import write_report",
    "from theworld.report.results import cells_of, contrasts_of, read_results",
    "from theworld.report.sheet import AskedScene, draw_sheet",
    "from theworld.training.progress import read_metrics",
    "from theworld.training.run import METRICS_NAME, train",
    "from theworld.world.guardrail import show",
    "from theworld.world.loading import feature_shape",
    "from theworld.world.own import FeatureShape, OwnTap, register_tap",
    "from theworld.world.store import FeatureStore",
    "from theworld.world.tap import WorldTap",
]


@pytest.mark.parametrize("line", SHOWN)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_import_that_pages_showed_still_works(line: str) -> None:
    exec(line, {})


@pytest.mark.parametrize("old", MOVED)
def test_a_former_module_says_where_its_names_are_today(old: str) -> None:
    sys.modules.pop(old, None)

    with pytest.warns(FutureWarning, match=f"{old} is now {MOVED[old]}"):
        importlib.import_module(old)


def test_a_name_that_a_former_module_never_had_is_absent() -> None:
    code = "import theworld.settings; theworld.settings.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "has no attribute 'nothing'" in done.stderr
    assert "No module named 'theworld.report.nothing'" in (
        subprocess.run([sys.executable, "-c", "import theworld.report.nothing"], capture_output=True, text=True).stderr
    )
