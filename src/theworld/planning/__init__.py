"""Plan the memory and time of a training run before anything loads."""
