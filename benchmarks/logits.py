"""Memory of a training step on long rows: logits only at supervised positions, over logits everywhere."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import Gemma3ForConditionalGeneration

from benchmarks.figures import Figure
from benchmarks.memory import available, forget_peak, in_a_process, peak, rss
from benchmarks.mid_size import VOCABULARY, write_mid_size
from theworld.constants import IGNORE_INDEX
from theworld.modeling import TheWorld

LENGTH, ANSWER = 5_000, 40
NEEDED_BYTES = 21e9
"""Bytes of logits everywhere: 5,000 x 262,208, in bfloat16 and float32, and their gradients."""


def measure(kind: str, folder: str) -> int:
    """Return the peak bytes of a step, beyond the bytes before it."""
    if kind == "supervised":
        model = TheWorld.from_pretrained(folder, enable_world=False, dtype=torch.bfloat16, freeze_gemma_language=False)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)  # the default is float32
    else:
        model = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    model.train()
    ids = torch.randint(10, 500, (1, LENGTH))
    labels = torch.full_like(ids, IGNORE_INDEX)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    before = rss()
    forget_peak()
    ones, zeros = torch.ones_like(ids), torch.zeros_like(ids)
    model(input_ids=ids, attention_mask=ones, token_type_ids=zeros, labels=labels).loss.backward()
    return peak() - before


def figures() -> Iterator[Figure]:
    """Return the ratio if the machine has the memory for both sides."""
    if available() < NEEDED_BYTES:
        print(f"logits: {NEEDED_BYTES / 1e9:.0f} GB of free memory are needed", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_mid_size(Path(folder))
        rises = [in_a_process("logits", kind, folder)["bytes"] for kind in ("supervised", "everywhere")]
    yield Figure(f"step_memory_of_{ANSWER}_supervised_of_{LENGTH}_at_V_{VOCABULARY}", rises[0] / rises[1], 0.35)


if __name__ == "__main__":
    print(json.dumps({"bytes": measure(*sys.argv[1:])}))
