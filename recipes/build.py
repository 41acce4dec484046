"""Build the embedded default model stage by stage, measure it, or pack it into the package."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch

from recipes.dose import run_doses
from recipes.fusion import build_fusion, verify_fusion
from recipes.settings import TinySettings
from recipes.ssl import build_ssl, verify_ssl
from recipes.vae import build_vae, verify_vae
from recipes.varied import for_scenes
from recipes.vlm import build_vlm, verify_vlm
from recipes.world import build_world, verify_world
from theworld.constants import TINY_MODEL
from theworld.io import whole_folder
from theworld.tiny import WEIGHTS

MOST_BYTES: Final = 25_000_000
"""Largest size of a packed build."""

PARTS: Final = ("gemma", "cosmos", "fused")
_NEEDED: Final = ("gemma", "cosmos/vae", "cosmos/transformer", "cosmos/scheduler", "fused")


def pack(build: Path, target: Path) -> int:
    """Copy a finished build to `target`, whole or not at all, and set the base of the fused model to "tiny".

    Returns:
        The size of the copy, bytes.

    Raises:
        ValueError: if a stage is missing, or the build is larger than MOST_BYTES.
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


_STAGES = {
    "vae": (build_vae, verify_vae),
    "world": (build_world, verify_world),
    "vlm": (build_vlm, verify_vlm),
    "fusion": (build_fusion, verify_fusion),
    "ssl": (build_ssl, verify_ssl),
}
_OF_PRODUCT: Final = ("vae", "world", "vlm", "fusion")
"""Stages of `all`; the others are opponents."""


def run(settings: TinySettings) -> dict[str, Any]:
    """Build or verify the chosen stages in order, pack the finished build into the package, or measure its doses.

    Returns:
        The quality of each stage on held-out scenes, by the stage's name; when packing, the folder and its size in
        bytes; of doses, the result of `run_doses`.
    """
    if settings.action == "pack":
        return {"packed": str(WEIGHTS), "num_bytes": pack(settings.output_dir, WEIGHTS)}
    settings = for_scenes(settings)
    torch.set_num_threads(settings.num_threads)
    if settings.action == "dose":
        return run_doses(settings)
    stages = _OF_PRODUCT if settings.stage == "all" else (settings.stage,)
    results = {}
    for stage in stages:
        build, verify = _STAGES[stage]
        results[stage] = build(settings) if settings.action == "build" else verify(settings)
    return results
