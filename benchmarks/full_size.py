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
    """Load plain `gemma` or the model with its `world`, and answer with one token; `world` also with NEW_TOKENS."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # all cores of this process
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    fields: dict[str, Any] = {"enable_world": False}
    if kind == "world":
        fields = {"cosmos_model_name": str(Path(FOLDER, COSMOS)), "world_grid": 4}
    before, started = rss(), time.process_time()
    model = TheWorld.from_pretrained(str(Path(FOLDER, GEMMA)), dtype=torch.bfloat16, load_world=False, **fields).eval()
    seconds = time.process_time() - started
    if kind == "world":
        model.load_world()  # loading its bytes does not count, reading the picture does
    seconds += _answer(model, picture, 1)
    parts = [model] if model.tap is None else [model, model.tap.vae]
    weights = {id(weight): weight.nbytes for part in parts for weight in part.parameters()}
    result = {"seconds": seconds, "rss_over_weights": (rss() - before) / sum(weights.values())}
    if kind == "world":
        result["seconds_of_answer"] = _answer(model, picture, NEW_TOKENS)
    return {**result, "peak_gb": peak() / 1e9}


def _answer(model: Any, picture: np.ndarray, num_tokens: int) -> float:
    """Return the processor seconds of an answer of this length."""
    started = time.process_time()
    model.generate(picture, "What is it?", max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=False)
    return time.process_time() - started


def figures() -> Iterator[Figure]:
    """Compare memory with the bytes of the weights, and the time to a first answer with plain Gemma 3."""
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
