"""Probes at small size: every reading is looked into, and the tables say what was found."""

import json
from pathlib import Path
from typing import Any

import pytest

from theworld.config import WorldSettings
from theworld.config.probe import ProbeSettings
from theworld.report.probes import run_probes


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProbeSettings, dict[str, Any]]:
    names = {"cosmos_model_name": "tiny", "siglip_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    own = ProbeSettings(
        output_dir=tmp_path_factory.mktemp("probe"),
        tasks=("collide",),
        num_train=20,
        num_test=20,
        blocks=(0, 2),
        noise_levels=(0.803,),
        batch_size=20,
        world=WorldSettings(**names, num_inference_steps=4),
    )
    return own, run_probes(own)


def test_every_tap_block_and_slot_has_its_cells(probed):
    own, _ = probed
    cells = json.loads((own.output_dir / "probe.json").read_text())

    readings = {(cell["tap"], cell["block"]) for cell in cells}
    assert readings == {
        *((tap, None) for tap in ("siglip", "vae", "rollout", "true-future")),
        *((f"dit-{future}", block) for future in ("repeat", "denoised") for block in (0, 2)),
    }
    assert {cell["slot"] for cell in cells} == set(range(5))
    assert {cell["quantity"] for cell in cells} >= {"position", "velocity", "outcome"}
    assert all(cell["score"] <= 1 for cell in cells)


def test_the_best_cell_never_is_one_of_the_true_future(probed):
    assert probed[1]["best"]["collide"]["tap"] != "true-future"


def test_tables_and_heat_maps_are_written(probed):
    own, found = probed
    text = (own.output_dir / "probe.md").read_text()

    assert "## The last picture, watched" in text
    assert "| true-future |" in text
    assert found["watched"]["collide"]["n"] == 20
    assert Path(found["heat_maps"]).stat().st_size > 0
