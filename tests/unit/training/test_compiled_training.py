"""Compiled layers train as the others do, and their checkpoints are everybody's."""

from collections.abc import Callable

import pytest
import torch

from theworld.config import ModelSettings, TrainingConfig, WorldSettings
from theworld.modeling import TheWorld
from theworld.training.metrics import read_metrics
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]


def test_a_compiled_run_has_the_losses_and_the_names_of_weights_of_an_uncompiled_one(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_layers = []

    def compile_without_kernels(layer: torch.nn.Module, dynamic: bool) -> None:  # C++ would take a minute
        compiled_layers.append(type(layer).__name__)
        if len(compiled_layers) < 5:  # compiling takes as long as there are layers: one of each kind, the last two
            return
        layer._compiled_call_impl = torch.compile(layer._call_impl, dynamic=dynamic, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_kernels)
    model = ModelSettings(
        gemma_model_name="tiny",
        dtype="float32",
        world_grid=2,
        world=WorldSettings(tap="vae", cosmos_model_name="tiny", image_size_px=64),
    )
    plain, compiled = (
        make_config(name, num_steps=3, precision="fp32", compile=name == "compiled", settings_of_model=model)
        for name in ("plain", "compiled")
    )

    models = [TheWorld.from_pretrained(train(config)["model"]) for config in (plain, compiled)]

    losses = [[row["loss"] for row in read_metrics(run.output_dir / "metrics.jsonl")] for run in (plain, compiled)]
    assert compiled_layers == ["Gemma3DecoderLayer"] * 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert models[1].state_dict().keys() == models[0].state_dict().keys()
