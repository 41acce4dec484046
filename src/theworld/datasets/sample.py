"""Sample and Turn, the common form of every data set, and the interfaces of data sets: indexed or as a stream."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from theworld.datasets.errors import RecordError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from theworld.datasets.errors import ImageError

    ImageLike: TypeAlias = "Image.Image | np.ndarray | torch.Tensor | str | Path | bytes | ImageError"
    """A picture: PIL, uint8 array (H, W, 3), tensor (3, H, W) (uint8, or float in [0, 1]), a path, or the bytes of a
    file; an ImageError in the place of an unreadable one, which is raised on access."""
    Clip: TypeAlias = "Sequence[ImageLike] | np.ndarray | torch.Tensor"
    """Frames in time order, the current one last: a list of pictures, uint8 array (T, H, W, 3), or tensor."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Sample:
    """Pictures and a conversation about them.

    The pictures come before the text of the first turn. The world model gets `clips`, in image order; without them it
    gets every picture as a clip of one frame. `future` contains the true future of each clip: only the upper-bound arm
    `true-future` may read it.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple["ImageLike", ...] = ()
    clips: "tuple[Clip, ...] | None" = None
    future: "tuple[Clip, ...] | None" = None
    num_world_steps: int | None = None
    """Future latent slots that its question concerns, an upper limit for the model's K. None: no limit."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields for grouping in tables (task, split, choices); predictions keep them."""

    def __post_init__(self) -> None:
        roles = [turn.role for turn in self.turns]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2):
            raise ValueError(f"sample {self.id!r}: turns must go user, assistant, user, ...; got {roles}")
        if self.future is not None and len(self.future) != self.num_clips:
            raise ValueError(f"sample {self.id!r}: {len(self.future)} futures for {self.num_clips} clips")

    @property
    def num_clips(self) -> int:
        """Clips that the world model reads."""
        return len(self.images if self.clips is None else self.clips)

    @property
    def shape(self) -> Hashable:
        """Clip lengths and K, which must be equal for all samples of a batch."""
        lengths = {1} if self.clips is None else {len(clip) for clip in self.clips}
        return shape_of_clips(*lengths, num_world_steps=self.num_world_steps)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns up to and including the last question."""
        return self.turns[:-1] if self.turns[-1].role == "assistant" else self.turns

    @property
    def answer(self) -> str | None:
        """The last answer, or None when the sample ends with a question."""
        return self.turns[-1].text if self.turns[-1].role == "assistant" else None


def shape_of_clips(*num_frames: int, num_world_steps: int | None = None) -> Hashable:
    """Return `Sample.shape` of a sample by the lengths of its clips, of which a picture is one of 1 frame."""
    return tuple(sorted(num_frames)), num_world_steps


def question(id: str, images: Sequence["ImageLike"], text: str, answer: str | None = None, **rest: Any) -> Sample:
    """Make a sample of one question and, if known, its answer."""
    turns = (Turn("user", text),) if answer is None else (Turn("user", text), Turn("assistant", answer))
    return Sample(id=id, turns=turns, images=tuple(images), **rest)


@runtime_checkable
class Samples(Protocol):
    """A map-style data set, or a list, of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class KnowsShapes(Protocol):
    """A data set that knows the shape of a sample without reading it; samples of all others have one shape."""

    def shape_of(self, index: int) -> Hashable: ...


@runtime_checkable
class KnowsLengths(Protocol):
    """A data set that knows the length of a sample without reading it."""

    def text_length_of(self, index: int) -> int:
        """Characters of its turns."""
        ...

    def num_images_of(self, index: int) -> int:
        """Number of its pictures."""
        ...


Position: TypeAlias = Mapping[str, int]
"""Position in a part of a stream; survives JSON unchanged."""


@dataclass(frozen=True)
class Drawn:
    """A sample or an error from a stream."""

    record: str
    """Name of the record in the data set."""
    outcome: Sample | RecordError
    """Its sample, or the error that explains its absence."""
    position: Position
    """Position after it."""
    num_absent: int = 0
    """Number of records that this error covers, if a list names them as lost before reading; else 0."""


@runtime_checkable
class SampleStream(Protocol):
    """A data set without indices."""

    num_shards: int
    """Maximum number of parallel parts."""

    def read(self, seed: int, part: int, num_parts: int, position: Position | None = None) -> Iterator[Drawn]:
        """Read one of several parts, epoch after epoch without end, each in a new order.

        Args:
            seed: seed of the orders.
            part: number of the part, from 0.
            num_parts: number of parts, which together give every record once an epoch; at most `num_shards`.
            position: `Drawn.position` of the last sample used, to continue after it; None: the beginning.
        """
        ...
