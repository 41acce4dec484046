"""The Hugging Face hub: what a name stands for, fetched into a folder of this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError


def fetch(
    name: str,
    patterns: Sequence[str],
    revision: str | None = None,
    kind: Literal["model", "dataset"] = "model",
) -> Path:
    """The files of a hub repository; the folder is named after the commit. Offline: those fetched before.

    Args:
        name: hub id.
        patterns: which files, as globs.
        revision: branch, tag or commit; None: the newest.
        kind: of repository.

    Raises:
        ValueError: if they cannot be fetched.
    """
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), repo_type=kind))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise ValueError(
            f"{name!r} is no folder and could not be fetched from the hub: {error}. Check the name and the network;"
            " for a gated repository accept its licence there and log in (`hf auth login`)"
        ) from error
