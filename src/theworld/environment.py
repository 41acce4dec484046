"""What a run must say about where it ran: versions, commit, machine; never a secret."""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "diffusers", "accelerate", "peft", "datasets", "pymunk", "numpy")

COMMIT_NAME = "COMMIT"
"""File of the package in a wheel or a source archive: the commit that it was made from."""


def describe_environment(**more: Any) -> str:
    """JSON text with the versions of the libraries, the commit of this code and the machine; and what else is given."""
    from theworld.precision import describe_device  # not above: setup.py runs this file before there is a package

    # Without torch nothing is computed here: an endpoint judges.
    device = {"device": describe_device()} if "torch" in sys.modules else {}
    return json.dumps(
        {
            "theworld": version("theworld"),
            "commit": commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            **device,
            "libraries": {name: version(name) for name in LIBRARIES},
            **more,
        },
        indent=2,
    )


def commit() -> str | None:
    """The commit of this code, `+` behind it if files were changed since; None where nobody can tell.

    In a checkout git says it; in an installed package the file that was written when the package was built.
    """
    package = Path(__file__).parent
    checkout = package.parents[1]
    is_ours = package == checkout / "src" / "theworld"  # a repository around an installed package is not
    if is_ours and (checkout / ".git").exists():
        return _said_by_git(checkout)
    recorded = package / COMMIT_NAME
    return recorded.read_text().strip() if recorded.is_file() else None


def _said_by_git(checkout: Path) -> str | None:
    try:
        head = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+", "--match="],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout that is broken
        return None
    return head.stdout.strip()
