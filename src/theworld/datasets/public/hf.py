"""Any data set of the Hugging Face hub, read by the names of its columns."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from theworld.datasets.public.json_index import id_hashes, places_of
from theworld.datasets.records import id_of
from theworld.datasets.wrappers import HFDatasetWrapper

_NAMES: Final = {"train": ("train",), "validation": ("validation", "val", "dev"), "test": ("test",)}
"""Names of our splits in data sets."""


def open_hf(
    source: str,
    split: Literal["train", "validation", "test"],
    *,
    config_name: str | None = None,
    revision: str | None = None,
    size: int | None = None,
    **columns: Any,
) -> HFDatasetWrapper:
    """Open a split of a data set as samples.

    Without a validation split, one in a hundred training samples is held out for it, by the hash of its id, or of its
    position if there is no id column.

    Args:
        source: hub id or folder, as `datasets.load_dataset` takes it.
        split: train, validation or test.
        config_name: one of several configurations.
        revision: commit of the hub repository.
        size: number of samples, from the first; None: all.
        columns: arguments of HFDatasetWrapper.

    Raises:
        ValueError: for a data set that cannot be loaded, or that lacks the split or a column.
    """
    table = _load(source, config_name, revision)
    splits = {ours: next((name for name in names if name in table), None) for ours, names in _NAMES.items()}
    is_held_out = splits["validation"] is None and split != "test"
    name = splits["train"] if is_held_out else splits[split]
    if name is None:
        raise ValueError(f"{source}: no split for {split!r}: it has {', '.join(table)}")
    rows = table[name]
    if is_held_out:
        id_key = columns.get("id_key")
        if id_key is not None and id_key not in rows.column_names:
            raise ValueError(f"{source}: no column {id_key!r}: its columns are {sorted(rows.column_names)}")
        ids = range(len(rows)) if id_key is None else rows[id_key]
        names = (id_of(id, place) for place, id in enumerate(ids))
        rows = rows.select(places_of(id_hashes(names), "train" if split == "train" else "validation"))
    if size is not None:
        rows = rows.select(np.arange(min(size, len(rows))))
    samples = HFDatasetWrapper(rows, **columns)
    samples.files = tuple(Path(entry["filename"]) for entry in table[name].cache_files)
    return samples


def _load(source: str, config_name: str | None, revision: str | None) -> Any:
    """Every split of a data set, by its name."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(source, config_name, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        raise ValueError(
            f"{source!r} could not be loaded as a data set: {error}. Check the id, config_name and the network; for a"
            " gated repository accept its licence there and log in (`hf auth login`)"
        ) from error
