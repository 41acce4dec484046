"""Taps of one's own: what a class says of itself so that settings, checkpoints and feature stores can name it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch

from theworld.config import WorldSettings
from theworld.config.world import BUILT_IN_TAPS, OWN_TAPS, STORED
from theworld.world.tap import WorldTap


class FeatureShape(NamedTuple):
    """Channels of a feature and pixels of the frame per cell of its grid."""

    num_channels: int
    stride_px: int


class OwnTap(WorldTap):
    """A tap that reads another world model than Cosmos; registered under a name by `register_tap`.

    Subclasses implement `__init__(settings, device)`, which loads, and `_read`, as every tap does. What the class says
    of itself is asked before anything is loaded.
    """

    fingerprint_fields = tuple(name for name, stored in STORED.items() if not stored.is_location)
    """All that do not say where something is: any of them may play a part."""

    imagines: ClassVar[bool] = False
    """Whether it can serve slots after the current one (K > 0)."""

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings)
        self.device = torch.device(device)

    @classmethod
    @abstractmethod
    def shape(cls, settings: WorldSettings) -> FeatureShape:
        """Channels and stride of its features; the frame's side is a multiple of the stride."""

    @classmethod
    @abstractmethod
    def identity(cls, settings: WorldSettings) -> dict[str, Any]:
        """JSON-like values that stand for all that a feature depends on besides the clip and the settings: the weights
        (`theworld.io.fingerprint_weights`), their configuration, a version of the reading itself."""


_Own = TypeVar("_Own", bound=type[OwnTap])
_CLASSES: dict[str, type[OwnTap]] = {}


def register_tap(name: str) -> Callable[[_Own], _Own]:
    """Decorate a subclass of OwnTap: from then on settings and checkpoints may name it.

    Registering the same class again (a module that is reloaded, a cell that is run twice) replaces it.

    Raises:
        ValueError: for the name of a built-in tap or one that another class has.
    """

    def register(cls: _Own) -> _Own:
        if name in BUILT_IN_TAPS:
            raise ValueError(f"{name!r} is a built-in tap: choose another name")
        other = _CLASSES.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{name!r} is already the name of {other.__module__}.{other.__qualname__}: choose another")
        _CLASSES[name] = cls
        OWN_TAPS[name] = cls.imagines
        return cls

    return register


def own_tap(settings: WorldSettings) -> type[OwnTap] | None:
    """The registered class that these settings name; None for a built-in tap."""
    return _CLASSES.get(settings.tap)
