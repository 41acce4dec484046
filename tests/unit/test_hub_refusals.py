"""What the hub refuses is told in one line: the repository, the reason, and what to do."""

import errno
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from theworld import hub
from theworld.config import WorldSettings
from theworld.hub import ConnectError, Request, Response
from theworld.world.loading import load_vae

ANSWERS: dict[str, tuple[int, str]] = {
    "gated": (403, "GatedRepo"),
    "absent": (404, "RepoNotFound"),
    "moved": (404, "RevisionNotFound"),
    "forbidden": (403, ""),
}
"""Name of a repository to the status and the error code that huggingface_hub reads."""


class StandIn(BaseHTTPRequestHandler):
    """Answers as the hub does where it refuses."""

    def do_GET(self) -> None:
        status, code = next(answer for name, answer in ANSWERS.items() if f"someone/{name}" in self.path)
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # the name is the base class's

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


_FETCH_ALL = """
import sys
from theworld.hub import fetch
for name in sys.argv[1:]:
    try:
        fetch(f"someone/{name}", ["*.json"])
    except ValueError as error:
        print(str(error))
"""


def said(endpoint: str, home: Path, *names: str, **more: str) -> list[str]:
    """What is said of each repository by a process whose hub is the stand-in."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": ":".join(sys.path), **more}
    done = subprocess.run(
        [sys.executable, "-c", _FETCH_ALL, *names], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.splitlines()


def test_each_refusal_names_the_repository_and_what_to_do(endpoint: str, tmp_path: Path) -> None:
    gated, absent, moved, forbidden = said(endpoint, tmp_path, "gated", "absent", "moved", "forbidden")
    for line, name in ((gated, "gated"), (absent, "absent"), (moved, "moved"), (forbidden, "forbidden")):
        assert f"'someone/{name}'" in line
    assert f"accept its licence at {endpoint}/someone/gated" in gated
    assert "no such repository, or a private one" in absent
    assert "no such revision" in moved
    assert "403" in forbidden


def test_offline_what_was_never_fetched_is_said_to_be_absent(endpoint: str, tmp_path: Path) -> None:
    (line,) = said(endpoint, tmp_path, "gated", HF_HUB_OFFLINE="1")
    assert "'someone/gated'" in line
    assert "HF_HUB_OFFLINE" in line


def test_a_full_disk_is_told_by_the_folder_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(ValueError, match=r"'someone/big'.*the disk is full under .*HF_HOME"):
        hub.fetch("someone/big", ["*"])


def answer(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    return kind("refused", response=Response(status, request=Request("GET", "https://hub")))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full under "),
        (answer(GatedRepoError, 403), "it is gated; accept its licence at "),
        (json.JSONDecodeError("Expecting value", "", 0), "(`hf download someone/name --force-download`)"),
        (SafetensorError("header"), "a file of it is damaged or half-downloaded; fetch it again"),
        (answer(RevisionNotFoundError, 404), "it has no such revision"),
        (answer(RepositoryNotFoundError, 404), "no such repository, or a private one"),
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set and it was not fetched before"),
        (answer(HfHubHTTPError, 401), "the hub answers 401: the token is missing or not valid"),
        (answer(HfHubHTTPError, 403), "the hub answers 403: the token may not read it"),
        (answer(HfHubHTTPError, 500), "the hub answers 500; try again later"),
        (ConnectError("no route"), "the connection broke off (no route); start again"),
        (OSError("odd\n thing"), "odd thing; check the name and the network, or name a folder"),
    ],
)
def test_each_error_has_its_remedy(error: Exception, remedy: str) -> None:
    outer = OSError("cannot load")
    outer.__cause__ = error

    assert remedy in hub.remedy("someone/name", error)
    if not remedy.startswith("odd"):
        assert remedy in hub.remedy("someone/name", outer)


def test_an_earlier_error_that_is_no_cause_is_not_blamed() -> None:
    error = answer(RevisionNotFoundError, 404)
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")

    assert hub.remedy("someone/name", error).startswith("it has no such revision")


def test_a_truncated_part_of_the_world_is_named(stack: Path, tmp_path: Path) -> None:
    shutil.copytree(stack / "cosmos", tmp_path / "cosmos")
    weights = tmp_path / "cosmos" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cosmos/vae: missing, damaged or half-downloaded.*fetch or copy it again"):
        load_vae(WorldSettings(cosmos_model_name=str(tmp_path / "cosmos"), image_size_px=64))


def test_without_a_network_the_hub_is_given_up_at_the_first_attempt(tmp_path: Path) -> None:
    with socket.socket() as closed:  # a port on which nobody listens
        closed.bind(("127.0.0.1", 0))
        lines = said(f"http://127.0.0.1:{closed.getsockname()[1]}", tmp_path, "gated", "absent")

    for line, name in zip(lines, ("gated", "absent"), strict=True):
        assert f"'someone/{name}' is no folder" in line
        assert "no connection to 127.0.0.1 (" in line
        assert line.endswith("check the network, or name a folder")


def test_a_hub_that_was_reached_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([Response(200), ConnectError("broken"), Response(200)])

    class Sending:
        def send(self, request: Request, **options: Any) -> Response:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    monkeypatch.setattr(hub, "default_client_factory", Sending)
    client, request = hub._impatient_client(), Request("GET", "https://hub")
    assert client.send(request).status_code == 200
    with pytest.raises(ConnectError):  # huggingface_hub waits after this error, and asks again
        client.send(request)
    assert client.send(request).status_code == 200
