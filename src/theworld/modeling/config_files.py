"""Check config.json of bases and of saved models before anything is built from it."""

import json
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from theworld.hub import again
from theworld.io import unique_names
from theworld.modeling.bases import base_of
from theworld.modeling.freezing import PARTS

logger = logging.getLogger(__name__)

CONFIG_NAME: Final = "config.json"
_MOST_BYTES: Final = 10_000_000
_DTYPES: Final = ("float32", "bfloat16", "float16")

_SMALL: Final = ("initializer_range", "rms_norm_eps", "layer_norm_eps")
"""Numbers that transformers does not check before it computes with them."""
_MAY_DIFFER: Final = frozenset(
    {"dtype", "torch_dtype", "use_cache", "transformers_version", "_name_or_path", "attention_dropout", "architectures"}
)
"""Fields of its two parts that change no answer of equal weights."""


class CheckpointError(ValueError):
    """A checkpoint that does not fit: a missing or unexpected tensor, another base, another tap."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: for a file that is missing, too large, damaged or no object, by its name.
    """
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise CheckpointError(f"{path}: {size:,} bytes, expected at most {_MOST_BYTES:,}; {again(path.parent)}")
        values = json.loads(path.read_bytes(), parse_constant=_refuse_constant, object_pairs_hook=unique_names)
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be read ({reason}); {again(path.parent)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds {_short(values)}, expected a JSON object; {again(path.parent)}")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_config(path: Path, raw: Mapping[str, Any]) -> None:
    """Check the fields that decide the structure of a base or a saved TheWorld.

    Args:
        path: named in errors.
        raw: content of its config.json; `model_type` is known to fit.

    Raises:
        CheckpointError: with the field, its value and the expected one.
    """
    base = base_of(raw["model_type"])
    assert base is not None
    architectures = raw.get("architectures") or [base.architecture]
    is_known = isinstance(architectures, list) and base.architecture in architectures
    if raw["model_type"] == base.kind and not is_known:
        raise CheckpointError(f"{path}: architectures={_short(architectures)}: expected [{base.architecture!r}]")
    if raw.get("quantization_config") is not None:
        raise CheckpointError(
            f"{path}: quantization_config: weights that are saved quantized are not read; take the model that they were"
            " made from, and give quantization_config= to from_pretrained"
        )
    for name, kind in base.parts.items():
        inner = raw.get(name)
        if not isinstance(inner, dict):
            raise CheckpointError(f"{path}: {name}={_short(inner)}: expected an object")
        if inner.get("model_type", kind) not in (kind, base.former_parts.get(name, kind)):
            raise CheckpointError(f"{path}: {name}.model_type={_short(inner['model_type'])}: expected {kind!r}")
    for name, bounds in base.bounds.items():
        inner, prefix = (raw[name], f"{name}.") if name else (raw, "")
        for key in ("dtype", "torch_dtype"):
            if (dtype := inner.get(key)) is not None and dtype not in _DTYPES:
                raise CheckpointError(f"{path}: {prefix}{key}={_short(dtype)}: expected one of {', '.join(_DTYPES)}")
        for key, (least, most) in bounds.items():
            value = inner.get(key, least)
            if type(value) is not int or not least <= value <= most:
                raise CheckpointError(
                    f"{path}: {prefix}{key}={_short(value)}: expected a whole number of {least} to {most}"
                )
        for key in _SMALL:
            value = inner.get(key, 0.0)
            if isinstance(value, int | float) and not 0 <= value <= 1:  # other types are refused by name
                raise CheckpointError(f"{path}: {prefix}{key}={_short(value)}: expected 0 to 1")
    if "mm_tokens_per_image" in base.meaning:
        _check_image_tokens(path, raw)


def check_parts(path: Path, raw: Mapping[str, Any]) -> list[str]:
    """Return the parts in a checkpoint.

    Raises:
        CheckpointError: for anything but known parts.
    """
    parts = raw.get("trained_parts")
    if not isinstance(parts, list) or not all(isinstance(part, str) and part in PARTS for part in parts):
        raise CheckpointError(f"{path}: trained_parts={_short(parts)}: expected some of {', '.join(PARTS)}")
    return parts


def _check_image_tokens(path: Path, raw: Mapping[str, Any]) -> None:
    """Check the grid of image tokens, a pooled grid of patches; absent fields have the values of Gemma 3."""
    vision, tokens = raw["vision_config"], raw.get("mm_tokens_per_image", 256)
    image, patch = vision.get("image_size", 896), vision.get("patch_size", 14)
    side = round(tokens**0.5)
    if side**2 != tokens or side > image // patch:
        raise CheckpointError(
            f"{path}: mm_tokens_per_image={tokens} with vision_config.image_size={image} and patch_size={patch}:"
            f" expected the square of a number up to {image // patch}"
        )


def check_same_base(place: str, config: Mapping[str, Any], base: Mapping[str, Any], base_name: str) -> None:
    """Check that a model's configuration is that of its base: a checkpoint holds weights, and no other base.

    Args:
        place: named in errors.
        config: of the model, with every default.
        base: of its base, with every default.
        base_name: named in errors.

    Raises:
        CheckpointError: with the field and both values.
    """
    known = base_of(base["model_type"])
    assert known is not None
    for name in ("", *known.parts):
        inner, of_base = (config[name], base[name]) if name else (config, base)
        for key in of_base.keys() - _MAY_DIFFER if name else known.meaning:
            if inner.get(key, of_base.get(key)) != of_base.get(key):
                field = f"{name}.{key}" if name else key
                raise CheckpointError(
                    f"{place}: {field}={_short(inner[key])}, but its base {base_name} has {_short(of_base.get(key))};"
                    " put that back"
                )


_WRITTEN_IN_TRAINING: Final = frozenset({"use_cache"})
"""Keys that transformers' Trainer leaves in a configuration."""


def warn_of_unknown(path: Path, raw: Mapping[str, Any], known: set[str]) -> None:
    """Name the keys of a saved model that nothing reads; a newer version may have written them."""
    if unknown := sorted(map(str, raw.keys() - known - _WRITTEN_IN_TRAINING)):
        close = {name: get_close_matches(name, known, n=1, cutoff=0.8) for name in unknown[:5]}
        shown = ", ".join(name + (f" (did you mean {close[name][0]}?)" if close[name] else "") for name in close)
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        logger.warning("%s: unknown keys, which change nothing: %s%s", path, shown, more)
