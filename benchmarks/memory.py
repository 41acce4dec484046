"""Memory of this process, from /proc (Linux), and figures measured in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def rss() -> int:
    """Bytes held now."""
    return _field("VmRSS")


def forget_peak() -> None:
    """Let `peak` count from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most bytes held since `forget_peak`."""
    return _field("VmHWM")


def available() -> int:
    """Bytes that the machine can give."""
    text = Path("/proc/meminfo").read_text()
    return 1024 * int(text.split("MemAvailable:")[1].split()[0])


def in_a_process(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m benchmarks.MODULE ARGUMENTS` prints as its last line, JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _field(name: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])
