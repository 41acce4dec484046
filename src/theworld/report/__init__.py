"""Reports: pages and figures from the folder of a run."""
