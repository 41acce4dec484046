"""Environment of a run: versions, commit and machine, without secrets."""

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "diffusers", "accelerate", "peft", "datasets", "pymunk", "numpy")

_LAUNCHER_NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
"""Variables that launchers set, and that accelerate reads as numbers."""

COMMIT_NAME = "COMMIT"
"""File of the package with its commit, in a wheel or a source archive."""


def describe_environment(**more: Any) -> str:
    """Return JSON with the versions of the libraries, the commit, the date (UTC), the machine, and the given values."""
    from theworld.precision import describe_device  # not above: setup.py runs this file before the package exists

    # Without torch this process computes nothing, as with a judge at an endpoint.
    device = {"device": describe_device()} if "torch" in sys.modules else {}
    return json.dumps(
        {
            "theworld": version("theworld"),
            "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            **device,
            "libraries": {name: version(name) for name in LIBRARIES},
            **more,
        },
        indent=2,
    )


def unmet_requirements() -> str:
    """Return the libraries whose installed version is out of range, with the remedy; an empty text: there are none."""
    from packaging.requirements import Requirement  # not above: setup.py

    wrong = []
    for line in _requirements():
        needed = Requirement(line)
        if needed.marker is not None:  # belongs to an extra
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            installed = "absent"
        if installed == "absent" or not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"{needed.name} {installed}, needed {needed.specifier}")
    return f"{'; '.join(wrong)}: install with constraints.txt" if wrong else ""


def _requirements() -> list[str]:
    """Return the requirements of the installed package; none if its folder alone is on the path."""
    try:
        return requires("theworld") or []
    except PackageNotFoundError:
        return []


def check_launcher() -> None:
    """Check the numbers that a launcher of several processes puts into the environment.

    Raises:
        ValueError: names the variable that holds no number.
    """
    for name in _LAUNCHER_NUMBERS:
        value = os.environ.get(name)
        if value is not None and not re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
            raise ValueError(f"{name}={value!r} in the environment: expected a whole number from a launcher; unset it")


def commit() -> str | None:
    """Return the commit of this code, with `+` if files have changed since; None: unknown.

    Git knows it in a checkout; in an installed package a file does, from the time of the build.
    """
    package = Path(__file__).parent
    checkout = package.parents[1]
    is_ours = package == checkout / "src" / "theworld"  # unlike a repository around an installed package
    if is_ours and (checkout / ".git").exists():
        return _commit_of(checkout)
    recorded = package / COMMIT_NAME
    return recorded.read_text().strip() if recorded.is_file() else None


def _commit_of(checkout: Path) -> str | None:
    try:
        head = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+", "--match="],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a broken checkout
        return None
    return head.stdout.strip()
