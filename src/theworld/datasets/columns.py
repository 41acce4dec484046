"""Columns of Hugging Face data sets: those of pictures and videos, and their values as they are stored."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from theworld.datasets.images import picture_in, picture_of
from theworld.datasets.row_videos import listed_videos


def check_indexed(dataset: Any) -> None:
    """Refuse streams, and data sets of another kind, before any row is read.

    Raises:
        ValueError: with the remedy.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, Mapping):
        raise ValueError(f"a {kind} of the splits {', '.join(map(str, dataset))}: give one of them, as data[split]")
    if isinstance(dataset, list | tuple):
        raise ValueError(f"a {kind} of records: give it to TheWorldDataset, or make a datasets.Dataset.from_list of it")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ValueError(
            f"{kind}: a stream, whose rows have no numbers: load it without streaming=True, or take some of its rows:"
            " datasets.Dataset.from_list(list(stream.take(1000)))"
        )
    if not all(hasattr(dataset, name) for name in ("column_names", "select_columns")):
        raise ValueError(f"{kind}: expected a datasets.Dataset (from pandas: datasets.Dataset.from_pandas)")


def media_columns(dataset: Any, keys: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of pictures and videos by their arguments, `image_key` and `video_key`.

    A data set of videos need not have `image`, the default column of pictures.
    """
    media = {name: key for name, key in keys.items() if name in ("image_key", "video_key") and key is not None}
    if "video_key" in media and media.get("image_key") == "image" and "image" not in dataset.column_names:
        del media["image_key"]
    return media


def undecoded(dataset: Any, key: str) -> Any:
    """Return the data set with the stored bytes of its pictures or videos, so that an error can name a broken one."""
    feature: Any = (getattr(dataset, "features", None) or {}).get(key)
    inner: Any = getattr(feature, "feature", None)
    if hasattr(feature, "decode"):
        return dataset.cast_column(key, replace(feature, decode=False))
    if hasattr(inner, "decode"):
        return dataset.cast_column(key, replace(feature, feature=replace(inner, decode=False)))
    return dataset


def with_value(dataset: Any, key: str) -> np.ndarray:
    """Return for each row whether a column has a value: neither null nor an empty list. Nothing is decoded."""
    has_value: list[bool] = []
    for batch in dataset.select_columns([key]).with_format("arrow").iter(batch_size=100):
        column = batch[key].combine_chunks()
        is_list = hasattr(column, "value_lengths")
        has_value += (
            [bool(length) for length in column.value_lengths().to_pylist()]
            if is_list
            else column.is_valid().to_pylist()
        )
    return np.asarray(has_value, bool)


def file_name(stored: Any) -> str:
    """Return the path of a stored picture or video; empty for one without."""
    path = stored.get("path") if isinstance(stored, Mapping) else stored
    return path if isinstance(path, str) else ""


def source_of(item: Any, folder: Path | None, name: str, noun: Literal["picture", "video"]) -> Any:
    """Return a stored picture or video in a form that is read; of a path, one in the folder.

    Args:
        item: of the row.
        folder: that paths start from, and may not leave; None: any path.
        name: of the row, for messages.
        noun: of the item.

    Raises:
        RecordError: as `picture_in`.
    """
    return picture_of(item) if folder is None else picture_in(folder, item, name, noun)


def stored_videos(value: Any) -> list[Any]:
    """Return the videos of a row as they are stored: `listed_videos`, of which one in a struct keeps its path."""
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        return list(value) if len(listed_videos(value)) == len(value) else listed_videos(value)
    return [value] if isinstance(value, Mapping) else listed_videos(value)
