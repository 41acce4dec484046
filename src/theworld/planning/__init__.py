"""What a training run will need, said before anything loads."""
