"""What the hub refuses is told in one line: the repository, the reason, and what to do."""

import errno
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from theworld import hub
from theworld.config import WorldSettings
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


def test_a_truncated_part_of_the_world_is_named(stack: Path, tmp_path: Path) -> None:
    shutil.copytree(stack / "cosmos", tmp_path / "cosmos")
    weights = tmp_path / "cosmos" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cosmos/vae: missing, damaged or half-downloaded.*fetch or copy it again"):
        load_vae(WorldSettings(cosmos_model_name=str(tmp_path / "cosmos"), image_size_px=64))
