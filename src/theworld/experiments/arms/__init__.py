"""Comparison of arms at equal budget."""
