"""Reads and checks the folder of a run: results, predictions, curves, scenes, environment and settings."""

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
from theworld.evaluation.comparison import Comparison
from theworld.evaluation.predictions import Prediction, arm_of, identity_path, read_identity, read_predictions
from theworld.evaluation.scoring import Score
from theworld.evaluation.summary import Summary

Read = TypeVar("Read")

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
class SceneItem:
    """`item.json`: a question about a scene, its true answer and the replies."""

    id: str
    question: str
    answer: str
    answers: dict[str, str | None] = field(default_factory=dict)
    """Arm and its reply; None: an error."""
    choices: tuple[str, ...] | None = None
    note: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture or animation from a file."""

    url: str
    """`data:` URL."""
    width: int
    height: int


@dataclass(frozen=True)
class ShownScene:
    """A scene to show: its item, the score of each reply, and its pictures, if any."""

    item: SceneItem
    scores: dict[str, Score]
    picture: Picture | None
    true: Picture | None
    imagined: Picture | None


@dataclass(frozen=True)
class RunFolder:
    """Content of a run's folder for a report; missing parts are None or empty."""

    results: Results | None
    metrics: dict[str, list[MetricsRow]]
    """By arm."""
    predictions: dict[str, list[Prediction]]
    """By arm."""
    world_arms: frozenset[str]
    """Arms with a world tap in their run identity."""
    scenes: list[ShownScene]
    environment: dict[str, Any] | None
    config: object | None
    audit: Audit | None = None
    """Audit of the run's model."""


_RESULTS = TypeAdapter(Results).validate_python
_AUDIT = TypeAdapter(Audit).validate_python
_METRICS_ROW = TypeAdapter(MetricsRow).validate_python
_SCENE_ITEM = TypeAdapter(SceneItem).validate_python
_ENVIRONMENT = TypeAdapter(dict[str, Any]).validate_python
_ANYTHING = TypeAdapter(object).validate_python


def read_run(run: Path) -> RunFolder:
    """Read any of these files.

        results.json                      numbers of an evaluation
        audit.json, or audit/audit.json   the audit of the model
        environment.json, config.json     versions and machine, settings
        metrics.jsonl                     curves of a training run
        arms/NAME/metrics.jsonl           the same, arm by arm
        predictions/NAME.jsonl            replies, and NAME.run.json, the identity of their run; files of an audit's
                                          conditions, which are not arms, are ignored
        scenes/NN/item.json               scenes to show, with picture.png, true.gif and imagined.gif

    Raises:
        ValueError: if none of them exist, or two audits; names a damaged file.
    """
    run = Path(run)
    results, audit = _read(run / "results.json", _RESULTS), _audit(run)
    files = {arm_of(path.stem): path for path in sorted(run.glob("predictions/*.jsonl"))}
    if (run / "audit.json").exists():
        arms = set() if results is None else set(results.arms)
        files = {name: path for name, path in files.items() if name in arms}
    content = RunFolder(
        results=results,
        metrics=_metrics(run),
        predictions={name: read_predictions(path) for name, path in files.items()},
        world_arms=frozenset(name for name, path in files.items() if _has_world(path)),
        scenes=[_scene(path) for path in sorted(run.glob("scenes/*/item.json"))],
        environment=_read(run / "environment.json", _ENVIRONMENT),
        config=_read(run / "config.json", _ANYTHING),
        audit=audit,
    )
    if not any((content.results, content.audit, content.metrics, content.scenes, content.environment, content.config)):
        raise ValueError(
            f"{run}: nothing to report on: expected the folder of a run, with results.json, audit.json, metrics.jsonl,"
            " arms/, scenes/, environment.json or config.json in it"
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


def _metrics(run: Path) -> dict[str, list[MetricsRow]]:
    files = {SINGLE_RUN: run / "metrics.jsonl"} if (run / "metrics.jsonl").exists() else {}
    files |= {path.parent.name: path for path in sorted(run.glob("arms/*/metrics.jsonl"))}
    rows = {name: _metrics_rows(path) for name, path in files.items()}
    return {name: some for name, some in rows.items() if some}


def _metrics_rows(path: Path) -> list[MetricsRow]:
    """Read complete lines; the last one may be incomplete, because the run still writes it or was killed."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_checked(line, _METRICS_ROW, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _has_world(path: Path) -> bool:
    return identity_path(path).exists() and read_identity(path).tap_fingerprint is not None


def _scene(path: Path) -> ShownScene:
    item = _checked(path.read_bytes(), _SCENE_ITEM, str(path))
    if item.choices is not None and item.answer not in item.choices:
        raise ValueError(f"{path}: the answer {item.answer!r} is none of the choices {list(item.choices)}")
    return ShownScene(
        item=item,
        scores={arm: _score(item, reply) for arm, reply in item.answers.items()},
        picture=_picture(path.with_name("picture.png")),
        true=_picture(path.with_name("true.gif")),
        imagined=_picture(path.with_name("imagined.gif")),
    )


def _score(item: SceneItem, reply: str | None) -> Score:
    return score(
        Prediction(
            sample_id=item.id,
            question=item.question,
            answer=item.answer,
            choices=item.choices,
            prediction=reply,
            error="no reply" if reply is None else None,
            prompt_hash="",
        )
    )


def _picture(path: Path) -> Picture | None:
    if not path.exists():
        return None
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mime, (width, height) = image.get_format_mimetype(), image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a picture, or cut off ({error}); write it again, or take it out") from error
    return Picture(f"data:{mime};base64,{base64.b64encode(data).decode()}", width, height)
