"""OpenImagesSettings: which pictures of OpenImages are fetched, from where, into which folder."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OpenImagesSettings:
    """Which pictures of OpenImages are fetched, from where, into which folder."""

    ids: Path
    """File of ids, one a line: 16 hexadecimal digits, `train/` or another split before them or not; `#` begins a
    comment."""

    out: Path
    """Folder of the pictures, ID.jpg each; what is there already is not fetched again."""

    split: Literal["train", "validation", "test"] = "train"
    """Split of the ids that name none."""

    concurrency: Annotated[int, Field(ge=1, le=512)] = 32
    """Pictures that are fetched at the same time."""

    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://s3.amazonaws.com/open-images-dataset"
    """Address before SPLIT/ID.jpg."""

    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest that one attempt at a picture may take, seconds."""

    num_attempts: Annotated[int, Field(ge=1)] = 5
    """Attempts at a picture before it counts as failed; the pauses between them grow."""
