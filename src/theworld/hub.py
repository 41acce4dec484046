"""The Hugging Face hub: what a name stands for, fetched into a folder of this machine; and folders pushed to it."""

import errno
import json
import os
import re
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from theworld.constants import TOKEN

HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME of a repository."""

REFUSALS: Final = (HfHubHTTPError, HTTPError, OSError)
"""What is raised where the hub, the network or the disk fails; `remedy` knows what to do."""

_SNAPSHOT: Final = re.compile(r"/(models|datasets)--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/")
"""A folder of the hub's cache, which is named after its repository."""

_FETCH_AGAIN: Final = "fetch it again (`hf download {} --force-download`)"


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
    except (HFValidationError, LocalEntryNotFoundError, *REFUSALS) as error:
        raise ValueError(
            f"{name!r} is no folder and could not be fetched from the hub: {remedy(name, error)}"
        ) from error


def remedy(name: str, error: BaseException) -> str:
    """What kept a repository from being fetched, and what to do: one sentence.

    Args:
        name: of the repository.
        error: as huggingface_hub raised it, or what another library made of that.
    """
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None and inner not in causes:
        causes.append(inner)
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return (
                f"the disk is full under {constants.HF_HUB_CACHE}; free space there, or point HF_HOME to another disk"
            )
        if isinstance(cause, GatedRepoError):
            return (
                f"it is gated; accept its licence at {constants.ENDPOINT}/{name} and log in to that account"
                " (`hf auth login`)"
            )
    for cause in causes:
        if isinstance(cause, json.JSONDecodeError | SafetensorError):
            return f"a file of it is damaged or half-downloaded; {_FETCH_AGAIN.format(name)}"
        if isinstance(cause, RevisionNotFoundError):
            return "it has no such revision; look at its commits there"
        if isinstance(cause, RepositoryNotFoundError):
            return "no such repository, or a private one; check the name, and log in (`hf auth login`) if it is private"
        if isinstance(cause, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set and it was not fetched before; unset it once, or name a folder"
        if isinstance(cause, HfHubHTTPError):
            return _refused(cause.response.status_code)
        if isinstance(cause, HTTPError):
            return f"the connection broke off ({cause}); start again, what has arrived is kept"
    return f"{without_tokens(' '.join(str(error).split()))}; check the name and the network, or name a folder"


def again(folder: Path) -> str:
    """What to do about a folder whose files are damaged or not all there: a clause."""
    if found := _SNAPSHOT.search(folder.absolute().as_posix()):
        return _FETCH_AGAIN.format(f"{found['owner']}/{found['name']}")
    return "fetch or copy it again"


def _refused(status: int) -> str:
    """What an answer of the hub means."""
    if status == HTTPStatus.UNAUTHORIZED:
        return "the hub answers 401: the token is missing or not valid; log in (`hf auth login`)"
    if status == HTTPStatus.FORBIDDEN:
        return "the hub answers 403: the token may not read it; use one that may read gated repositories"
    return f"the hub answers {status}; try again later"


def without_tokens(text: str) -> str:
    """A text in which nothing looks like a token."""
    return TOKEN.sub("hf_...", text)
