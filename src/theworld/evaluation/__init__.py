"""Asking a model, scoring what it says, and what the scores can show."""
