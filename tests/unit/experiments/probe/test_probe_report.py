"""Probes at small size: every reading is looked into, and the tables say what was found."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import write_blink
from theworld.config import WorldSettings
from theworld.config.experiments import ProbeSettings
from theworld.experiments.probe.probe import Probe
from theworld.experiments.probe.report import run_probes, to_markdown


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProbeSettings, dict[str, Any]]:
    names = {"cosmos_model_name": "tiny", "siglip_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    settings = ProbeSettings(
        output_dir=tmp_path_factory.mktemp("probe"),
        tasks=("collide",),
        num_train=20,
        num_test=20,
        blocks=(0, 2),
        noise_levels=(0.803,),
        batch_size=20,
        world=WorldSettings(**names, num_inference_steps=4),
    )
    return settings, run_probes(settings)


def test_every_tap_block_and_slot_has_its_cells(probed):
    settings, _ = probed
    cells = json.loads((settings.output_dir / "probe.json").read_text())

    readings = {(cell["tap"], cell["block"]) for cell in cells}
    assert readings == {
        *((tap, None) for tap in ("siglip", "vae", "rollout", "true-future")),
        *((f"dit-{future}", block) for future in ("repeat", "denoised", "true") for block in (0, 2)),
    }
    assert {cell["slot"] for cell in cells} == set(range(5))
    assert {cell["quantity"] for cell in cells} >= {"position", "velocity", "outcome"}
    assert all(cell["score"] <= 1 for cell in cells)


def test_the_best_cell_never_is_one_of_the_true_future(probed):
    assert probed[1]["best"]["collide"]["tap"] not in ("true-future", "dit-true")


def test_tables_and_heat_maps_are_written(probed):
    settings, found = probed
    text = (settings.output_dir / "probe.md").read_text()

    assert "## Outcome in the last picture" in text
    assert "| true-future |" in text
    assert found["watched"]["collide"]["n"] == 20
    assert Path(found["heat_maps"]).stat().st_size > 0


def test_a_table_of_pictures_gives_the_majority_and_an_interval_for_all_cells_it_is_the_best_of():
    cells = [
        Probe("blink", "vae", None, None, 0, "depth", 0.5, 0.6, 60),
        *(Probe("blink", "dit", block, 0.1, 0, "depth", 0.7, 0.6, 60) for block in range(5)),
    ]

    rows = to_markdown(cells).splitlines()

    assert rows[2:4] == ["| tap | depth |", "|---|---|"]
    assert rows[4] == "| vae | 50.0% [37.7, 62.3] of 60 (majority 60.0%) |"
    assert rows[5] == "| dit | 70.0% [53.4, 82.6] of 60 (majority 60.0%; block 0, t 0.1) |"


def test_the_tables_of_public_labels_say_how_many_pictures_are_used(tmp_path: Path):
    letters = ["(A)", "(B)"] * 20
    settings = ProbeSettings(
        labels="blink",
        source=str(write_blink(tmp_path, {"Relative_Depth": letters})),
        output_dir=tmp_path / "probe",
        blocks=(0,),
        noise_levels=(0.105,),
        world=WorldSettings(cosmos_model_name="tiny", siglip_model_name="tiny", image_size_px=64),
    )

    found = run_probes(settings)

    text = (tmp_path / "probe" / "probe.md").read_text()
    used = found["pictures"]
    assert "watched" not in found
    assert used["num_fit"] + used["num_test"] + used["shared"] == 40
    assert text.startswith(f"Classes: (A), (B). {used['num_fit']} training pictures, {used['num_test']} test")
    assert "| dit |" in text
    assert Path(found["heat_maps"]).stat().st_size > 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "somewhere"}, "source is for labels 'vsr', 'blink' or 'video', not 'foresight'"),
        (
            {"labels": "vsr", "image_dir": Path("coco"), "tasks": ("drop",)},
            "tasks is for labels 'foresight', not 'vsr'",
        ),
        ({"labels": "vsr"}, "image_dir: missing; give image_dir"),
        (
            {"labels": "blink", "image_dir": Path("coco"), "subset": "random"},
            "subset is for labels 'vsr'; image_dir is",
        ),
        ({"labels": "coco"}, "'foresight', 'vsr', 'blink' or 'video'"),
    ],
)
def test_settings_that_play_no_part_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        ProbeSettings(**given)
