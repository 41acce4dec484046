"""Evaluation: asks a model, scores its replies, and tests the differences."""
