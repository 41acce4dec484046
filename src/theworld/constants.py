"""Token ids, default model ids and strides of the real models; separate because importing them costs nothing."""

import re
from typing import Final

# Gemma 3's tokenizer holds 262,145 tokens, its embedding 262,208 rows: the three tokens that TheWorld appends
# land in rows that already exist, so nothing is ever resized.
PAD_TOKEN_ID: Final = 0
EOS_TOKEN_ID: Final = 1
BOS_TOKEN_ID: Final = 2
IMAGE_SOFT_TOKEN_ID: Final = 262144
SOW_TOKEN_ID: Final = 262145
EOW_TOKEN_ID: Final = 262146
WORLD_SOFT_TOKEN_ID: Final = 262147

CUSTOM_TOKEN_SOW: Final = "<start_of_world>"
CUSTOM_TOKEN_EOW: Final = "<end_of_world>"
WORLD_SOFT_TOKEN: Final = "<world_soft_token>"
WORLD_TOKENS: Final = (CUSTOM_TOKEN_SOW, CUSTOM_TOKEN_EOW, WORLD_SOFT_TOKEN)

DEFAULT_GEMMA_MODEL: Final = "google/gemma-3-4b-it"
DEFAULT_COSMOS_MODEL: Final = "nvidia/Cosmos-Predict2-2B-Video2World"
TINY_MODEL: Final = "tiny"
"""The embedded Gemma 3 and Cosmos-Predict2, with an untrained projector."""
TINY_FUSED_MODEL: Final = "tiny-foresight"
"""The embedded TheWorld: the same, with a projector aligned on Foresight."""

IGNORE_INDEX: Final = -100
"""Label of every position that is not supervised."""

TEMPORAL_STRIDE: Final = 4
"""Pixel frames per latent slot of the Wan VAE, after the first frame: 1 + 4k frames give 1 + k slots."""

TOKEN: Final = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
"""Pattern of the hub's tokens; settings, logs and files may contain none."""
