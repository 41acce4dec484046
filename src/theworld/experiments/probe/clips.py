"""Clips with labels: what a probe is fitted to and measured on, of Foresight's scenes or of public pictures."""

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
from theworld.datasets.factory import open_samples
from theworld.datasets.foresight.collide import gap_of
from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_FRAMES, NUM_SLOTS, num_future_slots
from theworld.datasets.images import ImageError, to_frames
from theworld.datasets.sample import Sample, Samples

Quantity = Literal["position", "velocity", "contact", "outcome", "relation", "depth"]

DECISIVE: Final[tuple[Quantity, ...]] = ("outcome", "relation", "depth")
"""What a probe is about: one of them per kind of clip."""

MOST_RELATIONS: Final = 8
"""Relations of VSR that are told apart: the most frequent ones of the statements that are fitted to."""

DEPTH_TASK: Final = "Relative_Depth"
"""The task of BLINK whose answer says which of two marked points is closer."""


@dataclass(frozen=True)
class Labelled:
    """Clips of one kind, those to fit to first, and what is to be read from each slot of their features."""

    name: str
    """A kind of scene of Foresight, `vsr` or `blink`."""
    frames: UInt8[Tensor, "N F 3 H W"]
    """The frames that are given, the current one last."""
    num_world_steps: int
    """K, latent slots that are looked ahead; 0 for pictures."""
    labels: Mapping[Quantity, Tensor]
    """Classes, whole numbers (T, N), or measures, floating-point numbers (T, N, Q)."""
    num_fit: int
    """Clips, from the first, that a read-out is fitted to; it is measured on the others."""
    with_future: UInt8[Tensor, "N G 3 H W"] | None = None
    """The frames, and what really happened after them; None where nobody knows."""
    classes: tuple[str, ...] = ()
    """Of public pictures: the words of the classes."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Of public pictures: how many are not used, by reason."""


def open_labelled(own: ProbeSettings) -> Iterator[Labelled]:
    """The clips that are probed, one kind after the other.

    Raises:
        ValueError: for files that cannot be had, or too few pictures among them.
    """
    if isinstance(own, ForesightProbe):
        for task in own.tasks:
            yield _scenes(own, task)
    elif isinstance(own, VsrProbe):
        yield _relations(own)
    elif isinstance(own, BlinkProbe):
        yield _depth_order(own)


def _scenes(own: ProbeSettings, task: TaskName) -> Labelled:
    train = [make_item("train", index, task) for index in range(own.num_train)]
    items = [*train, *(make_item("validation", index, task) for index in range(own.num_test))]
    clips = np.stack([draw_clip(item.scene, item.poses, own.world.image_size_px) for item in items])
    frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    steps = num_future_slots(task)
    labels: dict[Quantity, Tensor] = {
        "position": torch.stack([_motion(items, slot, "position") for slot in range(NUM_SLOTS)]),
        "velocity": torch.stack([_motion(items, slot, "velocity") for slot in range(NUM_SLOTS)]),
        "outcome": torch.tensor([item.outcome for item in items]).expand(NUM_SLOTS, -1),
    }
    if task == "collide":
        touching = [[gap_of(item.poses[slot * TEMPORAL_STRIDE]) < 0.01 for item in items] for slot in range(NUM_SLOTS)]
        labels["contact"] = torch.tensor(touching).long()
    shown = frames[:, : NUM_FRAMES - steps * TEMPORAL_STRIDE]
    return Labelled(task, shown, steps, labels, len(train), with_future=frames)


def _motion(items: Iterable[Item], slot: int, quantity: Literal["position", "velocity"]) -> Float[Tensor, "N Q"]:
    """Places of all bodies in the last frame of a slot, or how fast they move there, unit lengths (/ s)."""
    frame = slot * TEMPORAL_STRIDE
    after = min(frame + 1, NUM_FRAMES - 1)
    found = []
    for item in items:
        if quantity == "position":
            found.append(item.poses[frame, :2, :2].flatten())
        else:
            found.append(((item.poses[after, :2, :2] - item.poses[after - 1, :2, :2]) * FRAME_RATE_HZ).flatten())
    return torch.from_numpy(np.stack(found))


