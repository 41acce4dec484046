"""Recipes that train the embedded default model, and what they are measured by."""
