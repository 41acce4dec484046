"""Reads and checks the folder of a run: results, predictions, curves, items, environment and settings."""

import base64
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError
from pydantic import TypeAdapter, ValidationError

from theworld.evaluation.audit import Audit
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.calibration import Calibration
from theworld.evaluation.comparison import Comparison
from theworld.evaluation.gating import Gate
from theworld.evaluation.predictions import Prediction, arm_of, identity_path, read_identity, read_predictions
from theworld.evaluation.scoring import Score
from theworld.evaluation.summary import Summary

Read = TypeVar("Read")

_PICTURES = ("picture.png", "clip.gif", "true.gif", "imagined.gif")

SINGLE_RUN = "training"
"""Name of the curves of a run without arms."""


@dataclass(frozen=True)
class Results:
    """`results.json`: the numbers of an evaluation."""

    arms: dict[str, Summary]
    comparison: Comparison | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage and the wall time it took."""
    notes: list[str] = field(default_factory=list)
    """Sentences that a reader of the numbers needs to know."""
    equal: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of arms that are one model, so that they must give the same replies."""
    gating: Gate | None = None
    """Accuracy against world calls."""
    calibration: dict[str, Calibration] = field(default_factory=dict)
    """Accuracy by confidence, by arm."""


@dataclass(frozen=True)
class MetricsRow:
    """A line of `metrics.jsonl`: one logged step."""

    step: int
    loss: float
    tokens_per_second: float
    samples_per_second: float
    learning_rate: float | None = None
    grad_norm: float | None = None
    peak_memory_gb: float | None = None


@dataclass(frozen=True)
class ValidationRow:
    """A line of `validation.jsonl`: one measurement during training."""

    step: int
    accuracy: float


@dataclass(frozen=True)
class ItemFile:
    """`item.json`: names an item that is shown."""

    id: str


@dataclass(frozen=True)
class Picture:
    """A picture or animation from a file."""

    url: str
    """`data:` URL."""
    width: int
    height: int


@dataclass(frozen=True)
class ShownItem:
    """An item to show: the reply of each arm and its score, and the item's pictures, if any."""

    id: str
    rows: dict[str, Prediction]
    """By arm; at least one."""
    scores: dict[str, Score]
    """By arm."""
    picture: Picture | None
    clip: Picture | None
    true: Picture | None
    imagined: Picture | None

    @property
    def item(self) -> Prediction:
        """A row with the question and its true answer, which all arms share."""
        return next(iter(self.rows.values()))


@dataclass(frozen=True)
class RunFolder:
    """Content of a run's folder for a report; missing parts are None or empty."""

    results: Results | None
    metrics: dict[str, list[MetricsRow]]
    """By arm."""
    validation: dict[str, list[ValidationRow]]
    """By arm."""
    predictions: dict[str, list[Prediction]]
    """By arm."""
    world_arms: frozenset[str]
    """Arms with a world tap in their run identity."""
    items: list[ShownItem]
    environment: dict[str, Any] | None
    config: object | None
    audit: Audit | None = None
    """Audit of the run's model."""


_RESULTS = TypeAdapter(Results).validate_python
_AUDIT = TypeAdapter(Audit).validate_python
_METRICS_ROW = TypeAdapter(MetricsRow).validate_python
_VALIDATION_ROW = TypeAdapter(ValidationRow).validate_python
_ITEM = TypeAdapter(ItemFile).validate_python
_ENVIRONMENT = TypeAdapter(dict[str, Any]).validate_python
_ANYTHING = TypeAdapter(object).validate_python


