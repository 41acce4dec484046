"""Training runs: trainer, metrics, run folder."""
