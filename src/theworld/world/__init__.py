"""The world model: taps, loading, and the store of its features."""
