"""Public data sets as samples: read from the hub, from folders and files in the same format, and offline."""

from theworld.datasets.public.blink import BlinkDataset
from theworld.datasets.public.spatial_rgpt import SpatialRGPTBenchDataset
from theworld.datasets.public.vsr import VsrDataset

__all__ = ["BlinkDataset", "SpatialRGPTBenchDataset", "VsrDataset"]
