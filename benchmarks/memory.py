"""Memory of this process from /proc (Linux), and measurements in separate processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def rss() -> int:
    """Return the current memory in bytes."""
    return _field("VmRSS")


def forget_peak() -> None:
    """Reset `peak`."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the peak memory in bytes since `forget_peak`."""
    return _field("VmHWM")


def available() -> int:
    """Return the free memory of the machine in bytes."""
    text = Path("/proc/meminfo").read_text()
    return 1024 * int(text.split("MemAvailable:")[1].split()[0])


def in_a_process(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m benchmarks.MODULE ARGUMENTS`, and return the JSON of its last line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _field(name: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])
