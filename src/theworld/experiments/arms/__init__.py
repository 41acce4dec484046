"""Comparison of arms at equal budget: data, steps, trainable parameters and tokens."""
