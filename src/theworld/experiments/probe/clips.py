"""Labelled clips: training and test data of probes, from Foresight's scenes or public pictures."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import DataSettings, TaskName
from theworld.config.experiments import BlinkProbe, ForesightProbe, ProbeSettings, VsrProbe
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.errors import ImageError
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight.collide import gap_of
from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_FRAMES, NUM_SLOTS, num_future_slots
from theworld.datasets.images import to_frames
from theworld.datasets.sample import Sample, Samples

Quantity = Literal["position", "velocity", "contact", "outcome", "relation", "depth"]

DECISIVE: Final[tuple[Quantity, ...]] = ("outcome", "relation", "depth")
"""The main quantity of a probe: one of these for each kind of clip."""

MOST_RELATIONS: Final = 8
"""Number of VSR relations to classify: the most frequent ones among the training statements."""

DEPTH_TASK: Final = "Relative_Depth"
"""The task of BLINK that asks which of two marked points is closer."""


@dataclass(frozen=True)
class LabelledClips:
    """Clips of one kind, training clips first, with a label for each slot of their features."""

    name: str
    """A kind of scene of Foresight, `vsr` or `blink`."""
    frames: UInt8[Tensor, "N F 3 H W"]
    """The given frames, the current one last."""
    num_world_steps: int
    """K, latent slots to look ahead; 0 for pictures."""
    labels: Mapping[Quantity, Tensor]
    """Classes, whole numbers (T, N), or measures, floating-point numbers (T, N, Q)."""
    num_fit: int
    """Number of training clips; the others are test clips."""
    with_future: UInt8[Tensor, "N G 3 H W"] | None = None
    """The given frames and the true future; None if it is unknown."""
    classes: tuple[str, ...] = ()
    """Names of the classes; only for public pictures."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of unused pictures by reason; only for public pictures."""


def open_labelled_clips(settings: ProbeSettings) -> Iterator[LabelledClips]:
    """Yield the clips of each kind.

    Raises:
        ValueError: for files that cannot be opened, or that have too few pictures.
    """
    if isinstance(settings, ForesightProbe):
        for task in settings.tasks:
            yield _scenes(settings, task)
    elif isinstance(settings, VsrProbe):
        yield _relations(settings)
    elif isinstance(settings, BlinkProbe):
        yield _depth_order(settings)


def _scenes(settings: ProbeSettings, task: TaskName) -> LabelledClips:
    """Simulate the scenes of one task, with labels of every slot."""
    train = [make_item("train", index, task) for index in range(settings.num_train)]
    items = [*train, *(make_item("validation", index, task) for index in range(settings.num_test))]
    clips = np.stack([draw_clip(item.scene, item.poses, settings.world.image_size_px) for item in items])
    frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    steps = num_future_slots(task)
    labels: dict[Quantity, Tensor] = {
        "position": torch.stack([_motion(items, slot, "position") for slot in range(NUM_SLOTS)]),
        "velocity": torch.stack([_motion(items, slot, "velocity") for slot in range(NUM_SLOTS)]),
        "outcome": torch.tensor([item.outcome for item in items]).expand(NUM_SLOTS, -1),
    }
    if task == "collide":
        touching = [
            [gap_of(item.scene, item.poses[slot * TEMPORAL_STRIDE]) < 0.01 for item in items]
            for slot in range(NUM_SLOTS)
        ]
        labels["contact"] = torch.tensor(touching).long()
    shown = frames[:, : NUM_FRAMES - steps * TEMPORAL_STRIDE]
    return LabelledClips(task, shown, steps, labels, len(train), with_future=frames)


def _motion(items: Iterable[Item], slot: int, quantity: Literal["position", "velocity"]) -> Float[Tensor, "N Q"]:
    """Return position or velocity of all bodies in the last frame of a slot, unit lengths (/ s)."""
    frame = slot * TEMPORAL_STRIDE
    after = min(frame + 1, NUM_FRAMES - 1)
    values = []
    for item in items:
        if quantity == "position":
            values.append(item.poses[frame, :2, :2].flatten())
        else:
            values.append(((item.poses[after, :2, :2] - item.poses[after - 1, :2, :2]) * FRAME_RATE_HZ).flatten())
    return torch.from_numpy(np.stack(values))


