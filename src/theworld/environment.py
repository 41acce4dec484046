"""What a run must say about where it ran: versions, commit, machine; never a secret."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "diffusers", "accelerate", "peft", "datasets", "pymunk", "numpy")


def describe_environment() -> str:
    """JSON text with the versions of the libraries, the commit of this code and the machine."""
    return json.dumps(
        {
            "theworld": version("theworld"),
            "commit": commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "libraries": {name: version(name) for name in LIBRARIES},
        },
        indent=2,
    )


def commit() -> str | None:
    """The commit of the checkout that this code runs from, `+` behind it if files were changed; None outside one."""
    folder = Path(__file__).parents[2]
    if not (folder / "src" / "theworld").is_dir():  # installed: a repository around it is not ours
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or an installed package
        return None
    return head.stdout.strip()
