"""Experiments: comparisons of arms, linear probes, and the demo."""
