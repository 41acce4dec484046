"""Linear probes: find the taps, blocks and noise levels whose features hold the answer."""
