"""The fused model, its configuration and its processor."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.loading import CheckpointError
from theworld.modeling.model import TheWorld
from theworld.modeling.processor import TheWorldProcessor

# Importing this package lets transformers' Auto classes open a saved TheWorld.
AutoConfig.register(TheWorldConfig.model_type, TheWorldConfig)
AutoProcessor.register(TheWorldConfig, TheWorldProcessor)
AutoModelForImageTextToText.register(TheWorldConfig, TheWorld)

__all__ = ["CheckpointError", "TheWorld", "TheWorldConfig", "TheWorldProcessor"]
