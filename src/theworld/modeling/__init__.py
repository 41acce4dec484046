"""The fused model: its configuration, its processor, and itself."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.loading import CheckpointError
from theworld.modeling.model import TheWorld
from theworld.modeling.processor import TheWorldProcessor

# transformers' Auto classes open a saved TheWorld once this package is imported.
AutoConfig.register(TheWorldConfig.model_type, TheWorldConfig)
AutoProcessor.register(TheWorldConfig, TheWorldProcessor)
AutoModelForImageTextToText.register(TheWorldConfig, TheWorld)

__all__ = ["CheckpointError", "TheWorld", "TheWorldConfig", "TheWorldProcessor"]
