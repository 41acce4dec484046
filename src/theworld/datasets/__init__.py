"""Samples, and the readers that make them."""

import importlib
from typing import TYPE_CHECKING, Any

from theworld.datasets.sample import Sample, Samples, Turn, question

# Readers open pictures, which takes torch: they are looked up when first needed.
_HOMES = {
    "DataCompDataset": "theworld.datasets.public.datacomp",
    "HFDatasetWrapper": "theworld.datasets.wrappers",
    "SpatialRGPTDataset": "theworld.datasets.public.open_spatial",
    "TheWorldDataset": "theworld.datasets.wrappers",
    "register_dataset": "theworld.datasets.custom",
}

__all__ = [
    "DataCompDataset",
    "HFDatasetWrapper",
    "Sample",
    "Samples",
    "SpatialRGPTDataset",
    "TheWorldDataset",
    "Turn",
    "question",
    "register_dataset",
]

if TYPE_CHECKING:
    from theworld.datasets.custom import register_dataset
    from theworld.datasets.public.datacomp import DataCompDataset
    from theworld.datasets.public.open_spatial import SpatialRGPTDataset
    from theworld.datasets.wrappers import HFDatasetWrapper, TheWorldDataset


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'theworld.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
