"""Hugging Face hub: download files of a repository, and explain why that failed."""

import errno
import json
import os
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import huggingface_hub
from huggingface_hub import HfApi, constants, set_client_factory, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import default_client_factory  # pyright: ignore[reportPrivateImportUsage]
from safetensors import SafetensorError

from theworld.constants import TOKEN

# Version 1 of the hub's client speaks through httpx, version 2 through httpx2: the same classes under two names.
if TYPE_CHECKING or not huggingface_hub.__version__.startswith("1."):
    from httpx2 import Client, ConnectError, ConnectTimeout, HTTPError, Request, Response
else:
    from httpx import Client, ConnectError, ConnectTimeout, HTTPError, Request, Response

HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME of a repository."""

REFUSALS: Final = (HfHubHTTPError, HTTPError, OSError)
"""Errors of the hub, the network and the disk; `remedy` explains them."""

_FILE_NAME: Final = re.compile(
    r"\.(jsonl?|ndjson|csv|tsv|txt|parquet|arrow|zip|tar|gz|yaml|yml|png|jpe?g)$", re.IGNORECASE
)
"""Endings of files of data."""

_SNAPSHOT: Final = re.compile(r"/(models|datasets)--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/")
"""A folder in the hub's cache: its path names the repository."""

_FETCH_AGAIN: Final = "fetch it again (`hf download {} --force-download`)"


class UnreachableError(OfflineModeIsEnabled):
    """No connection to the hub. Like HF_HUB_OFFLINE, this error sends huggingface_hub to its cache at once."""


def _impatient_client() -> Client:
    """A client that retries only once it has reached the hub: without a network it would wait 23 seconds per file."""
    client = default_client_factory()
    send, was_reached = client.send, False

    def send_once(request: Request, **options: Any) -> Response:
        nonlocal was_reached
        try:
            response = send(request, **options)
        except (ConnectError, ConnectTimeout) as error:
            if was_reached:
                raise
            raise UnreachableError(f"no connection to {request.url.host} ({error})") from error
        was_reached = True
        return response

    client.send = send_once  # pyright: ignore[reportAttributeAccessIssue]
    return client


set_client_factory(_impatient_client)


def looks_local(name: str) -> bool:
    """Return whether a name can only be that of a file or folder, which the hub must not be asked for."""
    is_path = name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1
    return is_path or _FILE_NAME.search(name) is not None


def refuse_revision(place: str | Path, revision: str | None) -> None:
    """Refuse a revision of files of this machine, where it would have no effect.

    Raises:
        ValueError: for any revision.
    """
    if revision is not None:
        raise ValueError(
            f"revision={revision!r} is for a repository of the hub, and {place} is on this machine: drop it"
        )


def client(token: str | None = None) -> HfApi:
    """Return a client of the hub at HF_ENDPOINT, by default huggingface.co.

    Args:
        token: None: HF_TOKEN, or the token that `hf auth login` saved.
    """
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)


def fetch(
    name: str,
    patterns: Sequence[str],
    revision: str | None = None,
    kind: Literal["model", "dataset"] = "model",
    **options: Any,
) -> Path:
    """Download files of a hub repository and return their folder, named after the commit. Offline: use the cache.

    Args:
        name: hub id.
        patterns: globs of the files.
        revision: branch, tag or commit; None: the newest.
        kind: of repository.
        options: token, cache_dir, local_files_only, as in huggingface_hub.

    Raises:
        ValueError: for a name that can only be a path, or if the download fails.
    """
    if looks_local(name):
        raise ValueError(f"{name}: no such file or folder")
    try:
        arguments: Any = {"revision": revision, "allow_patterns": list(patterns), "repo_type": kind, **options}
        return Path(snapshot_download(name, endpoint=os.environ.get("HF_ENDPOINT"), **arguments))
    except (HFValidationError, LocalEntryNotFoundError, *REFUSALS) as error:
        raise ValueError(
            f"{name!r} is no folder and could not be fetched from the hub: {remedy(name, error)}"
        ) from error


def remedy(name: str, error: BaseException) -> str:
    """Return one sentence: the reason why a repository could not be fetched, and the remedy.

    Args:
        name: of the repository.
        error: from huggingface_hub, or from another library that raised it because of such an error.
    """
    causes = [error]
    while (inner := _cause(causes[-1])) is not None and inner not in causes:
        causes.append(inner)
    for cause in causes:
        for text in (text for matches, text in _REMEDIES if matches(cause)):
            return text.format(
                cause=cause,
                cache=constants.HF_HUB_CACHE,
                endpoint=constants.ENDPOINT,
                name=name,
                fetch_again=_FETCH_AGAIN.format(name),
            )
    return f"{without_tokens(' '.join(str(error).split()))}; check the name and the network, or name a folder"


def _cause(error: BaseException) -> BaseException | None:
    """Return the error that Python's traceback shows above this one; transformers often names no cause."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is(*kinds: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kinds)


def _is_answer(status: HTTPStatus) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, HfHubHTTPError) and error.response.status_code == status


def _is_full_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


_REMEDIES: Final[tuple[tuple[Callable[[BaseException], bool], str], ...]] = (
    (_is_full_disk, "the disk is full under {cache}; free space there, or point HF_HOME to another disk"),
    (
        _is(GatedRepoError),
        "it is gated; accept its licence at {endpoint}/{name} and log in to that account (`hf auth login`)",
    ),
    (_is(json.JSONDecodeError, SafetensorError), "a file of it is damaged or half-downloaded; {fetch_again}"),
    (_is(RevisionNotFoundError), "it has no such revision; look at its commits there"),
    (
        _is(RepositoryNotFoundError),
        "no such repository, or a private one; check the name, and log in (`hf auth login`) if it is private",
    ),
    (_is(UnreachableError), "{cause}; check the network, or name a folder"),
    (
        _is(OfflineModeIsEnabled),
        "HF_HUB_OFFLINE is set and it was not fetched before; unset it once, or name a folder",
    ),
    (
        _is_answer(HTTPStatus.UNAUTHORIZED),
        "the hub answers 401: the token is missing or not valid; log in (`hf auth login`)",
    ),
    (
        _is_answer(HTTPStatus.FORBIDDEN),
        "the hub answers 403: the token may not read it; use one that may read gated repositories",
    ),
    (_is(HfHubHTTPError), "the hub answers {cause.response.status_code}; try again later"),
    (_is(HTTPError), "the connection broke off ({cause}); start again, what has arrived is kept"),
)
"""Errors and their remedies; the first row that fits the error decides, or else its nearest cause that fits one."""


def again(folder: Path) -> str:
    """Return the remedy for a folder with damaged or missing files, as a clause."""
    name = repository_of(folder)
    return "fetch or copy it again" if name is None else _FETCH_AGAIN.format(name)


def repository_of(folder: Path) -> str | None:
    """Return the repository of a folder in the hub's cache, whose name is the commit; None for another folder."""
    snapshot = _SNAPSHOT.search(folder.absolute().as_posix())
    return None if snapshot is None else f"{snapshot['owner']}/{snapshot['name']}"


def without_tokens(text: str) -> str:
    """Return a text with everything that looks like a token masked."""
    return TOKEN.sub("hf_...", text)
