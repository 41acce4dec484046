"""Gemma 3 4B and the VAE of Cosmos-Predict2 2B at their real size: memory and time from nothing to a first answer.

Needs the checkpoints of `benchmarks.make_full_size` in the folder that THEWORLD_FULL_SIZE names, and some minutes.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Figure
from benchmarks.make_full_size import COSMOS, GEMMA
from benchmarks.memory import in_a_process, peak, rss
from theworld.modeling import TheWorld

FOLDER = os.environ.get("THEWORLD_FULL_SIZE", "")
NEW_TOKENS = 16
NUM_PAIRS = 3


def measure(kind: str) -> dict[str, Any]:
    """Load and answer with one token: plain `gemma`, or with the `world`, which then answers with NEW_TOKENS."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # the cores that this process was given
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    fields: dict[str, Any] = {"enable_world": False}
    if kind == "world":
        fields = {"cosmos_model_name": str(Path(FOLDER, COSMOS)), "world_grid": 4}
    before, began = rss(), time.process_time()
    model = TheWorld.from_pretrained(str(Path(FOLDER, GEMMA)), dtype=torch.bfloat16, load_world=False, **fields).eval()
    seconds = time.process_time() - began
    if kind == "world":
        model.load_world()  # its own bytes are no part of the comparison; reading the picture is
    seconds += _answer(model, picture, 1)
    parts = [model] if model.tap is None else [model, model.tap.vae]
    weights = {id(one): one.numel() * one.element_size() for part in parts for one in part.parameters()}
    found = {"seconds": seconds, "rss_over_weights": (rss() - before) / sum(weights.values())}
    if kind == "world":
        found["seconds_of_answer"] = _answer(model, picture, NEW_TOKENS)
    return {**found, "peak_gb": peak() / 1e9}


def _answer(model: Any, picture: np.ndarray, num_tokens: int) -> float:
    """Processor seconds of an answer of so many tokens."""
    began = time.process_time()
    model.generate(picture, "What is it?", max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=False)
    return time.process_time() - began


def figures() -> Iterator[Figure]:
    """Memory over the weights' own bytes; time to the first answer over plain Gemma 3's."""
    if not FOLDER:
        print("full_size: THEWORLD_FULL_SIZE is unset; see benchmarks/make_full_size.py", file=sys.stderr)
        return
    in_a_process("full_size", "gemma")  # brings the files into the page cache
    pairs = []
    for _ in range(NUM_PAIRS):
        pairs.append({kind: in_a_process("full_size", kind) for kind in ("gemma", "world")})
        print(f"full_size: {pairs[-1]}", file=sys.stderr, flush=True)
    yield Figure("full_size_rss_over_weights", max(pair["world"]["rss_over_weights"] for pair in pairs), 1.10)
    ratios = [pair["world"]["seconds"] / pair["gemma"]["seconds"] for pair in pairs]
    yield Figure("full_size_first_answer_over_gemma", statistics.median(ratios), 1.15)


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
