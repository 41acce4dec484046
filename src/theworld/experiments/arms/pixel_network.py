"""A small residual network on the given frames: an opponent that can learn, and has neither a world nor a language."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from theworld.config.arm_settings import PixelsArm
from theworld.datasets.foresight.ground_truth import NEITHER
from theworld.datasets.foresight.items import make_item
from theworld.datasets.foresight.questions import words_by_outcome
from theworld.datasets.foresight.scene import COLOURS, NUM_GIVEN_FRAMES, TASKS, Scenes, Task
from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.generation import BatchAnswerer, choices_of, row_of
from theworld.io import fingerprint_weights, write_whole

Answers = Literal["words", "places"]

WORDS: Final = (*COLOURS, "left", "right", NEITHER, "yes", "no")
"""All answers to questions about the future: the outputs of a network that answers in words."""
_MIRRORED: Final[dict[Task, tuple[int, ...]]] = {
    "drop": (2, 1, 0),
    "topple": (1, 0, 2),
    "roll": (1, 0),
    "collide": (0, 1),
    "hide": (1, 0, 2),
}
"""Number of the outcome in the mirror, by outcome: the outputs of a network that answers by place."""
NUM_FRAMES: Final = max(NUM_GIVEN_FRAMES.values())
_WIDTHS: Final = (16, 32, 64, 96)
_POOLED: Final = 4
"""Side of the last feature map. Averages over the whole picture would lose the places of things."""
_WEIGHT_DECAY: Final = 0.05
_WARMUP_SHARE: Final = 0.05
_BRIGHTNESS: Final = (0.85, 1.15)
_WEIGHTS_NAME: Final = "model.safetensors"
_CONFIG_NAME: Final = "network.json"


@dataclass(frozen=True)
class Example:
    """A question about the future as the network sees it."""

    frames: UInt8[Tensor, "num_frames 3 height width"]
    task: int
    """Number of the kind of scene: each has outputs of its own."""
    words: dict[int, str]
    """Answers to choose from, by the number of their output."""
    target: int
    """Output of the true answer."""


def example_of(sample: Sample, answers: Answers, scenes: Scenes) -> Example:
    """Read a question about the future of a scene.

    Args:
        sample: of Foresight, with every given frame as a picture.
        answers: outputs are words, or the numbers of outcomes, which stand for places.
        scenes: plain or varied; a place has the name of what is there in the scene.

    Raises:
        ValueError: for another question.
    """
    fields = sample.fields
    if fields.get("kind") != "end":
        raise ValueError(f"sample {sample.id!r}: a network of pixels answers questions about the future alone")
    task: Task = fields["task"]
    if answers == "places":
        item = make_item(fields["split"], fields["index"], task, scenes)
        words = dict(enumerate(words_by_outcome(item.scene)))
    else:
        words = {WORDS.index(choice): choice for choice in choices_of(sample)}
    frames = torch.from_numpy(np.stack([np.asarray(to_image(image)) for image in sample.images])).permute(0, 3, 1, 2)
    target = next(output for output, word in words.items() if word == sample.answer)
    return Example(frames, TASKS.index(task), words, target)


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, CVPR)."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_inputs, num_outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(num_outputs)
        self.second = nn.Conv2d(num_outputs, num_outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(num_outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class PixelNetwork(nn.Module):
    """A residual network of 0.3 million parameters, with outputs for each kind of scene.

    It gets the frames as channels, a single one repeated, and the coordinates of each pixel.

    Args:
        answers: in words, or by place.
        scenes: plain or varied.
    """

    def __init__(self, answers: Answers, scenes: Scenes) -> None:
        super().__init__()
        self.answers: Answers = answers
        self.scenes: Scenes = scenes
        self.weights = "untrained"
        """Fingerprint of the saved weights."""
        self.num_outputs = len(WORDS) if answers == "words" else max(map(len, _MIRRORED.values()))
        self.stem = nn.Conv2d(3 * NUM_FRAMES + 2, _WIDTHS[0], 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(_WIDTHS[0])
        pairs = zip((_WIDTHS[0], *_WIDTHS[:-1]), _WIDTHS, strict=True)
        self.blocks = nn.Sequential(*(_Block(a, b, 1 if a == b else 2) for a, b in pairs))
        self.head = nn.Linear(_WIDTHS[-1] * _POOLED**2, len(TASKS) * self.num_outputs)

    @property
    def num_parameters(self) -> int:
        """Number of its parameters, which all train."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self, pixels: Float[Tensor, "batch channels height width"], tasks: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs"]:
        """Return the logits of the outputs of each sample's kind of scene, from pixels in [0, 1]."""
        height, width = pixels.shape[-2:]
        rows, columns = (torch.linspace(-1, 1, side, device=pixels.device) for side in (height, width))
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(pixels), -1, -1, -1)
        x = torch.cat([4 * pixels - 2, places], 1)
        x = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        x = self.head(functional.adaptive_avg_pool2d(x, _POOLED).flatten(1))
        return x.view(len(pixels), len(TASKS), -1)[torch.arange(len(pixels), device=pixels.device), tasks]

    def save(self, folder: Path) -> None:
        """Write the network into a folder."""
        save_file(self.state_dict(), folder / _WEIGHTS_NAME)
        write_whole(folder / _CONFIG_NAME, json.dumps({"answers": self.answers, "scenes": self.scenes}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "PixelNetwork":
        """Read a saved network, for answers, onto a GPU if there is one."""
        network = cls(**json.loads((folder / _CONFIG_NAME).read_text()))
        network.load_state_dict(load_file(folder / _WEIGHTS_NAME))
        network.weights = f"pixels {fingerprint_weights(folder)}"
        return network.to(_device()).eval()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_network(
    samples: Samples | None, arm: PixelsArm, scenes: Scenes, *, learning_rate: float, seed: int
) -> PixelNetwork:
    """Train a network from scratch on questions about the future, mirrored and recoloured at random.

    Args:
        samples: the labelled scenes, with every given frame as a picture; None: the network stays untrained.
        arm: the network's answers, its steps and its batches.
        scenes: plain or varied.
        learning_rate: peak of the learning rate (AdamW, linear warm-up, cosine).
        seed: of its weights, of the order of samples and of their changes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PixelNetwork(arm.answers, scenes).to(_device())
        if samples is not None and len(samples):
            examples = [example_of(samples[index], arm.answers, scenes) for index in range(len(samples))]
            _fit(network, examples, arm, learning_rate)
    return network.eval()


def _fit(network: PixelNetwork, examples: Sequence[Example], arm: PixelsArm, learning_rate: float) -> None:
    num_steps = max(arm.num_steps, math.ceil(arm.num_passes * len(examples) / arm.batch_size))
    num_warmup = max(1, round(_WARMUP_SHARE * num_steps))
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=_WEIGHT_DECAY)

    def share(step: int) -> float:
        warm = min(1.0, (step + 1) / num_warmup)
        return warm * 0.5 * (1 + math.cos(math.pi * max(0, step - num_warmup) / max(1, num_steps - num_warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    network.train()
    order = _endless(len(examples))
    for _ in range(num_steps):
        batch = [examples[next(order)] for _ in range(arm.batch_size)]
        pixels, targets = _changed(pixels_of(batch), batch, network.answers)
        logits = _among_choices(network(pixels.to(_device()), _tasks(batch)), batch)
        optimizer.zero_grad()
        functional.cross_entropy(logits, targets.to(_device())).backward()
        optimizer.step()
        schedule.step()


def _endless(size: int) -> Iterator[int]:
    """Yield all indices in random order, again and again."""
    while True:
        yield from torch.randperm(size).tolist()


def pixels_of(examples: Sequence[Example]) -> Float[Tensor, "batch channels height width"]:
    """Return the frames of examples as channels, in [0, 1]; a single frame is repeated."""
    frames = [example.frames.expand(NUM_FRAMES, -1, -1, -1).flatten(0, 1) for example in examples]
    return torch.stack(frames).float() / 255


def _tasks(examples: Sequence[Example]) -> Int[Tensor, " batch"]:
    return torch.tensor([example.task for example in examples], device=_device())


def _among_choices(logits: Float[Tensor, "batch outputs"], examples: Sequence[Example]) -> Tensor:
    """Return the logits with those of answers that are no choice at minus infinity."""
    allowed = torch.zeros(logits.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        allowed[row, list(example.words)] = True
    return logits.masked_fill(~allowed.to(logits.device), -torch.inf)


def _changed(
    pixels: Float[Tensor, "batch channels height width"], examples: Sequence[Example], answers: Answers
) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]:
    """Mirror half of the samples with their answers, and change brightness; by place, also exchange colours.

    A network that answers in words must see the colours as they are.
    """
    size = len(examples)
    is_mirrored = torch.rand(size) < 0.5
    pixels = torch.where(is_mirrored[:, None, None, None], pixels.flip(-1), pixels)
    pairs = zip(examples, is_mirrored.tolist(), strict=True)
    targets = [mirrored(example, answers) if is_one else example.target for example, is_one in pairs]
    if answers == "places":
        order = torch.stack([torch.randperm(3) for _ in range(size)])
        colours = pixels.view(size, NUM_FRAMES, 3, *pixels.shape[-2:])
        pixels = colours[torch.arange(size)[:, None], :, order].transpose(1, 2).reshape(pixels.shape)
    low, high = _BRIGHTNESS
    factors = torch.empty(size, 1, 1, 1).uniform_(low, high)
    return (pixels * factors).clamp(0, 1), torch.tensor(targets)


def mirrored(example: Example, answers: Answers) -> int:
    """Return the output of the answer to a question about the mirrored scene."""
    if answers == "places":
        return _MIRRORED[TASKS[example.task]][example.target]
    word = WORDS[example.target]
    return WORDS.index({"left": "right", "right": "left"}.get(word, word))


class PixelAnswerer(BatchAnswerer):
    """Answers questions about the future with a network of pixels.

    Args:
        network: a trained one.
    """

    def __init__(self, network: PixelNetwork) -> None:
        self.model = network

    @torch.no_grad()
    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        network: PixelNetwork = self.model
        examples = [example_of(sample, network.answers, network.scenes) for sample in samples]
        logits = network(pixels_of(examples).to(_device()), _tasks(examples))
        best = _among_choices(logits, examples).argmax(1).tolist()
        rows = zip(samples, examples, best, strict=True)
        return [row_of(sample, prediction=example.words[output]) for sample, example, output in rows]
