"""What every process of `fixtures_processes` needs, done once in the server that they are forked from.

A module of its own, since the server imports it, and no test does.
"""

import gc

import theworld.training.run  # noqa: F401
from theworld.datasets.foresight import make_item

for index in range(8):  # the scenes that runs of tests train on
    make_item("train", index)
gc.collect()
gc.freeze()
