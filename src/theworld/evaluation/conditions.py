"""Arms of an evaluation: the checkpoint, the checkpoint without a part, and Gemma alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from theworld.config import ArmName
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.generation import FeatureReader
from theworld.evaluation.question_kinds import question_kinds
from theworld.modeling import TheWorld
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import on_this_machine
from theworld.precision import loading_dtype, name_of
from theworld.world.cached import open_stored
from theworld.world.factory import open_tap
from theworld.world.store import stored_fingerprint
from theworld.world.tap import WorldTap, clip_seeds

READS_WORLD: Final[frozenset[ArmName]] = frozenset({"world", "auto", "random-projection", "random-world"})
"""Arms that get world features."""

_SEED: Final = 0
"""Seed of random weights."""


@dataclass(frozen=True)
class Respondent:
    """A model and the source of its world features."""

    model: TheWorld
    read_features: FeatureReader | None = None
    """Returns world features; None: the model's own world, or no world."""
    tap_fingerprint: str | None = None
    """Fingerprint of the tap; None: the tap that the model was trained with, or no tap."""


def answering_formats(saved: WorldFields, dtype: str, store_dir: Path | None) -> dict[str, str]:
    """Return the number formats of a saved TheWorld on this machine: of its weights and of its world.

    Args:
        saved: its configuration.
        dtype: requested format; auto: as saved, or float32 if this machine emulates the saved one.
        store_dir: folder of a feature store; if it was filled in the world's saved format, that format is used.
    """
    weights = loading_dtype(dtype, saved.dtype)
    if weights == "auto" and saved.dtype is not None:
        weights = name_of(saved.dtype)
    if not saved.enable_world:
        return {"weights": weights}
    has_store = store_dir is not None and (store_dir / "store.json").exists()
    if store_dir is not None and has_store and stored_fingerprint(store_dir) == saved.world_fingerprint:
        return {"weights": weights, "world": saved.world_dtype}
    world = loading_dtype(None, saved.world_dtype, "world_dtype")
    return {"weights": weights, "world": saved.world_dtype if world == "auto" else world}


def open_respondent(
    checkpoint: str | Path, arm: ArmName, saved: WorldFields, formats: dict[str, str], store_dir: Path | None = None
) -> Respondent:
    """Load the model of an arm.

    Args:
        checkpoint: folder or hub id of a saved TheWorld, or of a Gemma 3.
        saved: its configuration; its K is at least every K to ask for.
        formats: see `answering_formats`; the same for all arms, so that they can be compared.
        store_dir: folder of a feature store, for arms that read the checkpoint's own tap.

    Raises:
        ValueError: for an arm that needs a world if the checkpoint has none, or random weights if its tap has no
            weights.
    """
    options = on_this_machine(formats["weights"])
    if arm == "gemma":
        base, revision = saved.base_model_name, saved.base_revision
        return Respondent(TheWorld.from_pretrained(base, revision=revision, enable_world=False, **options))
    if arm not in READS_WORLD:
        return Respondent(TheWorld.from_pretrained(checkpoint, enable_world=False, **options))
    if not saved.enable_world:
        raise ValueError(f"{checkpoint} was trained without a world: its arm is 'no-world-tokens', not {arm!r}")
    options |= {"world_dtype": formats["world"]}
    options |= {name: getattr(saved, name) for name in ("num_world_steps", "num_inference_steps")}
    model = TheWorld.from_pretrained(checkpoint, load_world=arm != "random-world", **options)
    if arm == "random-world":
        tap = _untrained(model.config, model.device)
        settings = tap.settings
        return Respondent(
            model, lambda frames, steps: tap.read(frames, steps, clip_seeds(frames, settings.seed)), tap.fingerprint
        )
    if arm == "random-projection":
        model.redraw_projector(_SEED)
    return Respondent(model, None if store_dir is None else open_stored(model.tap, store_dir).read)


def _untrained(saved: WorldFields, device: torch.device) -> WorldTap:
    """Open the checkpoint's tap with random weights."""
    settings = saved.world_settings()
    try:
        return open_tap(replace(settings, tap="random", control_of=settings.tap), device)
    except ValueError as error:
        raise ValueError(f"no random weights for the tap {settings.tap!r}: {error}") from error


def blind(samples: Samples) -> list[Sample]:
    """Remove pictures and clips, so that only the wording of a question can give its answer away."""
    return [replace(samples[index], images=(), clips=None, future=None) for index in range(len(samples))]


def frequent_answers(samples: Sequence[Sample], read: Callable[[Sample], str]) -> list[str]:
    """Return for each sample the most frequent true answer among the samples of its kind: see `question_kinds`.

    Args:
        samples: with answers.
        read: normalises the answer of a sample, so that "Yes, it is" and "Indeed" count as one.

    Raises:
        ValueError: for a sample whose answer is withheld.
    """
    answers: dict[str, dict[str, list[str]]] = {}
    kinds = question_kinds(samples)
    for sample, kind in zip(samples, kinds, strict=True):
        if sample.answer is None:
            raise ValueError(f"sample {sample.id!r}: its answer is withheld, so none is known to be frequent")
        answers.setdefault(kind, {}).setdefault(read(sample), []).append(sample.answer)
    most = {kind: max(groups.values(), key=len)[0] for kind, groups in answers.items()}
    return [most[kind] for kind in kinds]
