"""The fused model: its configuration, its processor, and itself."""

from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.loading import CheckpointError
from theworld.modeling.model import TheWorld
from theworld.modeling.processor import TheWorldProcessor

__all__ = ["CheckpointError", "TheWorld", "TheWorldConfig", "TheWorldProcessor"]
