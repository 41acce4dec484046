"""Verdict: what the audit of the loaded model says about whether it uses its world, or that there was none."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from theworld.evaluation.audit import Audit
from theworld.modeling.factory import describe_weights

_AUDIT = TypeAdapter(Audit).validate_python


@dataclass(frozen=True)
class AuditVerdict:
    """What is said of a model under its name."""

    finding: str
    """`world used`, `world not used`, `undecided`, `not audited`, or `no world`."""
    sentence: str
    command: str | None = None
    """What would find it out, if it is not known."""


def verdict_of(model: Any, name: str, given: Path | None = None) -> AuditVerdict:
    """The verdict of a model's audit.

    Args:
        model: a TheWorld.
        name: as it was loaded by.
        given: the audit's file; None: audit.json, or audit/audit.json, in the model's folder or beside it.

    Raises:
        ValueError: for a file that is given and is no audit, or one of other weights.
        OSError: if it cannot be read.
    """
    if not model.config.enable_world:
        return AuditVerdict("no world", "This is Gemma 3 alone: there is no world to use.")
    if given is not None:
        return _told(_read(given, model))
    for path in _beside(Path(str(model.config.name_or_path))):
        try:
            return _told(_read(path, model))
        except ValueError:  # of an earlier model, or no audit at all: it says nothing about this one
            continue
    return AuditVerdict(
        "not audited",
        "Nobody has measured whether this model uses its world: a better answer may come from the extra tokens alone.",
        f"theworld audit {name}",
    )


def _beside(folder: Path) -> list[Path]:
    places = [base / part for base in (folder, folder.parent) for part in ("audit.json", "audit/audit.json")]
    return [path for path in places if folder.is_dir() and path.is_file()]


def _read(path: Path, model: Any) -> Audit:
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


def _told(audit: Audit) -> AuditVerdict:
    finding = "undecided" if audit.verdict == "undecided" else f"world {audit.verdict}"
    return AuditVerdict(finding, f"{audit.line[0].upper()}{audit.line[1:]}.")
