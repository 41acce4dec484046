"""Recipes that train the embedded default model from scratch; part of the repository, not of the package."""
