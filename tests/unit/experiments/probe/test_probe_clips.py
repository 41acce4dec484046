"""Labelled pictures: a probe reads the meaning of a colour, no shuffled labels, and no picture is on both sides."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fixtures_public import RELATIONS, coloured, write_blink, write_vsr
from theworld.config import WorldSettings
from theworld.config.experiments import ProbeSettings
from theworld.experiments.probe.clips import LabelledClips, open_labelled_clips
from theworld.experiments.probe.probe import Probe, probe

NUM_FIT, NUM_TEST = 48, 40
TINY = WorldSettings(cosmos_model_name="tiny", siglip_model_name="tiny", image_size_px=64)
SMALL = {"blocks": (0, 2), "noise_levels": (0.105,), "world": TINY}


def of_vsr(folder: Path, images: Path, **rest) -> ProbeSettings:
    return ProbeSettings(labels="vsr", source=str(folder), image_dir=images, **(SMALL | rest))


def of_blink(folder: Path, letters: list[str]) -> ProbeSettings:
    return ProbeSettings(labels="blink", source=str(write_blink(folder, {"Relative_Depth": letters})), **SMALL)


def write_coloured(folder: Path, num_fit: int = NUM_FIT, num_test: int = NUM_TEST) -> tuple[Path, Path]:
    """True statements whose relation the colour of their picture tells; 4 of the train split about pictures of dev."""
    kinds = len(RELATIONS)
    train = {number: coloured(number % kinds, number) for number in range(num_fit)}
    dev = {number: coloured(number % kinds, number) for number in range(num_fit, num_fit + num_test)}
    again = dict(list(dev.items())[:4])
    write_vsr(folder, [1] * (num_fit + 4), "train", train | again)
    return write_vsr(folder, [1] * num_test, "dev", dev)


def vae_cell(cells: list[Probe]) -> Probe:
    (found,) = (cell for cell in cells if cell.tap == "vae")
    return found


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProbeSettings, LabelledClips]:
    settings = of_vsr(*write_coloured(tmp_path_factory.mktemp("vsr")))
    (clips,) = open_labelled_clips(settings)
    return settings, clips


def test_what_the_colour_says_is_read_and_shuffled_labels_are_not(statements):
    settings, clips = statements
    order = torch.randperm(len(clips.frames), generator=torch.Generator().manual_seed(0))
    shuffled = replace(clips, labels={"relation": clips.labels["relation"][:, order]})

    cells = probe(settings, clips)

    assert {(cell.tap, cell.block) for cell in cells} == {("siglip", None), ("vae", None), ("dit", 0), ("dit", 2)}
    assert {(cell.task, cell.quantity, cell.slot, cell.num_test) for cell in cells} == {("vsr", "relation", 0, 40)}
    assert vae_cell(cells).chance == 0.25
    assert vae_cell(cells).score > 0.8
    assert vae_cell(probe(settings, shuffled)).score < 0.5


def test_a_picture_that_is_measured_is_not_fitted_to(statements):
    _, clips = statements
    fit, measured = (
        {frames.numpy().tobytes() for frames in part} for part in clips.frames.tensor_split([clips.num_fit])
    )

    assert not fit & measured
    assert (len(fit), len(measured), clips.left_out) == (NUM_FIT, NUM_TEST, {"unreadable": 0, "shared": 4})


def test_only_true_statements_are_asked_for_their_relation(tmp_path: Path):
    write_vsr(tmp_path, [1, 1, 1, 0] * 6, "train", {number: coloured(number % 4, number) for number in range(24)})
    folder, images = write_vsr(
        tmp_path, [1] * 8, "dev", {number: coloured(number % 4, number) for number in range(24, 32)}
    )

    (clips,) = open_labelled_clips(of_vsr(folder, images))

    assert clips.classes == ("left of", "on", "touching")
    assert (clips.num_fit, len(clips.frames)) == (18, 24)


def test_pictures_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path):
    folder, images = write_coloured(tmp_path, 8, 8)
    (images / "train2017" / "000000000001.jpg").write_bytes(b"no picture")
    (images / "000000000010.jpg").unlink()

    (clips,) = open_labelled_clips(of_vsr(folder, images))

    assert clips.left_out["unreadable"] == 3  # number 10 is in both splits
    assert (clips.num_fit, len(clips.frames)) == (7, 14)


def test_without_any_picture_that_can_be_read_there_is_nothing_to_probe(tmp_path: Path):
    folder, images = write_coloured(tmp_path / "vsr", 8, 8)
    for path in images.rglob("*.jpg"):
        path.unlink()

    with pytest.raises(ValueError, match="0 training pictures and 0 test pictures, of 12 and 8; 20 are unreadable"):
        list(open_labelled_clips(of_vsr(folder, images)))


def test_the_half_an_item_of_blink_is_in_depends_on_its_id_alone(tmp_path: Path):
    few, more = ("(A)", "(B)") * 20, ("(A)", "(B)") * 40
    halves = []
    for number, letters in enumerate((few, more)):
        (clips,) = open_labelled_clips(of_blink(tmp_path / str(number), list(letters)))
        assert (clips.classes, clips.num_world_steps, clips.frames.shape[1]) == (("(A)", "(B)"), 0, 1)
        assert len(clips.frames) + sum(clips.left_out.values()) == len(letters)
        labelled = zip(clips.frames, clips.labels["depth"][0].tolist(), strict=True)
        rows = [(frames.numpy().tobytes(), label) for frames, label in labelled]
        halves.append((Counter(rows[: clips.num_fit]), Counter(rows[clips.num_fit :])))

    assert halves[0][0] <= halves[1][0]
    assert halves[0][1] <= halves[1][1]
    assert min(len(half) for pair in halves for half in pair) > 10