def read_run(run: Path) -> RunFolder:
    """Read any of these files.

        results.json                      numbers of an evaluation
        audit.json, or audit/audit.json   the audit of the model
        environment.json, config.json     versions and machine, settings
        metrics.jsonl                     curves of a training run
        arms/NAME/metrics.jsonl           the same, arm by arm
        validation.jsonl                  beside metrics.jsonl: accuracies during training
        predictions/NAME.jsonl            replies, and NAME.run.json, the identity of their run; files of an audit's
                                          conditions, which are not arms, are ignored
        items/NN/item.json                items to show, with picture.png, clip.gif, true.gif, imagined.gif

    Raises:
        ValueError: if none of them exist, or two audits; names a damaged file.
    """
    run = Path(run)
    results, audit = _read(run / "results.json", _RESULTS), _audit(run)
    files = {arm_of(path.stem): path for path in sorted(run.glob("predictions/*.jsonl"))}
    if (run / "audit.json").exists():
        arms = set() if results is None else set(results.arms)
        files = {name: path for name, path in files.items() if name in arms}
    predictions = {name: read_predictions(path) for name, path in files.items()}
    content = RunFolder(
        results=results,
        metrics=_curves(run, "metrics.jsonl", _METRICS_ROW),
        validation=_curves(run, "validation.jsonl", _VALIDATION_ROW),
        predictions=predictions,
        world_arms=frozenset(name for name, path in files.items() if _has_world(path)),
        items=_items(run, {name: predictions[name] for name in in_order(predictions, results)}),
        environment=_read(run / "environment.json", _ENVIRONMENT),
        config=_read(run / "config.json", _ANYTHING),
        audit=audit,
    )
    if not any((content.results, content.audit, content.metrics, content.environment, content.config)):
        raise ValueError(
            f"{run}: nothing to report on: expected the folder of a run, with results.json, audit.json, metrics.jsonl,"
            " arms/, environment.json or config.json in it"
        )
    return content


def in_order(names: Iterable[str], results: Results | None) -> list[str]:
    """Sort names of arms in the order of the results; other names come last, in alphabetical order."""
    known = [] if results is None else list(results.arms)
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def _audit(run: Path) -> Audit | None:
    places = [path for path in (run / "audit.json", run / "audit" / "audit.json") if path.exists()]
    if len(places) > 1:
        raise ValueError(f"two audits, {places[0]} and {places[1]}: take one of them out of the folder")
    return _read(places[0], _AUDIT) if places else None


def _read(path: Path, validate: Callable[[Any], Read]) -> Read | None:
    return _checked(path.read_bytes(), validate, str(path)) if path.exists() else None


def _checked(text: bytes, validate: Callable[[Any], Read], place: str) -> Read:
    """Parse and validate JSON text.

    Raises:
        ValueError: names the place and the problem.
    """
    try:
        return validate(json.loads(text))
    except ValidationError as error:
        reasons = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:3]]
        raise ValueError(f"{place}: {'; '.join(reasons)}") from error
    except ValueError as error:
        raise ValueError(f"{place}: not JSON ({error}); write it again, or take it out of the folder") from error


def _curves(run: Path, name: str, validate: Callable[[Any], Read]) -> dict[str, list[Read]]:
    files = {SINGLE_RUN: run / name} if (run / name).exists() else {}
    files |= {path.parent.name: path for path in sorted(run.glob(f"arms/*/{name}"))}
    rows = {arm: _complete_rows(path, validate) for arm, path in files.items()}
    return {arm: some for arm, some in rows.items() if some}


def _complete_rows(path: Path, validate: Callable[[Any], Read]) -> list[Read]:
    """Read complete lines; the last one may be incomplete, because the run still writes it or was killed."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_checked(line, validate, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _has_world(path: Path) -> bool:
    return identity_path(path).exists() and read_identity(path).tap_fingerprint is not None


def _items(run: Path, predictions: dict[str, list[Prediction]]) -> list[ShownItem]:
    """Read the items to show that some arm has answered, unless their true answers are withheld."""
    rows = {name: {row.sample_id: row for row in some} for name, some in predictions.items()}
    items = []
    for path in sorted(run.glob("items/*/item.json")):
        sample_id = _checked(path.read_bytes(), _ITEM, str(path)).id
        answered = {name: by_id[sample_id] for name, by_id in rows.items() if sample_id in by_id}
        if answered and all(row.answer is not None for row in answered.values()):
            pictures = {name: _picture(path.with_name(name)) for name in _PICTURES}
            scores = {name: score(row) for name, row in answered.items()}
            items.append(ShownItem(sample_id, answered, scores, *pictures.values()))
    return items


def _picture(path: Path) -> Picture | None:
    if not path.exists():
        return None
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mime, (width, height) = image.get_format_mimetype(), image.size
    except OSError as error:
        # Pillow would name the stream, an object of Python.
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{path}: not a picture, or cut off ({reason}); write it again, or take it out") from error
    return Picture(f"data:{mime};base64,{base64.b64encode(data).decode()}", width, height)
