"""The fused model, its configuration and its processor."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from theworld.modeling.configuration import TheWorldConfig, TheWorldGemma4Config, TheWorldQwen3VLConfig
from theworld.modeling.loading import CheckpointError
from theworld.modeling.model import TheWorld, TheWorldGemma3, TheWorldGemma4, TheWorldQwen3VL
from theworld.modeling.processor import TheWorldGemma4Processor, TheWorldProcessor, TheWorldQwen3VLProcessor

# Importing this package lets transformers' Auto classes open a saved TheWorld.
for _config, _processor, _model in (
    (TheWorldConfig, TheWorldProcessor, TheWorldGemma3),
    (TheWorldGemma4Config, TheWorldGemma4Processor, TheWorldGemma4),
    (TheWorldQwen3VLConfig, TheWorldQwen3VLProcessor, TheWorldQwen3VL),
):
    AutoConfig.register(_config.model_type, _config)
    AutoProcessor.register(_config, _processor)
    AutoModelForImageTextToText.register(_config, _model)

__all__ = ["CheckpointError", "TheWorld", "TheWorldConfig", "TheWorldProcessor"]
