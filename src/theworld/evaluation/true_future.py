"""True futures for the audit's condition `oracle`: the features that a model would have if its world were right."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from theworld.config import CONTROL_TAPS
from theworld.config.world import OWN_TAPS
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample
from theworld.modeling import TheWorld
from theworld.modeling.fusion import execution_device
from theworld.world.factory import open_tap
from theworld.world.tap import clip_seeds


class TrueFuture:
    """Reads the true futures of samples with the tap `true-future`, which shares the states of the model's own tap.

    Raises:
        ValueError: for a model whose tap has no such counterpart; see `no_true_future`.
    """

    def __init__(self, model: TheWorld) -> None:
        if reason := no_true_future(model):
            raise ValueError(reason)
        world = model.config.world_settings()
        settings = replace(world, tap="true-future", control_of=world.reads, repeat_current=False)
        self.tap = open_tap(settings, execution_device(model.get_input_embeddings()))
        self._processor = copy.copy(model.processor)
        self._processor.world_tap, self._processor.world_control_of = settings.tap, settings.control_of
        self._processor.world_repeat_current = False

    def read(self, samples: Sequence[Sample], num_world_steps: int) -> Float[Tensor, "N C T h w"]:
        """Compute the features of the samples' clips with their true futures.

        Raises:
            ValueError: for a sample without a true future, or one that is shorter than K slots.
        """
        collator = Collator(self._processor, supervise=False, num_world_steps=num_world_steps)
        frames, steps = collator.frames(samples)
        assert frames is not None
        return self.tap.read(frames, steps, clip_seeds(frames, self.tap.settings.seed))


def no_true_future(model: TheWorld) -> str:
    """Return the reason why no tap reads the true future as this model's tap reads its own; empty if one does."""
    world = model.config.world_settings()
    if model.config.owns_vae:
        return "the VAE was trained with the model, so no tap reads as it does"
    if world.tap in CONTROL_TAPS:
        return f"the tap {world.tap!r} is a control: it reads no scene"
    if world.sees_future:
        return "the model reads the true future already: `real` is the oracle"
    if world.reads in OWN_TAPS:
        return f"the registered tap {world.tap!r} has no counterpart that reads true futures"
    return ""
