"""Files of the models under the fusion: where they are, and errors that name them."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from theworld.hub import REFUSALS, again, remedy
from theworld.modeling.bases import Base
from theworld.modeling.config_files import CheckpointError
from theworld.modeling.configuration import native_config
from theworld.modeling.names import base_folder


def read_base(name: str, base: Base, **hub: Any) -> dict[str, Any]:
    """Read the configuration of a base, with every default.

    Args:
        name: hub id, folder, or "tiny".
        base: its kind.
        hub: revision, token, cache_dir, local_files_only, as in transformers.

    Raises:
        CheckpointError: for values that give no configuration, and as `reporting_file_errors`.
    """
    try:
        with reporting_file_errors(name):
            return native_config(base.kind).from_pretrained(base_folder(name), **hub).to_dict()
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{name}: config.json gives no {base.title} ({_one_line(error)})") from error


@contextmanager
def reporting_file_errors(name: str) -> Iterator[None]:
    """Turn errors about a model's files into one line that names the model and the remedy.

    Raises:
        CheckpointError: for files that are cut off, damaged, missing, or not available from the hub.
    """
    try:
        yield
    except StrictDataclassError as error:
        raise CheckpointError(f"{name}: config.json gives no model ({_one_line(error)})") from error
    except (SafetensorError, json.JSONDecodeError, *REFUSALS) as error:
        folder = Path(base_folder(name))
        if folder.is_dir():
            reason = ", ".join([*_unreadable(folder), _one_line(error)])
            why = f"files that are damaged, half-downloaded or not all there ({reason}); {again(folder)}"
        else:
            why = f"cannot be loaded from the hub: {remedy(name, error)}"
        raise CheckpointError(f"{name}: {why}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _unreadable(folder: Path) -> list[str]:
    """Return the names of damaged weights files."""
    damaged = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError):
            damaged.append(path.name)
    return damaged


@contextmanager
def loading_base(name: str) -> Iterator[None]:
    """Silence transformers' report of missing parameters, which are our own new ones: the caller checks every key.

    Raises:
        CheckpointError: as `reporting_file_errors`, and if no model can be built from config.json.
    """

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    reporting = logging.getLogger("transformers.modeling_utils")
    reporting.addFilter(is_no_report)
    try:
        with reporting_file_errors(name):
            yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError) as error:
        raise CheckpointError(f"{name}: config.json gives no model ({_one_line(error)})") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise CheckpointError(
            f"{name}: config.json gives weights of other shapes than its *.safetensors hold (hidden_size, head_dim,"
            " vocab_size, image_size, ...); fetch or copy it again"
        ) from error
    finally:
        reporting.removeFilter(is_no_report)
