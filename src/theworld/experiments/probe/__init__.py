"""Linear probes: where the world model holds the answer."""
