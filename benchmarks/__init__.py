"""Figures of speed and memory, measured in pairs in one run, each with its goal."""
