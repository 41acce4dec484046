"""A row names pictures in their folder alone: no path in it leads out, and no address in it is opened."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from fixtures_public import (
    open_spatial_row,
    picture,
    write_blink,
    write_llava,
    write_open_spatial,
    write_spatial_json,
    write_vsr,
)
from theworld.config import DataSettings
from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.images import path_in, to_image
from theworld.datasets.public.datacomp import DataCompDataset
from theworld.datasets.public.llava import LlavaDataset
from theworld.datasets.sample import Sample


def llava(folder: Path, name: str) -> Any:
    path, images = write_llava(folder)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**rows[0], "image": name}]))
    return "llava", path, images


def several(folder: Path, name: str) -> Any:
    path, images = write_llava(folder)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**rows[3], "image": ["GCC_train_002582585.jpg", name]}]))
    return "llava", path, images


def open_spatial(folder: Path, name: str) -> Any:
    path, images = write_open_spatial(folder, [open_spatial_row()])
    path.write_text(json.dumps([{**open_spatial_row(), "filename": name.removesuffix(".jpg")}]))
    return "open-spatial", path, images


def vsr(field: str) -> Callable[[Path, str], Any]:
    def write(folder: Path, name: str) -> Any:
        source, images = write_vsr(folder, [1])
        row = {**json.loads((source / "dev.jsonl").read_text()), field: name}
        (source / "dev.jsonl").write_text(json.dumps(row))
        return "vsr", source, images

    return write


def spatial(field: str) -> Callable[[Path, str], Any]:
    def write(folder: Path, name: str) -> Any:
        path, images = write_spatial_json(folder)
        value = {"file_path": name} if field == "image_info" else name
        path.write_text(json.dumps([{**json.loads(path.read_text())[0], field: value}]))
        return "spatial-rgpt", path, images

    return write


def blink(folder: Path, name: str) -> Any:
    row = pq.read_table(write_blink(folder / "parquet", {"Counting": ["(A)"]}) / "Counting").to_pylist()[0]
    (folder / "images/Counting").mkdir(parents=True)
    (folder / "images/Counting/val.jsonl").write_text(json.dumps({**row, "image_1": name}) + "\n")
    return "blink", folder / "images", None


def hf(folder: Path, name: str) -> Any:
    (folder / "images").mkdir(parents=True)
    row = {"image": name, "question": "What?", "answer": "A cup."}
    datasets.Dataset.from_list([row]).to_parquet(folder / "images/validation-0.parquet")
    return "hf", folder / "images", None


READERS = {
    "llava": llava,
    "llava, one of several": several,
    "open-spatial": open_spatial,
    "vsr, image": vsr("image"),
    "vsr, image_link": vsr("image_link"),
    "spatial-rgpt, file_path": spatial("image_info"),
    "spatial-rgpt, image": spatial("image"),
    "blink": blink,
    "hf": hf,
}


@pytest.fixture(params=READERS.values(), ids=READERS)
def outcome(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Sample | Exception]:
    """The sample of a row that names a picture, or why it has none; `secret.jpg` lies beside the folder of pictures."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    picture(7, 32).save(tmp_path / "secret.jpg")
    (tmp_path / "set").mkdir()

    def read(name: str) -> Sample | Exception:
        dataset, source, image_dir = request.param(tmp_path / "set", name)
        places = {} if image_dir is None else {"image_dir": image_dir}
        tasks = {"subsets": ("Counting",)} if dataset == "blink" else {}
        if dataset in ("llava", "open-spatial"):
            places["index_dir"] = tmp_path / "index"
        try:
            if dataset == "llava":
                sample: Any = LlavaDataset(source, **places)[0]
            elif dataset == "open-spatial":
                sample = open_samples(DataSettings(dataset=dataset, source=str(source), **places), "train", None)[0]
            else:
                settings = DataSettings(dataset=dataset, source=str(source), **places, **tasks)
                sample = open_samples(settings, "validation", None)[0]
            shown = [to_image(image) for image in sample.images]
        except (RecordError, ImageError) as error:
            return error
        return replace(sample, images=tuple(shown))

    return read


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "a/../../secret.jpg", "./.././secret.jpg", "../../secret.jpg", "..//secret.jpg"]
)
def test_a_path_that_climbs_out_of_the_folder_is_refused(outcome: Callable[[str], Any], name: str) -> None:
    error = outcome(name)

    if shows_no_secret(error):
        assert "the folder of the pictures" in str(error)
        assert "(malformed)" in str(error)


