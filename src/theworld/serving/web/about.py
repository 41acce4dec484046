"""Description of the loaded model for the page: audit verdict, number of steps ahead, and limits."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from theworld.config.serving import AppSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight import TASKS
from theworld.datasets.foresight.items import NUM_SHIPPED
from theworld.evaluation.audit import Audit
from theworld.modeling import TheWorld
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import describe_weights, scope_of
from theworld.serving.refusals import RequestError

_AUDIT = TypeAdapter(Audit).validate_python


@dataclass(frozen=True)
class AuditVerdict:
    """Verdict of an audit in words."""

    finding: str
    """`world used`, `world not used`, `undecided`, `not audited`, or `no world`."""
    sentence: str
    command: str | None = None
    """Command that audits the model; None: the model has a verdict."""
    details: str = ""
    """Differences, intervals and tests behind the verdict."""


def verdict_of(model: TheWorld, name: str, audit_file: Path | None = None) -> AuditVerdict:
    """Return the verdict of a model's audit.

    Args:
        model: the model.
        name: folder or hub id that the model was loaded from.
        audit_file: the audit; None: audit.json, or audit/audit.json, in the model's folder or beside it.

    Raises:
        ValueError: for an `audit_file` that is not an audit, or an audit of other weights.
        OSError: for an `audit_file` that cannot be read.
    """
    if not model.config.enable_world:
        return AuditVerdict("no world", "This is Gemma 3 alone: there is no world to use.")
    if audit_file is not None:
        return _in_words(_read(audit_file, model))
    for path in _candidates(Path(str(model.config.name_or_path))):
        try:
            return _in_words(_read(path, model))
        except ValueError:  # an audit of an earlier model, or another file
            continue
    return AuditVerdict(
        "not audited",
        "No audit has measured if this model uses its world: a better answer can come from the extra tokens alone.",
        f"theworld audit {name}",
    )


def _candidates(folder: Path) -> list[Path]:
    places = [base / part for base in (folder, folder.parent) for part in ("audit.json", "audit/audit.json")]
    return [path for path in places if folder.is_dir() and path.is_file()]


def _read(path: Path, model: TheWorld) -> Audit:
    try:
        content = json.loads(path.read_text())
        audit = _AUDIT(content)
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{path}: not an audit; expected the audit.json that `theworld audit` writes") from error
    audited, loaded = content.get("checkpoint"), describe_weights(model)
    if audited != loaded:
        raise ValueError(
            f"{path}: an audit of {audited or 'an unnamed model'}, the loaded one is {loaded}: audit this one"
        )
    return audit


def _in_words(audit: Audit) -> AuditVerdict:
    finding = "undecided" if audit.verdict == "undecided" else f"world {audit.verdict}"
    return AuditVerdict(finding, audit.sentence, details=f"{audit.line[0].upper()}{audit.line[1:]}.")


_TAPS = {
    "rollout": "one imagined future, as latents",
    "dit": "states of the denoiser",
    "vae": "the latent of the given frames, no future",
    "siglip": "SigLIP's patches, no world",
    "v-jepa2": "patches of V-JEPA 2, seen and predicted",
    "noise": "a control: noise",
    "zero": "a control: zeros",
    "random": "a control: an untrained world model",
}


@dataclass(frozen=True)
class Steps:
    """Smallest, largest and default number of latent slots ahead, and the longest clip of the loaded model."""

    least: int
    most: int
    usual: int
    most_frames: int

    @classmethod
    def of(cls, config: WorldFields, settings: AppSettings) -> "Steps":
        """Return the limits that the model's configuration and the settings allow."""
        usual = config.num_world_steps
        if not config.enable_world:
            return cls(0, 0, 0, 1)
        if config.world_fusion == "residual":  # built for one number of slots
            return cls(usual, usual, usual, 1 + TEMPORAL_STRIDE * config.num_past_steps)
        world = config.world_settings()
        looks_ahead = world.imagines and not (world.shape_of == "dit" and world.dit_future == "none")
        most = min(settings.max_world_steps, config.max_world_steps) if looks_ahead else 0
        frames = min(settings.max_clip_frames, 1 + TEMPORAL_STRIDE * config.max_past_steps)
        return cls(0, most, min(usual, most), frames)

    def check(self, num_world_steps: int) -> None:
        """Refuse an unsupported number of slots.

        Raises:
            RequestError: for a number out of range.
        """
        if not self.least <= num_world_steps <= self.most:
            raise RequestError(f"{num_world_steps} steps ahead: expected {self.least} to {self.most}")


def about(model: TheWorld, settings: AppSettings, verdict: AuditVerdict, steps: Steps) -> dict[str, Any]:
    """Return the whole description, ready for JSON."""
    config = model.config
    vision: Any = config.vision_config
    gate = getattr(getattr(model, "world", None), "gate", None)
    return {
        "model": settings.model,
        "scope": scope_of(config, settings.model),
        "has_world": config.enable_world,
        "verdict": asdict(verdict),
        "steps": asdict(steps),
        "seconds_per_step": TEMPORAL_STRIDE / config.frame_rate_hz,
        "tap": config.world_tap,
        "tap_reads": _TAPS.get(config.world_tap, "a custom tap"),
        "fusion": config.world_fusion,
        "gate": None if gate is None else float(gate),
        "base": config.base_model_name,
        "cosmos": config.cosmos_model_name,
        "image_px": vision.image_size,
        "world_px": config.world_image_size,
        "max_question_characters": settings.max_question_characters,
        "max_bytes": settings.max_request_bytes,
        "tasks": list(TASKS),
        "num_scenes": NUM_SHIPPED["test"],
    }
