"""DemoSettings and AskSettings: the first things a newcomer runs."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT
from theworld.precision import Dtype


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DemoSettings:
    """The whole of it at tiny size: physical scenes, a fused model trained per arm, answers, a report."""

    output_dir: Path = Path("demo")
    """Folder of the run; the report is report.html in it."""

    num_train: Annotated[int, Field(ge=8)] = 320
    """True clips that projectors learn from, six questions each."""

    num_test: Annotated[int, Field(ge=8)] = 200
    """Scenes of the test split that are asked about, one question each."""

    num_audited: Annotated[int, Field(ge=8)] = 100
    """Scenes of the test split that the audit asks about."""

    num_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps of imitation, and as many of alignment, in each of the two trainings."""

    num_scenes: Annotated[int, Field(ge=1)] = 12
    """Scenes shown in the report."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the new weights and of the order of samples."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AskSettings:
    """One question about one picture."""

    model: str
    """Folder or hub id of a saved TheWorld or of a Gemma 3; "tiny": the embedded TheWorld."""

    picture: Path
    """The picture."""

    question: str
    """The question, plain text."""

    num_world_steps: Annotated[int, Field(ge=0)] | None = None
    """K, how far to look ahead, latent slots; None: as the model was trained."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest answer, tokens."""

    show_future: Path | None = None
    """Where the imagined future is written, as an animation (GIF)."""
