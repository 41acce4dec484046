"""OwnTap and register_tap: your own taps, under a name in settings, checkpoints and feature stores."""

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
    """A tap of your own, which reads another world model than Cosmos; register it with `register_tap`.

    Subclasses implement `__init__(settings, device)`, which loads the model, and `_read`, as every tap does. The class
    methods run before anything is loaded.
    """

    fingerprint_fields = tuple(name for name, stored in STORED.items() if not stored.is_location and name != "pool")
    """All settings but locations and `pool`, which needs a built-in tap: a tap may read any of them."""

    imagines: ClassVar[bool] = False
    """True if it can serve slots after the current one (K > 0)."""

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings)
        self.device = torch.device(device)

    @classmethod
    @abstractmethod
    def shape(cls, settings: WorldSettings) -> FeatureShape:
        """Return the channels and the stride of its features; the frame's side is a multiple of the stride."""

    @classmethod
    @abstractmethod
    def identity(cls, settings: WorldSettings) -> dict[str, Any]:
        """Return JSON-like values that identify everything else that a feature depends on, besides clip and settings.

        For example: the weights (`theworld.io.fingerprint_weights`), their configuration, a version of your code.
        """


_Own = TypeVar("_Own", bound=type[OwnTap])
_CLASSES: dict[str, type[OwnTap]] = {}


def register_tap(name: str) -> Callable[[_Own], _Own]:
    """Decorate a subclass of OwnTap, to use it by this name in settings and checkpoints.

    If you register the same class again (you reload its module, you run a cell twice), it replaces the first.

    Raises:
        ValueError: for the name of a built-in tap or of another class.
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
    """Return the registered class of these settings; None for a built-in tap."""
    return _CLASSES.get(settings.tap)
