"""Imports and scenes for forked processes, apart because the server of `fixtures_processes` loads them by name."""

import gc

import theworld.training.run  # noqa: F401
from theworld.datasets.foresight import make_item

for index in range(8):  # the scenes that runs of tests train on
    make_item("train", index)
gc.collect()
gc.freeze()
