"""Distillation: Gemma learns to predict the states of a world model beside its answers, and then answers without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from theworld.config.model import DistillationSettings
from theworld.constants import IGNORE_INDEX
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import batches
from theworld.modeling import TheWorld
from theworld.modeling.configuration import WorldFields
from theworld.modeling.tensor_files import read_tensors, write_tensors
from theworld.training.dataloading import good_samples

HEAD_NAME: Final = "distillation.safetensors"
"""File of the head in a checkpoint to continue from; a trained model has none."""

_NUM_MEASURED: Final = 256
"""Samples whose features give the mean and the spread of each channel."""
_LEAST_SPREAD: Final = 1e-6


def layer_of(config: WorldFields, settings: DistillationSettings) -> int:
    """Return the index of the layer whose states predict the teacher's.

    Raises:
        ValueError: for more layers than the language model has.
    """
    num_layers = config.text.num_hidden_layers
    num_before = max(1, num_layers // 2) if settings.layer is None else settings.layer
    if num_before > num_layers:
        raise ValueError(f"distillation.layer={num_before}: expected 1 to {num_layers}, all layers")
    return num_before - 1


class StateHead(nn.Module):
    """Predicts the teacher's features from Gemma's states: a linear layer after an RMS norm, shared by all places.

    Its loss is the mean squared error in units of each channel's variance. At first it predicts the mean: a loss of 1.

    Args:
        width: D, of a state.
        mean: of each channel of the pooled features.
        spread: standard deviation of each channel.
        num_slots: S, the current slot and those ahead.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, mean: Float[Tensor, " C"], spread: Float[Tensor, " C"], num_slots: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_slots * len(mean))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, states: Float[Tensor, "N P D"], features: Float[Tensor, "N C S h w"]) -> Float[Tensor, ""]:
        """Compute the share of the features' variance that the states do not explain.

        Args:
            states: at the P = g^2 image tokens of each picture.
            features: of the slots from the current one on, resampled to g x g; S may be less than the head's.
        """
        target = resampled(features.to(states.device).float(), round(states.shape[1] ** 0.5))
        target = (target - self.mean) / self.spread
        predicted = self.linear(F.rms_norm(states.float(), states.shape[-1:]))
        predicted = predicted.unflatten(-1, (-1, len(self.mean)))[:, :, : target.shape[2]]
        return (predicted.float() - target).square().mean()


def resampled(features: Float[Tensor, "N C S h w"], grid: int) -> Float[Tensor, "N P S C"]:
    """Resample features to a grid of image tokens, P = grid^2."""
    num_slots = features.shape[2]
    maps = features.transpose(1, 2).flatten(1, 2)
    if maps.shape[-2:] != (grid, grid):
        maps = F.interpolate(maps, size=(grid, grid), mode="bilinear", antialias=True)
    return maps.flatten(2).transpose(1, 2).unflatten(2, (num_slots, -1))


class Distiller(nn.Module):
    """A model without a world, and a head that ends with the training; the trainer trains both as one.

    The loss of a batch is that of its answers, plus the head's times a weight. The head reads Gemma's states at the
    image tokens of the current picture after some layers, so that later layers can use what those learn.

    Args:
        model: without a world.
        head: predicts the teacher's features.
        settings: weight of the loss, and the layer.
    """

    def __init__(self, model: TheWorld, head: StateHead, settings: DistillationSettings) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.weight = settings.weight
        self.layer = layer_of(model.config, settings)
        self.unexplained: float | None = None
        """Loss of the head on the last batch; None: it had no clips."""

    def __getattr__(self, name: str) -> Any:
        """Look up what the trainer asks of a model, such as its `config`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model":
                raise
            return getattr(super().__getattr__("model"), name)

    def forward(
        self,
        teacher_features: Float[Tensor, "N C S h w"] | None = None,
        teacher_pictures: Bool[Tensor, " M"] | None = None,
        **batch: Any,
    ) -> Any:
        """Run the model, and add the head's loss to that of the answers.

        Args:
            teacher_features: of each clip; None: a batch without clips.
            teacher_pictures: True for the pictures that show the current frame of a clip, N of the batch's M.
            batch: the model's input, with labels.
        """
        with self._states() as states:
            output = self.model(**batch)
        if teacher_features is None or teacher_pictures is None:
            parameters = [parameter.sum() for parameter in self.head.parameters()]
            error = 0 * torch.stack(parameters).sum()  # DDP waits for the gradient of each
            self.unexplained = None
        else:
            is_image = batch["input_ids"] == self.model.config.image_token_id
            per_picture = self.model.config.image_grid**2
            tokens = states[0][is_image.to(states[0].device)].unflatten(0, (-1, per_picture))
            error = self.head(tokens[teacher_pictures.to(tokens.device)], teacher_features)
            self.unexplained = error.item()
        output.loss = output.loss + self.weight * self._share(batch) * error.to(output.loss.device)
        return output

    @contextmanager
    def _states(self) -> Iterator[list[Float[Tensor, "B L D"]]]:
        """Note the states after the layer while the model runs."""
        states: list[Tensor] = []

        def note(module: Any, given: Any, output: Any) -> None:
            states.append(output if isinstance(output, Tensor) else output[0])

        handle = self.model.model.language_model.layers[self.layer].register_forward_hook(note)
        try:
            yield states
        finally:
            handle.remove()

    @staticmethod
    def _share(batch: dict[str, Any]) -> float:
        """Return the batch's share of the step, which has the same weight in both losses: that of its answer tokens."""
        num_items = batch.get("num_items_in_batch")
        if num_items is None:
            return 1.0
        return float((batch["labels"][:, 1:] != IGNORE_INDEX).sum() / num_items)


def add_distillation(
    model: TheWorld, settings: DistillationSettings, collator: Collator, samples: Samples
) -> Distiller:
    """Put a model without a world and a new head together.

    Args:
        model: without a world; its configuration has the K of the teacher.
        settings: weight of the loss, and the layer.
        collator: reads the teacher's features.
        samples: the training data; the first of them give the mean and the spread of each channel.
    """
    assert collator.read_teacher is not None
    config = model.config
    values: list[Tensor] = []
    for batch in batches(islice(good_samples(samples), _NUM_MEASURED), 16):
        frames, steps = collator.frames(batch)
        if frames is not None:
            features = collator.read_teacher(frames, steps)[:, :, -(1 + steps) :]
            values.append(resampled(features.float(), config.image_grid).flatten(0, 2))
    if not values:
        raise ValueError("distillation: none of the first samples has a picture or a clip that a world could read")
    spread, mean = torch.std_mean(torch.cat(values), 0)
    head = StateHead(config.text.hidden_size, mean, spread.clamp_min(_LEAST_SPREAD), 1 + config.num_world_steps)
    return Distiller(model, head, settings)


def save_head(distiller: Distiller, checkpoint: Path) -> None:
    """Write the head into a checkpoint to continue from."""
    write_tensors(distiller.head.state_dict(), checkpoint / HEAD_NAME)


def load_head(distiller: Distiller, checkpoint: Path) -> None:
    """Read the head of a checkpoint.

    Raises:
        CheckpointError: for a missing or damaged file, or a head of another shape.
    """
    head = distiller.head.state_dict()
    with torch.no_grad():
        for name, tensor in read_tensors(checkpoint / HEAD_NAME, head).items():
            head[name].copy_(tensor)
