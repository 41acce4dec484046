"""Public benchmarks by their own rules: saved replies in, scores out."""
