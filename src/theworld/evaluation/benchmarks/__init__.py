"""Public benchmarks, scored by their own rules."""
