"""Any data set of the Hugging Face hub, read by the names of its columns."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from theworld.datasets.columns import media_columns, undecoded
from theworld.datasets.held_out import BY_PICTURE, HeldOut, id_hashes, places_by_id, places_by_picture, warn_of_share
from theworld.datasets.own import is_own
from theworld.datasets.records import id_of
from theworld.datasets.row_videos import announce_rule, nouns
from theworld.datasets.wrappers import HFDatasetWrapper
from theworld.hub import looks_local, refuse_revision

SPLIT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train",),
    "validation": ("validation", "val", "dev"),
    "test": ("test",),
}
"""Names of our splits in data sets."""


def open_hf(
    source: str,
    split: Literal["train", "validation", "test"],
    *,
    config_name: str | None = None,
    revision: str | None = None,
    size: int | None = None,
    held_out: HeldOut = BY_PICTURE,
    **columns: Any,
) -> HFDatasetWrapper:
    """Open a split of a data set as samples.

    Without a validation split, some training samples are held out for it: by the picture or video; or by the hash of
    their id, or position if there is no id column.
    Paths of pictures and videos in the rows start from the folder `source`, for a data set of the hub from the
    current folder, and may not leave it.

    Args:
        source: hub id or folder, as `datasets.load_dataset` takes it.
        split: train, validation or test.
        config_name: one of several configurations.
        revision: commit of the hub repository.
        size: number of samples, from the first; None: all.
        held_out: rule for a data set without a validation split.
        columns: arguments of HFDatasetWrapper.

    Raises:
        ValueError: for a data set that cannot be loaded, or that lacks the split or a column.
    """
    table = load_splits(source, config_name, revision)
    splits = {ours: next((name for name in names if name in table), None) for ours, names in SPLIT_NAMES.items()}
    divides = splits["validation"] is None and split != "test"
    if splits["validation"] is not None and split != "test":
        warn_of_share(held_out.share, source)
    name = splits["train"] if divides else splits[split]
    if name is None:
        raise ValueError(f"{source}: no split for {split!r}: it has {', '.join(table)}")
    rows = table[name]
    places = np.arange(len(rows))
    if divides:
        places = _places(rows, "train" if split == "train" else "validation", source, held_out, columns)
    places = places[:size]
    image_dir = Path(source) if Path(source).is_dir() else Path()
    samples = HFDatasetWrapper(rows.select(places), image_dir=image_dir, **columns, positions=places)
    if samples.video_key is not None:
        announce_rule(source, samples.rule)
    samples.files = tuple(Path(entry["filename"]) for entry in table[name].cache_files)
    return samples


def _places(
    rows: Any, part: Literal["train", "validation"], source: str, rule: HeldOut, columns: dict[str, Any]
) -> np.ndarray:
    """The positions of the rows of a part."""
    id_key, media_keys = columns.get("id_key"), media_columns(rows, {"image_key": "image", **columns})
    for key in (id_key, *media_keys.values()):
        if key is not None and key not in rows.column_names:
            raise ValueError(
                f"{source}: no column {key!r}: its columns are {sorted(rows.column_names)}; name those to read, such as"
                " --data.image-column or --data.video-column"
            )
    ids = range(len(rows)) if id_key is None else rows[id_key]
    names: Iterable[str] = (id_of(id, place) for place, id in enumerate(ids))
    if rule.by == "id":
        return places_by_id(id_hashes(names), part)
    for key in media_keys.values():
        stored = _picture_names(undecoded(rows, key), key, Path(source))
        names = [picture or name for picture, name in zip(stored, names, strict=True)]
    noun = nouns("image_key" in media_keys, "video_key" in media_keys)
    return places_by_picture(id_hashes(names), part, rule.share, source, noun)


_NUM_HASHED: Final = 4096
"""Bytes in the middle of a file that tell it from others; equal ones only share a side of the split."""


def _picture_names(rows: Any, key: str, folder: Path) -> Iterator[str]:
    """A name for the first picture or video of each row, equal for equal ones, without reading whole files."""
    for batch in rows.select_columns([key]).with_format("arrow").iter(batch_size=1_000):
        for value in batch[key]:
            yield _picture_name(value, folder)


def _picture_name(value: Any, folder: Path) -> str:
    """A name for a stored picture or video, or for the first of a list; empty for none."""
    while isinstance(value, pa.ListScalar | pa.LargeListScalar):
        value = value[0] if value.is_valid and len(value) else pa.scalar(None)
    if not value.is_valid:
        return ""
    if not isinstance(value, pa.StructScalar):
        return str(value.as_py())
    content, path = (value.get(name, pa.scalar(None)) for name in ("bytes", "path"))
    if content.is_valid:
        file = memoryview(content.as_buffer())
        start = max(len(file) - _NUM_HASHED, 0) // 2
        return f"{len(file)} {bytes(file[start : start + _NUM_HASHED]).hex()}"
    name, root = str(path.as_py() or ""), f"{folder.absolute()}/"
    return name.removeprefix(root)


def load_splits(source: str, config_name: str | None, revision: str | None) -> Any:
    """Every split of a data set, by its name."""
    _check_place(source)
    if Path(source).is_dir():
        refuse_revision(source, revision)
    import datasets
    from datasets.exceptions import DatasetsError

    shows_bars = not datasets.utils.are_progress_bars_disabled()
    try:
        if Path(source).is_dir():
            datasets.disable_progress_bars()  # they tell of a download, where files are read
        return datasets.load_dataset(source, config_name, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        raise ValueError(
            f"{source!r} could not be loaded as a data set: {error}. Check the id, config_name and the network; for a"
            " gated repository accept its licence there and log in (`hf auth login`)"
        ) from error
    finally:
        if shows_bars:
            datasets.enable_progress_bars()


def _check_place(source: str) -> None:
    """Refuse a file, and a path that is not there: only the id of a data set is looked for on the hub.

    Raises:
        ValueError: for these.
    """
    path = Path(source).expanduser()
    if path.is_file():
        remedy = "read it with --data.dataset own" if is_own(path) else "name the folder that holds it"
        raise ValueError(f"{source}: a file; dataset 'hf' takes a hub id or a folder: {remedy}")
    if not path.is_dir() and looks_local(source):
        raise ValueError(f"{source}: no such file or folder")