def test_an_absolute_path_out_of_the_folder_is_refused(outcome: Callable[[str], Any], tmp_path: Path) -> None:
    shows_no_secret(outcome(str(tmp_path / "secret.jpg")))


def shows_no_secret(outcome: Sample | Exception) -> bool:
    """Check that a row shows nothing from outside, and return True if it is refused.

    Of a link of VSR the last two parts count; where they name no file, the row's `image` does.
    """
    if isinstance(outcome, Sample):
        secret = picture(7).getpixel((0, 0))
        assert all(to_image(image).getpixel((0, 0)) != secret for image in outcome.images)
        return False
    assert "\n" not in str(outcome)
    return True


def test_an_address_is_not_opened(outcome: Callable[[str], Any]) -> None:
    error = outcome("https://example.com/x/secret.jpg")

    if shows_no_secret(error):
        assert "https://example.com/x/secret.jpg: addresses are not opened; download it" in str(error)


def test_a_column_of_paths_in_the_shards_of_datacomp_is_malformed(tmp_path: Path) -> None:
    picture(7).save(tmp_path / "secret.jpg")
    rows = [{"jpg": str(tmp_path / "secret.jpg"), "txt": "a cup", "key": "0"}]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set/0.parquet")
    samples = DataCompDataset(tmp_path / "set")

    assert list(samples) == []
    assert samples.left_out == {"malformed": 1}


@pytest.mark.parametrize("link", ["folder", "file"])
def test_symbolic_links_in_the_folder_are_followed(tmp_path: Path, link: str) -> None:
    elsewhere, images = tmp_path / "disk", tmp_path / "images"
    elsewhere.mkdir()
    images.mkdir()
    picture(1).save(elsewhere / "a.jpg")
    (images / "coco").symlink_to(elsewhere) if link == "folder" else (images / "a.jpg").symlink_to(elsewhere / "a.jpg")
    name = "coco/a.jpg" if link == "folder" else "a.jpg"

    assert to_image(path_in(images, name, "row")).size == (32, 32)
    with pytest.raises(RecordError, match="leaves"):
        path_in(images, "coco/../../disk/a.jpg", "row")


PARTS = st.sampled_from(["..", ".", "", "a", "b.jpg", "...", "..a", "~", "a..", "é", " ", "-", "\\..", "%2e%2e"])
SHAPES = st.builds(
    lambda start, parts: start + "/".join(parts), st.sampled_from(["", "/", "//", "./"]), st.lists(PARTS)
)


@limits(deadline=None, max_examples=500)
@given(name=SHAPES)
@pytest.mark.parametrize("folder", [Path("images"), Path("/data/images"), Path("/"), Path(), Path("../images")])
def test_no_shape_of_a_path_leads_out_of_the_folder(folder: Path, name: str) -> None:
    inside = os.path.normpath(folder.absolute())
    if not Path(os.path.normpath(folder.absolute() / name)).is_relative_to(inside):
        with pytest.raises(RecordError, match="leaves"):
            path_in(folder, name, "row")
    elif "://" not in name and not name.startswith("data:"):
        path = path_in(folder, name, "row")
        assert path.is_relative_to(folder)
        assert ".." not in path.relative_to(folder).parts


@limits(deadline=None)
@given(parts=st.lists(st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True), min_size=1, max_size=4))
def test_plain_paths_and_those_that_come_back_stay_as_they_are(parts: list[str]) -> None:
    folder, name = Path("/data/images"), "/".join(parts)

    assert path_in(folder, name, "row") == folder / name
    assert path_in(folder, f"x/../{name}", "row") == folder / name
    assert path_in(folder, f"/data/images/{name}", "row") == folder / name
