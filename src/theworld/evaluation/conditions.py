"""Respondents: who answers in each arm: the checkpoint, what is left of it without something, and Gemma alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from theworld.config import ArmName
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.generation import FeatureReader
from theworld.modeling import TheWorld
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.factory import on_this_machine
from theworld.precision import loading_dtype, name_of
from theworld.world.cached import open_stored
from theworld.world.factory import open_tap
from theworld.world.store import stored_fingerprint
from theworld.world.tap import WorldTap, clip_seeds

READS_WORLD: Final[frozenset[ArmName]] = frozenset({"world", "random-projection", "random-world"})
"""Arms that are given world features."""

_SEED: Final = 0
"""Of random weights."""


@dataclass(frozen=True)
class Respondent:
    """A model, and where its world features come from."""

    model: TheWorld
    read_features: FeatureReader | None = None
    """None: the model's own world, or none."""
    tap_fingerprint: str | None = None
    """Of the tap that is read; None: the one that the model was trained on, or none."""


def answering_formats(saved: TheWorldConfig, dtype: str, store_dir: Path | None) -> dict[str, str]:
    """The number formats in which a saved TheWorld answers here: of its weights, and of its world.

    Args:
        saved: its configuration.
        dtype: that was asked for; auto: as saved, or float32 where that is emulated.
        store_dir: folder of a feature store; one that was filled in the world's saved format is read in it.
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
    checkpoint: Path, arm: ArmName, saved: TheWorldConfig, formats: dict[str, str], store_dir: Path | None = None
) -> Respondent:
    """Load who answers in an arm that is a model.

    Args:
        checkpoint: folder of a saved TheWorld.
        saved: its configuration.
        store_dir: folder of a feature store, for arms that read the checkpoint's own tap.
        formats: as `answering_formats` gives them; the same for all arms, or they could not be compared.

    Raises:
        ValueError: for an arm that needs the world of a checkpoint without one, or random weights of its tap where
            there are none.
    """
    options = on_this_machine(formats["weights"])
    if arm == "gemma":
        base, revision = saved.base_model_name, saved.base_revision
        return Respondent(TheWorld.from_pretrained(base, revision=revision, enable_world=False, **options))
    if arm not in READS_WORLD:
        return Respondent(TheWorld.from_pretrained(checkpoint, enable_world=False, **options))
    if not saved.enable_world:
        raise ValueError(f"{checkpoint} was trained without a world: its arm is 'no-world-tokens', not {arm!r}")
    options["world_dtype"] = formats["world"]
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


def _untrained(saved: TheWorldConfig, device: torch.device) -> WorldTap:
    """The checkpoint's tap with weights that have learnt nothing."""
    settings = saved.world_settings()
    try:
        return open_tap(replace(settings, tap="random", control_of=settings.tap), device)
    except ValueError as error:
        raise ValueError(f"no random weights for the tap {settings.tap!r}: {error}") from error


def blind(samples: Samples) -> list[Sample]:
    """The same questions without their pictures: what the wording alone gives away."""
    return [replace(samples[index], images=(), clips=None, future=None) for index in range(len(samples))]


def frequent_answers(samples: Sequence[Sample], read: Callable[[Sample], str]) -> list[str]:
    """For each sample the text of the most frequent true answer among those of its kind.

    Args:
        samples: with answers.
        read: what an answer says, so that "Yes, it is" and "Indeed" count as one.

    Raises:
        ValueError: for a sample whose answer is withheld.
    """
    said: dict[str, dict[str, list[str]]] = {}
    kinds = [" ".join(str(sample.fields.get(name)) for name in ("task", "category", "kind")) for sample in samples]
    for sample, kind in zip(samples, kinds, strict=True):
        if sample.answer is None:
            raise ValueError(f"sample {sample.id!r}: its answer is withheld, so none is known to be frequent")
        said.setdefault(kind, {}).setdefault(read(sample), []).append(sample.answer)
    most = {kind: max(groups.values(), key=len)[0] for kind, groups in said.items()}
    return [most[kind] for kind in kinds]
