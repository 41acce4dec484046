"""Families of world models: the facts that the taps need about each, one module a family."""
