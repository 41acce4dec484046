"""Samples, and the readers that make them."""

from theworld.datasets.sample import Sample, Turn, question

__all__ = ["Sample", "Turn", "question"]
