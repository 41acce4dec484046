"""Pages and pictures made from the folder of a run."""
