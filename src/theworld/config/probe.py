"""ProbeSettings: which features are looked into, for which quantities, on which scenes."""

from dataclasses import field
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from theworld.config.data import TASK_NAMES, TaskName
from theworld.config.world import STRICT, WorldSettings


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ProbeSettings:
    """Linear read-outs of position, velocity, contact and outcome from every tap, block, noise level and slot."""

    output_dir: Path = Path("probe")
    """Folder of the table (probe.json, probe.md) and the heat map (probe.png)."""

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)] = TASK_NAMES
    """Kinds of scene; each is probed by itself."""

    num_train: Annotated[int, Field(ge=20)] = 1_000
    """Scenes of the train split, of each task, that a read-out is fitted to."""

    num_test: Annotated[int, Field(ge=20)] = 500
    """Scenes of the validation split, of each task, that it is measured on."""

    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4, 5)
    """Transformer blocks whose states are looked into."""

    noise_levels: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.105,
        0.32,
        0.601,
        0.803,
        0.907,
        0.955,
    )
    """Noise levels t of the denoiser's input: each just above one that ten denoising steps pass through."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Clips read at a time."""

    world: WorldSettings = field(default_factory=WorldSettings)
    """Names, size and frame rate; where features are read is what is probed."""
