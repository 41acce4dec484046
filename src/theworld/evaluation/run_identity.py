"""Identity of the runs of an evaluation: the files of each arm, and hashes of the settings that answers depend on."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from theworld.config import ArmName, EvaluationConfig
from theworld.config.base import Variants
from theworld.config.renamed import former_word
from theworld.evaluation.conditions import READS_WORLD
from theworld.evaluation.predictions import RunIdentity
from theworld.io import fingerprint
from theworld.modeling import TheWorld
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import describe_weights
from theworld.precision import name_of

LIBRARIES = ("torch", "transformers", "diffusers", "theworld")


def names_of(config: EvaluationConfig, arm: ArmName, saved: WorldFields) -> list[tuple[str, int]]:
    """Return the files of predictions of an arm, without suffix, and the K of each."""
    if arm not in READS_WORLD:
        return [(arm, 0)]
    steps = config.num_world_steps or (saved.num_world_steps,)
    return [(f"{arm}-K{number}" if len(steps) > 1 else arm, number) for number in steps]


def hash_of(config: EvaluationConfig, arm: ArmName, steps: int) -> str:
    """Return the hash of the settings that the predictions of an arm depend on."""
    if arm == "majority":
        return settings_hash([config.data, arm])
    return settings_hash(settings_of(config, arm, steps))


def settings_of(config: EvaluationConfig, arm: ArmName, steps: int) -> list[Any]:
    """Return the settings that predictions of an arm depend on; those of later versions only where they change them."""
    more: dict[str, Any] = {}
    if config.num_inference_steps is not None and arm in READS_WORLD:
        more["num_inference_steps"] = config.num_inference_steps
    if config.num_futures > 1 and arm == "world":
        more["num_futures"] = config.num_futures
    if arm == "auto":
        more["auto_threshold"] = config.auto_threshold
    changed = [more] if more else []
    return [config.data, config.max_new_tokens, former_word("answers", config.answers), arm, steps, *changed]


def identify(model: TheWorld, settings: Any) -> RunIdentity:
    """Return the identity of a run: the model, its world, and other settings."""
    config = model.config
    return RunIdentity(
        settings_hash=settings_hash(settings),
        checkpoint=describe_weights(model),
        tap_fingerprint=config.world_fingerprint if config.enable_world else None,
        dtype=name_of(config.dtype or model.dtype),  # of the base model: its trained parts may be float32
        versions=library_versions(),
    )


def settings_hash(settings: Sequence[Any]) -> str:
    """Return the hash of settings."""
    parts = [_as_hashed(part) if isinstance(part, Variants) else part for part in settings]
    return fingerprint(TypeAdapter(Any).dump_python(parts, mode="json"))


def _as_hashed(settings: Variants) -> dict[str, Any]:
    """Return settings as earlier versions had them: predictions made with those continue."""
    fields = settings.with_idle()
    return {**fields, "questions": former_word("questions", fields["questions"])} if "questions" in fields else fields


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that answers depend on."""
    return {name: version(name) for name in LIBRARIES}
