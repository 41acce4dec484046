"""Planned peak memory over the measured peak of a training process, at several sizes of the bases."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    GenerationConfig,
)

from benchmarks.figures import Figure
from theworld import tiny
from theworld.config import loader
from theworld.config.commands import PlanSettings
from theworld.planning.plan import plan_run
from theworld.tiny.gemma import make_processor, save_gemma
from theworld.tiny.gemma4 import write_gemma4
from theworld.tiny.qwen3_vl import write_qwen3_vl
from theworld.tiny.random_weights import draw_weights

VOCABULARY = 262_208
# glibc keeps freed blocks of up to 32 MB in its heap, in pieces, and would distort the measurement.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
RUNS: dict[str, tuple[str, int, int, dict[str, Any], dict[str, Any]]] = {
    "tiny": ("gemma3", 0, 0, {"batch_size": 32, "precision": "fp32", "length": 200}, {"dtype": "float32"}),
    "hidden_256": (
        "gemma3",
        256,
        4,
        {"batch_size": 4, "precision": "fp32", "length": 200},
        {"dtype": "float32", "freeze_gemma_language": False},
    ),
    "hidden_640": ("gemma3", 640, 6, {"batch_size": 8, "precision": "bf16", "length": 500}, {"dtype": "bfloat16"}),
    "gemma4_tiny": ("gemma4", 0, 0, {"batch_size": 32, "precision": "fp32", "length": 200}, {"dtype": "float32"}),
    "gemma4_hidden_256": (
        "gemma4",
        256,
        4,
        {"batch_size": 4, "precision": "fp32", "length": 200},
        {"dtype": "float32", "freeze_gemma_language": False},
    ),
    "gemma4_hidden_640": (
        "gemma4",
        640,
        6,
        {"batch_size": 8, "precision": "bf16", "length": 500},
        {"dtype": "bfloat16"},
    ),
    "qwen3_vl_tiny": ("qwen3_vl", 0, 0, {"batch_size": 32, "precision": "fp32", "length": 200}, {"dtype": "float32"}),
    "qwen3_vl_tiny_vision": (
        "qwen3_vl",
        0,
        0,
        {"batch_size": 32, "precision": "fp32", "length": 200},
        {"dtype": "float32", "freeze_gemma_vision": False},
    ),
}
"""Base, hidden width and layers of a random model (0: the tiny one), settings of the run, settings of its model."""


def write_gemma(folder: Path, hidden: int, num_layers: int) -> str:
    """Write a random Gemma 3 of this size with the real vocabulary size, and vision tower and processor of `tiny`."""
    config = Gemma3Config.from_pretrained(tiny.stack() / "gemma")
    text: Any = config.text_config
    text.vocab_size, text.hidden_size, text.intermediate_size = VOCABULARY, hidden, 4 * hidden
    text.num_hidden_layers, text.layer_types = num_layers, text.layer_types[:num_layers]
    text.num_attention_heads, text.num_key_value_heads = 4, 1
    text.head_dim = text.query_pre_attn_scalar = 256
    model = Gemma3ForConditionalGeneration(config)
    draw_weights(model, torch.Generator().manual_seed(0))
    model.generation_config = GenerationConfig.from_pretrained(tiny.stack() / "gemma")
    save_gemma(model, make_processor(), folder)
    return str(folder)


def write_gemma4_of(folder: Path, hidden: int, num_layers: int) -> str:
    """Write a random Gemma 4 of this size with the real vocabulary size; the second half of its layers shares keys."""
    write_gemma4(folder, seed=0)
    if hidden:
        config: Any = Gemma4Config.from_pretrained(folder)
        text = config.text_config.to_dict()
        for name in ("per_layer_config", "layer_types"):
            text.pop(name)
        text |= {"vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": 4 * hidden, "head_dim": 256}
        text |= {"num_hidden_layers": num_layers, "num_kv_shared_layers": num_layers // 2, "global_head_dim": 512}
        text |= {"layer_types": ["sliding_attention", "full_attention"] * (num_layers // 2)}
        text |= {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 64}
        config.text_config = Gemma4TextConfig(**text)
        model = Gemma4ForConditionalGeneration(config)
        draw_weights(model, torch.Generator().manual_seed(0))
        model.generation_config = GenerationConfig.from_pretrained(folder)
        model.save_pretrained(folder)
    return str(folder)


def figures() -> Iterator[Figure]:
    """Compare the planned peak with the measured one; the figure is the relative error in either direction."""
    for name, (base, hidden, num_layers, run, model) in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            if base == "gemma4":
                gemma = write_gemma4_of(Path(folder) / "gemma", hidden, num_layers)
            elif base == "qwen3_vl":
                gemma = str(Path(folder) / "base")
                write_qwen3_vl(Path(gemma), seed=0)
            else:
                gemma = write_gemma(Path(folder) / "gemma", hidden, num_layers) if hidden else "tiny"
            world = {"cosmos_model_name": "tiny", "image_size_px": 64}
            path = Path(folder) / "run.json"
            settings = {"gemma_model_name": gemma, "world_grid": 4, "world": world, **model}
            path.write_text(json.dumps({"output_dir": folder, "model": settings, **run}))
            planned = plan_run(loader.load(PlanSettings, path)).memory.peak
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.planned_step", str(path)],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, **ALLOCATOR},
            )
        ratio = planned / json.loads(done.stdout.splitlines()[-1])
        yield Figure(f"planned_peak_{name}_off_by", abs(ratio - 1), 0.15, unit="share")
