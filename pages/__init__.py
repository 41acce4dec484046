"""What the README and docs/ show of runs, made from the files that the runs wrote: `python -m pages`."""
