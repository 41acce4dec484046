"""Settings of the data set `video`: any videos, whose own continuation is the future to learn from."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from theworld.config.base import STRICT, Count, PathSetting, Seed
from theworld.config.data_base import DataSettings
from theworld.config.problems import dataclass

VIDEO_ROLES: Final = ("video", "question", "answer", "time", "start", "choices", "id", "category")
"""Parts of a row about a video."""

_GreyLevels = Annotated[float, Field(ge=0, le=256)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VideoData(DataSettings):
    """Videos: a sample is the frames up to a moment, and those that followed."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["video"] = "video"

    source: str
    """Folder of videos, with those in its folders; a list of paths (.txt, one a line); a file of rows (.json, .jsonl,
    .csv) with video and perhaps question, answer or caption, and time; or a hub id."""

    revision: str | None = None
    """Commit of the hub repository."""

    config_name: str | None = None
    """Configuration of the data set, if it has several."""

    video_column: str | None = None
    """Column of videos of a hub data set, one per row; None: the one that its type or name tells."""

    video_dir: PathSetting | None = None
    """Folder that the videos' paths start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the videos; None: beside the source."""

    keys: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """ROLE=KEY for keys whose names do not tell, such as `question=frage`; roles: video, question, answer, time (the
    end of the given part, seconds), start, choices, id, category."""

    num_future_steps: Annotated[int, Field(ge=1, le=1_024)] = 4
    """Latent slots that follow the given frames, 4 frames each."""

    windows_per_video: Count | None = None
    """Largest number of samples of a video without labels; None: 8, or all of a single video."""

    stride_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds between the beginnings of two samples of a video; None: their length, so that they share no frame.
    At least the time of a frame of the models."""

    window_seed: Seed = 0
    """Seed of the choice of samples of a long video."""

    min_motion: _GreyLevels = 0.75
    """Smallest change between neighbouring frames in the part of the picture that changes most, grey levels of 256;
    samples below it are static, and left out. 0: none."""

    min_luminance: _GreyLevels = 4.0
    """Smallest mean grey level of 256; darker samples are left out. 0: none."""

    max_jump: _GreyLevels = 15.0
    """Largest mean difference of two neighbouring frames beyond the differences before and after, grey levels of 256;
    samples above it have a cut, and are left out. 256: none."""

    held_out_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the videos to hold out, of a single one its last part; None: a fifth, about 1,000 samples at most, but
    at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "VideoData":
        roles = [pair.partition("=")[0] for pair in self.keys]
        for pair, role in zip(self.keys, roles, strict=True):
            if role not in VIDEO_ROLES or not pair.partition("=")[2]:
                raise ValueError(f"keys: given {pair!r}; expected ROLE=KEY, with a role of {', '.join(VIDEO_ROLES)}")
        if len(set(roles)) < len(roles):
            raise ValueError(f"keys={self.keys} names a role twice: name each once")
        return self
