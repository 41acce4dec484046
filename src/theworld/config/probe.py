"""ProbeSettings: which features are looked into, for which quantities, on which scenes or pictures."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.data import TASK_NAMES, TaskName
from theworld.config.idle import refuse_idle
from theworld.config.world import STRICT, WorldSettings

LabelsName = Literal["foresight", "vsr", "blink"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ProbeSettings:
    """Linear read-outs of what labels say from every tap, block, noise level and slot."""

    output_dir: Path = Path("probe")
    """Folder of the table (probe.json, probe.md) and the heat map (probe.png)."""

    labels: LabelsName = "foresight"
    """What is to be read: of `foresight`'s scenes position, velocity, contact and outcome; of the pictures of `vsr` the
    relation of true statements, of those of `blink` (Relative_Depth) which of two points is closer."""

    source: str | None = None
    """Of public labels: hub id, folder in the layout of that repository, or file; None: where its authors publish it.
    Of vsr no file, since both train and dev are read."""

    revision: str | None = None
    """Commit of the hub repository."""

    subset: Literal["random", "zeroshot"] | None = None
    """Of vsr: which of its two ways to split; None: `zeroshot`."""

    image_dir: Path | None = None
    """Of vsr: folder of COCO 2017's pictures."""

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)] = TASK_NAMES
    """Of foresight: kinds of scene; each is probed by itself."""

    num_train: Annotated[int, Field(ge=20)] = 1_000
    """Scenes of the train split, of each task, that a read-out is fitted to; of public labels at most so many pictures:
    of vsr's train split, of one half of blink's."""

    num_test: Annotated[int, Field(ge=20)] = 500
    """Scenes of the validation split, of each task, that it is measured on; of public labels at most so many pictures:
    of vsr's dev split, of the other half of blink's."""

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

    @model_validator(mode="after")
    def _check(self) -> "ProbeSettings":
        refuse_idle(self, "labels", _OF_LABELS)
        if self.labels == "vsr" and self.image_dir is None:
            raise ValueError("labels='vsr' come without pictures: give image_dir, a folder of COCO 2017's")
        return self


_OF_LABELS: Final[dict[LabelsName, tuple[str, ...]]] = {
    "foresight": ("tasks",),
    "vsr": ("source", "revision", "subset", "image_dir"),
    "blink": ("source", "revision"),
}
"""Settings that play a part for some labels only."""