def _relations(settings: VsrProbe) -> LabelledClips:
    """Open VSR: the relation of true statements, its train split for training and dev for the test."""
    subset = () if settings.subset is None else (settings.subset,)
    data = DataSettings(
        dataset="vsr", source=settings.source, revision=settings.revision, subsets=subset, image_dir=settings.image_dir
    )
    fit, measured = (_true_statements(open_samples(data, split, None)) for split in ("train", "validation"))
    counts = Counter(relation for _, relation in fit)
    classes = tuple(sorted(counts, key=lambda relation: (-counts[relation], relation))[:MOST_RELATIONS])
    return _pictures(settings, "relation", classes, fit, measured)


def _true_statements(samples: Samples) -> list[tuple[Sample, str]]:
    """Return the samples of true statements with their relation."""
    every = (samples[index] for index in range(len(samples)))
    return [(sample, sample.fields["relation"].strip()) for sample in every if sample.answer == "true"]


def _depth_order(settings: BlinkProbe) -> LabelledClips:
    """Open BLINK's depth task. Only `val` has answers, so the hash of its id sends an item to training or test."""
    data = DataSettings(dataset="blink", source=settings.source, revision=settings.revision, subsets=(DEPTH_TASK,))
    samples = open_samples(data, "validation", None)
    halves: tuple[list[tuple[Sample, str]], list[tuple[Sample, str]]] = ([], [])
    for sample in (samples[index] for index in range(len(samples))):
        halves[_digest(sample.id.encode())[0] % 2].append((sample, str(sample.answer)))
    return _pictures(settings, "depth", ("(A)", "(B)"), *halves)


def _pictures(
    settings: ProbeSettings,
    quantity: Quantity,
    classes: tuple[str, ...],
    fit: list[tuple[Sample, str]],
    measured: list[tuple[Sample, str]],
) -> LabelledClips:
    """Return single pictures as clips of one frame; no test picture is a training picture, even with another label."""
    left_out = {"unreadable": 0, "shared": 0}
    size_px = settings.world.image_size_px
    readable = _readable(measured, classes, size_px, left_out)
    test = list(islice(readable, settings.num_test))
    seen = {_digest(frames.numpy().tobytes()) for frames, _ in test}
    train: list[tuple[Tensor, int]] = []
    for frames, label in _readable(fit, classes, size_px, left_out):
        if len(train) == settings.num_train:
            break
        if _digest(frames.numpy().tobytes()) in seen:
            left_out["shared"] += 1
        else:
            train.append((frames, label))
    if not test or len({label for _, label in train}) < 2:
        raise ValueError(
            f"labels={settings.labels!r}: {len(train)} training pictures and {len(test)} test pictures, of"
            f" {len(fit)} and {len(measured)}; {left_out['unreadable']} are unreadable, {left_out['shared']} are in"
            " both. Expected two classes in training, and test pictures of them: check source and image_dir"
        )
    both = [*train, *test]
    labels: dict[Quantity, Tensor] = {quantity: torch.tensor([[label for _, label in both]])}
    frames = torch.stack([frames for frames, _ in both])
    return LabelledClips(settings.labels, frames, 0, labels, len(train), classes=classes, left_out=left_out)


def _readable(
    labelled: Iterable[tuple[Sample, str]], classes: tuple[str, ...], size_px: int, left_out: dict[str, int]
) -> Iterator[tuple[UInt8[Tensor, "1 3 H W"], int]]:
    """Yield the readable pictures of these classes with their class; the order depends only on their ids."""
    chosen = [(sample, word) for sample, word in labelled if word in classes]
    for sample, word in sorted(chosen, key=lambda pair: _digest(pair[0].id.encode())):
        try:
            frames = to_frames([sample.images[0]], size_px)
        except ImageError:
            left_out["unreadable"] += 1
            continue
        yield frames, classes.index(word)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
