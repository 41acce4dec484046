"""Packing a finished build into the package: the embedded default, in the folder layouts of the real checkpoints."""

import json
import shutil
from pathlib import Path
from typing import Final

from theworld.constants import TINY_MODEL
from theworld.io import whole_folder

MOST_BYTES: Final = 25_000_000
"""What the package may grow by."""

PARTS: Final = ("gemma", "cosmos", "fused")
_NEEDED: Final = ("gemma", "cosmos/vae", "cosmos/transformer", "cosmos/scheduler", "fused")


def pack(build: Path, target: Path) -> int:
    """Copy a finished build to `target`, whole or not at all; the fused model then names its base "tiny".

    Returns:
        The size of what was written, bytes.

    Raises:
        ValueError: if a stage is missing, or all of it is larger than MOST_BYTES.
    """
    if missing := [part for part in _NEEDED if not (build / part).is_dir()]:
        raise ValueError(f"{build}: no {', '.join(missing)}; build all stages first")
    with whole_folder(target) as aside:
        for part in PARTS:
            shutil.copytree(build / part, aside / part)
        config = aside / "fused" / "config.json"
        names = dict.fromkeys(("base_model_name", "cosmos_model_name", "siglip_model_name"), TINY_MODEL)
        config.write_text(json.dumps({**json.loads(config.read_text()), **names}, indent=2) + "\n")
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ValueError(f"{build}: {size:,} bytes, at most {MOST_BYTES:,} are allowed")
    return size
