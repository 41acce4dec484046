"""A failed test takes the processes that it started with it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import fixtures_browser

TESTS = Path(__file__).parents[1]

FAILING = """
import subprocess, sys
def test_fails(tmp_path):
    grandchild = "import subprocess, sys; subprocess.Popen(['sleep', 'SECONDS']); sys.exit()"
    subprocess.run([sys.executable, "-c", grandchild], check=True, start_new_session=True)
    subprocess.Popen(["sleep", "SECONDS"])
    assert False
def test_passes():
    process = subprocess.Popen(["sleep", "0"])
    assert process.wait() == 0
"""


SECONDS = f"987.{os.getpid()}"
"""By which the processes of this run are known: others may run on this machine."""


def sleeping() -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline", "status"])
    return [one for one in found if one.info["cmdline"] == ["sleep", SECONDS] and one.info["status"] != "zombie"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="other systems do not tell the environment of a process")
def test_a_failed_test_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING.replace("SECONDS", SECONDS))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "fixtures_leftovers",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    with (tmp_path / "said.txt").open("w") as stream:  # a pipe would stay open as long as what is left of the test
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=stream, stderr=stream)

    assert "1 failed, 1 passed" in (tmp_path / "said.txt").read_text()
    assert not sleeping()


def test_a_browser_that_hangs_ends_with_the_helpers_that_hold_its_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\nsleep {SECONDS} &\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(fixtures_browser, "BROWSER", str(script))
    monkeypatch.setattr(fixtures_browser, "TIMEOUT_SECONDS", 1)

    with pytest.raises(TimeoutError, match="did not show a page within 1 s"):
        fixtures_browser.dump_dom("a page", tmp_path / "profile")

    _, alive = psutil.wait_procs(sleeping(), timeout=10)
    assert not alive
