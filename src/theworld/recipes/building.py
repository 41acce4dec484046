"""The command `tiny`: build the embedded default model stage by stage, or measure what was built."""

from typing import Any

import torch

from theworld.config.tiny import TinySettings
from theworld.recipes.fusion import build_fusion, verify_fusion
from theworld.recipes.packing import pack
from theworld.recipes.vae import build_vae, verify_vae
from theworld.recipes.vlm import build_vlm, verify_vlm
from theworld.recipes.world import build_world, verify_world
from theworld.tiny import WEIGHTS

_STAGES = {
    "vae": (build_vae, verify_vae),
    "world": (build_world, verify_world),
    "vlm": (build_vlm, verify_vlm),
    "fusion": (build_fusion, verify_fusion),
}


def run(settings: TinySettings) -> dict[str, Any]:
    """Build or verify the stages that are asked for, in order; or pack the finished build into the package.

    Returns:
        What each stage measured on held-out scenes, by the stage's name; of packing, the folder and its size in bytes.
    """
    if settings.action == "pack":
        return {"packed": str(WEIGHTS), "num_bytes": pack(settings.output_dir, WEIGHTS)}
    torch.set_num_threads(settings.num_threads)
    stages = list(_STAGES) if settings.stage == "all" else [settings.stage]
    found = {}
    for stage in stages:
        build, verify = _STAGES[stage]
        found[stage] = build(settings) if settings.action == "build" else verify(settings)
    return found
