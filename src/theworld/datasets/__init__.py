"""Samples, and the readers that make them."""

from theworld.datasets.sample import Sample, Samples, Turn, question
from theworld.datasets.tables import HFDatasetWrapper, TheWorldDataset

__all__ = ["HFDatasetWrapper", "Sample", "Samples", "TheWorldDataset", "Turn", "question"]
