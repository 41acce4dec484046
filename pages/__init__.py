"""Parts of the README and docs/ that show runs, made from the runs' files: `python -m pages`."""
