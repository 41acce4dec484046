"""The fused model, its configuration and its processor."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from theworld.modeling.configuration import TheWorldConfig, TheWorldGemma4Config
from theworld.modeling.loading import CheckpointError
from theworld.modeling.model import TheWorld, TheWorldGemma3, TheWorldGemma4
from theworld.modeling.processor import TheWorldGemma4Processor, TheWorldProcessor

# Importing this package lets transformers' Auto classes open a saved TheWorld.
for _config, _processor, _model in (
    (TheWorldConfig, TheWorldProcessor, TheWorldGemma3),
    (TheWorldGemma4Config, TheWorldGemma4Processor, TheWorldGemma4),
):
    AutoConfig.register(_config.model_type, _config)
    AutoProcessor.register(_config, _processor)
    AutoModelForImageTextToText.register(_config, _model)

__all__ = ["CheckpointError", "TheWorld", "TheWorldConfig", "TheWorldProcessor"]
