"""Settings of the data sets to train on that are read from files: public ones, and your own."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, model_validator

from theworld.config.base import STRICT, Count, PathSetting
from theworld.config.benchmark_data import BenchmarkData
from theworld.config.data_base import DataSettings
from theworld.config.problems import dataclass

_Share = Annotated[float, Field(gt=0, lt=1)]
HeldOutBy = Literal["picture", "id"]


def _check_rule(by: HeldOutBy, share: float | None) -> None:
    if by == "id" and share is not None:
        raise ValueError(f"held_out_share={share} with held_out_by='id', which holds out one in a hundred: drop one")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LlavaData(DataSettings):
    """LLaVA's conversations, from a JSON file."""

    dataset: Literal["llava"] = "llava"

    source: str
    """JSON file of the conversations."""

    image_dir: PathSetting | None = None
    """Folder that the paths of pictures and videos start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the rows, as large as the file; None: the file's."""

    held_out_by: HeldOutBy = "picture"
    """Rule of the held-out samples of a data set without a validation split: `picture`, all samples of a picture or
    video on one side; `id`, one id in a hundred, as in runs of former versions."""

    held_out_share: _Share | None = None
    """Share of the pictures or videos to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "LlavaData":
        _check_rule(self.held_out_by, self.held_out_share)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OpenSpatialData(DataSettings):
    """The Open Spatial Dataset: conversations about marked regions of pictures of OpenImages."""

    dataset: Literal["open-spatial"] = "open-spatial"

    source: str | None = None
    """Hub id, folder in the layout of that repository, or file; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    image_dir: PathSetting
    """Folder of OpenImages V7's pictures."""

    index_dir: PathSetting | None = None
    """Folder for the index of the rows, as large as the file; None: the file's."""

    marks: Literal["boxes", "masks"] = "boxes"
    """Marks of regions in the pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HFData(DataSettings):
    """Any data set that `datasets.load_dataset` reads, with columns of pictures or videos, questions and
    answers."""

    dataset: Literal["hf"] = "hf"

    source: str
    """Hub id or folder, as `datasets.load_dataset` takes it."""

    revision: str | None = None
    """Commit of the hub repository."""

    config_name: str | None = None
    """Configuration of the data set, if it has several."""

    image_column: str | None = "image"
    """Column of pictures, one or a list per row; None: text alone, or videos. With a video column a data set need not
    have this one."""

    video_column: str | None = None
    """Column of videos, one or a list per row; None: no videos."""

    start_column: str | None = None
    """Column of the start of the part of a video that counts, seconds."""

    end_column: str | None = None
    """Column of its end, seconds."""

    question_column: str = "question"
    """Column of questions."""

    answer_column: str = "answer"
    """Column of answers."""

    conversation_column: str | None = None
    """Column of whole conversations, such as `messages`, instead of questions and answers."""

    id_column: str | None = None
    """Column of ids; None: the position."""

    held_out_by: HeldOutBy = "picture"
    """Rule of the held-out samples of a data set without a validation split: `picture`, all samples of a picture or
    video on one side; `id`, one id in a hundred, as in runs of former versions."""

    held_out_share: _Share | None = None
    """Share of the pictures or videos to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "HFData":
        _check_rule(self.held_out_by, self.held_out_share)
        if self.video_column is None and (self.start_column is not None or self.end_column is not None):
            raise ValueError("start_column and end_column name a part of a video: name its column, video_column")
        is_usual = (self.question_column, self.answer_column) == ("question", "answer")
        if self.conversation_column is not None and not is_usual:
            raise ValueError("conversation_column stands for question_column and answer_column: drop it, or both")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DataCompData(DataSettings):
    """DataComp: web pictures with captions, read as a stream of shards."""

    dataset: Literal["datacomp"] = "datacomp"

    source: str
    """Folder of the shards."""

    num_train: None = None
    """None: a stream has no number of samples."""

    min_clip_score: float | None = None
    """Lowest similarity of picture and text (CLIP L/14); records below it are skipped."""

    min_side_px: Count | None = None
    """Shortest side of a picture as published, pixels; smaller pictures are skipped."""

    verify_sha256: bool = False
    """Skip pictures that differ from the published ones in any byte. Shards of re-encoded pictures, as the published
    tools make them, cannot be checked."""


KEY_ROLES: Final = (
    *("image", "video", "question", "answer", "conversation", "choices", "id", "category", "start", "end"),
    "frame_rate",
)
"""Parts of a row of your own data."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OwnData(DataSettings):
    """Your own pictures or videos, questions and answers."""

    dataset: Literal["own"] = "own"

    source: str
    """File of rows (.json, .jsonl, .csv) with image or video, question and answer, or folder with `metadata.jsonl` or
    `metadata.csv`."""

    image_dir: PathSetting | None = None
    """Folder that the paths of pictures and videos start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the rows, as large as the file; None: the file's."""

    keys: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """ROLE=KEY for keys whose names do not tell, such as `question=frage`; roles: image, video, question,
    answer, conversation, choices, id, category, and of a video start, end, frame_rate."""

    held_out_share: _Share | None = None
    """Share of the pictures or videos to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "OwnData":
        roles = [pair.partition("=")[0] for pair in self.keys]
        for pair, role in zip(self.keys, roles, strict=True):
            if role not in KEY_ROLES or not pair.partition("=")[2]:
                raise ValueError(f"keys: given {pair!r}; expected ROLE=KEY, with a role of {', '.join(KEY_ROLES)}")
        if len(set(roles)) < len(roles):
            raise ValueError(f"keys={self.keys} names a role twice: name each once")
        return self


PublicData: TypeAlias = BenchmarkData | LlavaData | OpenSpatialData | HFData | DataCompData | OwnData
"""Data sets that are read from files."""
