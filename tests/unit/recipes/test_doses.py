"""Doses of a world: found in builds with one autoencoder, measured with one projector, and drawn."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from recipes import dose, world
from recipes.build import run
from recipes.dose import draw_doses, find_doses, monotone
from recipes.settings import DoseRecipe, FusionRecipe, TinySettings, WorldRecipe
from theworld import tiny


def settings_of(folder: Path, **changes: Any) -> TinySettings:
    fusion = FusionRecipe(num_clips=5, imitate_steps=1, align_steps=1, batch_size=1, warmup_steps=0, num_held_out=5)
    recipe = WorldRecipe(num_held_out=2)
    given = {"action": "dose", "output_dir": folder, "num_threads": 1, "fusion": fusion, "world": recipe}
    return TinySettings(**{**given, "dose": DoseRecipe(num_scenes=1), **changes})


def as_build(folder: Path, clip_share: float | None, *doses: str) -> Path:
    """Write what stage world leaves beside a world."""
    (folder / "world" / "1").mkdir(parents=True)
    recipe = {} if clip_share is None else {"clip_share": clip_share}
    (folder / "world" / "1" / "recipe.json").write_text(json.dumps(recipe))
    for name in doses:
        shutil.copytree(folder / "cosmos" / "transformer", folder / "world" / "doses" / name / "transformer")
    return folder


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_build(tiny.build(tmp_path_factory.mktemp("build")), None, "1-8", "1-2")


@pytest.fixture(scope="module")
def quarter(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quarter")
    shutil.copytree(build / "cosmos", folder / "cosmos")
    return as_build(folder, 0.25)


def row(steps: float, clips: float, loss: float, imagined: float, accuracy: float) -> dict[str, Any]:
    answers = {
        "world": {"value": accuracy, "wilson": {"low": accuracy - 0.04, "high": accuracy + 0.04}},
        "no-world-tokens": {"value": 0.31},
    }
    values = {"velocity_loss": loss, "imagined": imagined, "accuracy": accuracy}
    return {"name": f"{steps} {clips}", "steps": steps, "clips": clips, "answers": answers, **values}


ROWS = [
    row(0.125, 1.0, 0.30, 0.45, 0.44),
    row(0.25, 1.0, 0.22, 0.56, 0.43),
    row(1.0, 0.25, 0.14, 0.69, 0.66),
    row(1.0, 1.0, 0.10, 0.79, 0.75),
]


def test_doses_are_found_in_the_build_and_in_builds_on_fewer_clips(build, quarter):
    doses = find_doses(settings_of(build, dose=DoseRecipe(also=(quarter,))))
    assert [(one.name, one.steps, one.clips) for one in doses] == [
        ("steps-1-8", 0.125, 1.0),
        ("clips-1-4", 1.0, 0.25),
        ("steps-1-2", 0.5, 1.0),
        ("full", 1.0, 1.0),
    ]


def test_a_world_of_another_autoencoder_and_one_world_alone_are_refused(build, tmp_path):
    other = as_build(tiny.build(tmp_path / "other", seed=1), 0.5)
    with pytest.raises(ValueError, match=r"other belongs to another run \(autoencoder: .*copy cosmos/vae"):
        find_doses(settings_of(build, dose=DoseRecipe(also=(other,))))
    with pytest.raises(ValueError, match="one world alone; save others with"):
        find_doses(settings_of(other))
    with pytest.raises(ValueError, match="cosmos/transformer: no such folder; build the stage world first"):
        find_doses(settings_of(tmp_path / "none"))
    with pytest.raises(ValueError, match="expected all different; leave a build out of"):
        find_doses(settings_of(build, dose=DoseRecipe(also=(build,))))


def test_a_measure_is_monotone_if_no_dose_is_worse_than_the_one_before():
    assert monotone(ROWS) == {
        "steps": {"velocity_loss": True, "imagined": True, "accuracy": False},
        "clips": {"velocity_loss": True, "imagined": True, "accuracy": True},
    }


def test_the_figure_has_a_panel_for_each_measure(tmp_path):
    draw_doses(ROWS, tmp_path / "dose.png")
    width, height = Image.open(tmp_path / "dose.png").size
    assert (width, height) == (1365, 416)


def test_every_dose_answers_through_the_projector_of_the_build(build, monkeypatch):
    """The real chain, on random weights: equal worlds give equal rows."""
    monkeypatch.setattr(dose, "find_doses", lambda settings: find_doses(settings)[1:])  # two, of three that cost alike
    monkeypatch.setattr(dose, "TASKS", ("drop",))
    monkeypatch.setattr(world, "CLIPS_PER_PIECE", 2)
    found = run(settings_of(build))
    names = [one["name"] for one in found["doses"]]
    assert names == ["steps-1-2", "full"]
    first, other = (
        {name: value for name, value in one.items() if name not in ("name", "steps")} for one in found["doses"]
    )
    assert other == first
    assert first["velocity_loss"] == pytest.approx(sum(first["losses"].values()) / 6)
    assert 0 <= first["imagined"] <= 1
    assert set(first["answers"]) == {"world", "no-world-tokens"}
    assert len(list((build / "fusion").glob("model"))) == 1  # one alignment
    assert json.loads((build / "dose" / "dose.json").read_text())["monotone"] == found["monotone"]
    assert Path(found["figure"]).stat().st_size > 0
