"""Manifest of a checkpoint: the digest of each of its files and of the run's data, and the checks before it is used."""

import dataclasses
import hashlib
import json
import logging
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.dataclasses import dataclass
from transformers import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from theworld.io import write_whole
from theworld.training.metrics import Tally

logger = logging.getLogger(__name__)

MANIFEST_NAME: Final = "manifest.json"
PENDING_NAME: Final = "pending_metrics.json"
"""File of a checkpoint: metrics and bad records since the last row of the run's files."""
TRAINER_STATE: Final = "trainer_state.json"
_MOST_BYTES_READ: Final = 1_000_000_000
"""Larger archives are checked for their end alone, where every process reads them."""
_REMEDY: Final = "continue from another checkpoint, or start a new run in another output_dir"

DataDigests = Mapping[str, Mapping[str, str]]
"""Digest of each data file by its name, for `data` and `validation`; see `datasets.contents`."""


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class _BadCounts:
    num_drawn: int
    num_bad: int
    counts: dict[str, int]


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Pending:
    """Content of `PENDING_NAME`."""

    metrics: Tally
    bad_records: _BadCounts
    losses: list[float]


_PENDING: Final = TypeAdapter(Pending)
# Trainer writes null for any field without a value. Callbacks and trials may hold anything.
_STATE: Final = create_model(
    "_State",
    __config__=ConfigDict(strict=True, extra="forbid"),
    **{
        name: (Any if name in ("log_history", "trial_params", "stateful_callbacks") else kind | None, None)
        for name, kind in get_type_hints(TrainerState).items()
        if name in {field.name for field in dataclasses.fields(TrainerState)}
    },  # pyright: ignore[reportCallIssue, reportArgumentType]
)


def write_manifest(checkpoint: Path, data: DataDigests) -> None:
    """Write the manifest of a finished checkpoint, which is not yet in its place.

        {"data": {"train.json": "5f0c…"}, "validation": {}, "files": {"model.safetensors": "91ab…", ...}}

    Args:
        checkpoint: folder with all of its files.
        data: digests of the run's data files.
    """
    files = {
        path.relative_to(checkpoint).as_posix(): _digest(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }
    write_whole(checkpoint / MANIFEST_NAME, json.dumps({**data, "files": files}, indent=1))


def check_manifest(checkpoint: Path) -> None:
    """Compare every file of a checkpoint with its manifest; without one, as earlier versions wrote them, warn.

    Raises:
        ValueError: for a missing or changed file, by its name.
    """
    manifest = _read(checkpoint)
    if not manifest:
        logger.warning(
            "%s has no %s: an earlier version wrote it, or the file is lost; its files and the data are not checked",
            checkpoint,
            MANIFEST_NAME,
        )
    for name, digest in manifest.get("files", {}).items():
        path = checkpoint / name
        if not path.is_file():
            raise ValueError(f"{checkpoint}: {name} is missing; {_REMEDY}")
        if _digest(path) != digest:
            raise ValueError(f"{path} is damaged: its bytes are not those that the run wrote; {_REMEDY}")


def check_data(checkpoint: Path, data: DataDigests) -> None:
    """Compare the run's data files with those that a checkpoint was trained on.

    Raises:
        ValueError: for a changed, new or missing file, by its name.
    """
    manifest = _read(checkpoint)
    for part, now in data.items():
        before = manifest.get(part)
        if not before or not now:  # an earlier version's checkpoint, or validation that begins or ends
            continue
        changes = [
            *(f"{name} has other contents" for name in now if name in before and before[name] != now[name]),
            *(f"{name} is new" for name in now if name not in before),
            *(f"{name} is gone" for name in before if name not in now),
        ]
        if changes:
            more = f" and {len(changes) - 3:,} more" if len(changes) > 3 else ""
            raise ValueError(
                f"{part}: {', '.join(changes[:3])}{more} since {checkpoint}: put the data back as they were, or start a"
                " new run in another output_dir (model.checkpoint takes trained weights along)"
            )


def check_whole(checkpoint: Path, *more: str) -> None:
    """Check that the files of a checkpoint are there and undamaged, before anything loads.

    Args:
        checkpoint: folder that a transformers Trainer wrote.
        more: names of JSON files that it must have, too.

    Raises:
        ValueError: for a missing or damaged file, by its name.
    """
    for name in ("optimizer", "scheduler.pt", *(path.name for path in checkpoint.glob("rng_state*.pth"))):
        paths = sorted(checkpoint.glob(f"{name}*"))  # a sharded optimizer has a folder
        if not paths:
            raise ValueError(f"{checkpoint}: {name} is missing; {_REMEDY}")
        for path in paths:
            if path.is_file() and not _is_whole(path):
                raise ValueError(f"{path} is damaged; {_REMEDY}")
    for name in (TRAINER_STATE, *more):
        if not (checkpoint / name).is_file():
            raise ValueError(f"{checkpoint}: {name} is missing; {_REMEDY}")
    for path in sorted(checkpoint.glob("*.json")):
        content = _json(path)
        if path.name == TRAINER_STATE:
            _check_state(path, content)
        elif path.name == PENDING_NAME:
            _check(path, _PENDING.validate_json)


def _check_state(path: Path, content: Any) -> None:
    """Check the types of the trainer's state, and its step against the name of the folder."""
    step = content.get("global_step") if isinstance(content, dict) else None
    number = path.parent.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    if type(step) is not int or (number.isdecimal() and step != int(number)):
        raise ValueError(f"{path}: global_step={step!r} in {path.parent.name}; {_REMEDY}")
    _check(path, _STATE.model_validate_json)
    for name in ("epoch", "max_steps", "num_train_epochs", "train_batch_size", "total_flos"):
        value = content.get(name)
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"{path}: {name}={value!r}: expected 0 or more; {_REMEDY}")


def _check(path: Path, validate: Callable[[bytes], object]) -> None:
    try:
        validate(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(f"{path}: {place}: {first['msg'].lower()}; {_REMEDY}") from None


def _read(checkpoint: Path) -> dict[str, Any]:
    """Return the manifest; empty without one."""
    path = checkpoint / MANIFEST_NAME
    if not path.is_file():
        return {}
    content = _json(path)
    parts = content.values() if isinstance(content, dict) and "files" in content else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"{path} is damaged: it holds no digests by name; {_REMEDY}")
    return content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {_REMEDY}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _is_whole(path: Path) -> bool:
    """Return whether a file of torch.save, a zip archive, has all of its bytes as they were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return path.stat().st_size > _MOST_BYTES_READ or archive.testzip() is None
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError):
        return False