def _relations(own: VsrProbe) -> Labelled:
    """VSR: the relation of true statements; fitted on its train split, measured on dev."""
    subset = () if own.subset is None else (own.subset,)
    data = DataSettings(
        dataset="vsr", source=own.source, revision=own.revision, subsets=subset, image_dir=own.image_dir
    )
    fit, measured = (_true_statements(open_samples(data, split, None)) for split in ("train", "validation"))
    counts = Counter(relation for _, relation in fit)
    classes = tuple(sorted(counts, key=lambda relation: (-counts[relation], relation))[:MOST_RELATIONS])
    return _pictures(own, "relation", classes, fit, measured)


def _true_statements(samples: Samples) -> list[tuple[Sample, str]]:
    found = (samples[index] for index in range(len(samples)))
    return [(sample, sample.fields["relation"].strip()) for sample in found if sample.answer == "true"]


def _depth_order(own: BlinkProbe) -> Labelled:
    """BLINK: which of two points is closer. Only `val` has answers: its items are halved by the hash of their id."""
    data = DataSettings(dataset="blink", source=own.source, revision=own.revision, subsets=(DEPTH_TASK,))
    samples = open_samples(data, "validation", None)
    halves: tuple[list[tuple[Sample, str]], list[tuple[Sample, str]]] = ([], [])
    for sample in (samples[index] for index in range(len(samples))):
        halves[_digest(sample.id.encode())[0] % 2].append((sample, str(sample.answer)))
    return _pictures(own, "depth", ("(A)", "(B)"), *halves)


def _pictures(
    own: ProbeSettings,
    quantity: Quantity,
    classes: tuple[str, ...],
    fit: list[tuple[Sample, str]],
    measured: list[tuple[Sample, str]],
) -> Labelled:
    """Single pictures as clips of one frame; one that is measured is never fitted to, whatever is said of it."""
    left_out = {"unreadable": 0, "shared": 0}
    size_px = own.world.image_size_px
    readable = _readable(measured, classes, size_px, left_out)
    test = list(islice(readable, own.num_test))
    seen = {_digest(frames.numpy().tobytes()) for frames, _ in test}
    train: list[tuple[Tensor, int]] = []
    for frames, label in _readable(fit, classes, size_px, left_out):
        if len(train) == own.num_train:
            break
        if _digest(frames.numpy().tobytes()) in seen:
            left_out["shared"] += 1
        else:
            train.append((frames, label))
    if not test or len({label for _, label in train}) < 2:
        raise ValueError(
            f"labels={own.labels!r}: {len(train)} pictures to fit to and {len(test)} to measure on, of"
            f" {len(fit)} and {len(measured)}; {left_out['unreadable']} cannot be read, {left_out['shared']} are in"
            " both. Expected two classes to fit to, and pictures of them to measure on: look at source and image_dir"
        )
    both = [*train, *test]
    labels: dict[Quantity, Tensor] = {quantity: torch.tensor([[label for _, label in both]])}
    frames = torch.stack([frames for frames, _ in both])
    return Labelled(own.labels, frames, 0, labels, len(train), classes=classes, left_out=left_out)


def _readable(
    labelled: Iterable[tuple[Sample, str]], classes: tuple[str, ...], size_px: int, left_out: dict[str, int]
) -> Iterator[tuple[UInt8[Tensor, "1 3 H W"], int]]:
    """Pictures of these classes with their class, in an order that their ids alone decide."""
    asked = [(sample, word) for sample, word in labelled if word in classes]
    for sample, word in sorted(asked, key=lambda pair: _digest(pair[0].id.encode())):
        try:
            frames = to_frames([sample.images[0]], size_px)
        except ImageError:
            left_out["unreadable"] += 1
            continue
        yield frames, classes.index(word)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
