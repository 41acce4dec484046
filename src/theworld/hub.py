"""The Hugging Face hub: what a name stands for, fetched into a folder of this machine; and folders pushed to it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from theworld.constants import TOKEN

HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME of a repository."""


def client(token: str | None = None) -> HfApi:
    """The hub that HF_ENDPOINT names, by default huggingface.co.

    Args:
        token: None: HF_TOKEN, or what `hf auth login` left.
    """
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)


def fetch(
    name: str,
    patterns: Sequence[str],
    revision: str | None = None,
    kind: Literal["model", "dataset"] = "model",
    **options: Any,
) -> Path:
    """The files of a hub repository; the folder is named after the commit. Offline: those fetched before.

    Args:
        name: hub id.
        patterns: which files, as globs.
        revision: branch, tag or commit; None: the newest.
        kind: of repository.
        options: token, cache_dir, local_files_only, as huggingface_hub takes them.

    Raises:
        ValueError: if they cannot be fetched.
    """
    try:
        given: Any = {"revision": revision, "allow_patterns": list(patterns), "repo_type": kind, **options}
        return Path(snapshot_download(name, endpoint=os.environ.get("HF_ENDPOINT"), **given))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise ValueError(
            f"{name!r} is no folder and could not be fetched from the hub: {error}. Check the name and the network;"
            " for a gated repository accept its licence there and log in (`hf auth login`)"
        ) from error


def without_tokens(text: str) -> str:
    """A text in which nothing looks like a token."""
    return TOKEN.sub("hf_...", text)
