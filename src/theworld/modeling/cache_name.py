"""Name of the models' input for cached keys and values; separate, as the one place that asks for transformers' version.

transformers 5.24 renames `past_key_values` to `cache` in each forward and in `generate`.
"""

from inspect import signature
from typing import Any, Final

from transformers import Gemma3ForConditionalGeneration

NAMES: Final = ("cache", "past_key_values")
CACHE: Final = next(name for name in NAMES if name in signature(Gemma3ForConditionalGeneration.forward).parameters)
"""The name in the installed version."""


def take_cache(inputs: dict[str, Any]) -> Any:
    """Remove the cache from inputs under either name, and return it; None: there is none."""
    given = [inputs.pop(name, None) for name in NAMES]
    return next((cache for cache in given if cache is not None), None)
