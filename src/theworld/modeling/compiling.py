"""Compiled layers: what Gemma computes between two large products is fused."""

from theworld.modeling.model import TheWorld


def compile_layers(model: TheWorld) -> None:
    """Compile each layer of Gemma's language model, in place: names of weights stay.

    Layers that are alike and rows of any length share one program. `torch.compile` of the whole model would break at
    the checks of placeholders, and compile all of its layers one by one.
    """
    for layer in model.model.language_model.layers:
        layer.compile(dynamic=True)
