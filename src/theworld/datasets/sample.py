"""Sample and Turn: the one form in which every data set, public or our own, reaches training and evaluation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from theworld.datasets.images import ImageError

    ImageLike: TypeAlias = "Image.Image | np.ndarray | torch.Tensor | str | Path | bytes | ImageError"
    """A picture: PIL, uint8 array (H, W, 3), tensor (3, H, W) (uint8, or float in [0, 1]), a path, or the bytes of a
    file; an ImageError in the place of one that could not be made, which is raised when it is looked at."""

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

    The pictures stand before the text of the first turn. The world model sees `clips`, in image order; without
    them it sees every picture as a clip of one frame. `future` holds what really happened after each clip: the
    upper-bound arm `true-future` reads it, and nothing else may.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple["ImageLike", ...] = ()
    clips: "tuple[Clip, ...] | None" = None
    future: "tuple[Clip, ...] | None" = None
    num_world_steps: int | None = None
    """How far its question looks ahead, latent slots; a model looks no further. None: as far as the model does."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Whatever a table may group by (task, split, choices): carried into the predictions."""

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
        """What samples of one batch must share: the length of their clips, and how far they look ahead."""
        lengths = {1} if self.clips is None else {len(clip) for clip in self.clips}
        return tuple(sorted(lengths)), self.num_world_steps

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns up to and including the last question."""
        return self.turns[:-1] if self.turns[-1].role == "assistant" else self.turns

    @property
    def answer(self) -> str | None:
        """The last answer, or None when the sample ends with a question."""
        return self.turns[-1].text if self.turns[-1].role == "assistant" else None


def question(id: str, images: Sequence["ImageLike"], text: str, answer: str | None = None, **rest: Any) -> Sample:
    """A sample of one question and, if known, its answer."""
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
