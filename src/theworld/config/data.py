"""DataSettings: which samples a model is trained on and measured on."""

from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT, refuse_unused

SplitName = Literal["train", "validation", "test"]

DatasetName = Literal["foresight", "blink", "spatial-rgpt", "vsr", "llava", "open-spatial", "hf", "datacomp"]

TaskName = Literal["drop", "topple", "roll", "collide", "hide"]
TASK_NAMES: Final[tuple[TaskName, ...]] = get_args(TaskName)
"""The kinds of scene of Foresight."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DataSettings:
    """Which samples a model is trained on and measured on."""

    dataset: DatasetName = "foresight"
    """Where samples come from: `foresight`, physical scenes simulated and drawn when they are read; a public benchmark;
    `llava`, a file of LLaVA's conversations; `open-spatial`, questions about regions; `hf`, any data set of the hub;
    `datacomp`, pictures of the web as a stream of shards."""

    source: str | None = None
    """Of a public data set: hub id, folder in the layout of that repository, or file; None: where its authors publish
    it. Of llava: the file. Of hf: hub id or folder, as `datasets.load_dataset` takes it. Of datacomp: the folder of
    its shards."""

    revision: str | None = None
    """Commit of the hub repository."""

    config_name: str | None = None
    """Of hf: which configuration of the data set, where it has several."""

    image_column: str | None = "image"
    """Of hf: column of pictures, one or a list per row; None: text alone."""

    question_column: str = "question"
    """Of hf: column of questions."""

    answer_column: str = "answer"
    """Of hf: column of answers."""

    conversation_column: str | None = None
    """Of hf: column of whole conversations, such as `messages`, in the place of questions and answers."""

    id_column: str | None = None
    """Of hf: column of ids; None: the position."""

    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Of blink: which of its 14 tasks, none named: all. Of vsr: `random` or `zeroshot`, none named: `zeroshot`."""

    image_dir: Annotated[Path | None, Field(strict=False)] = None
    """Folder of the pictures, where a data set comes without: COCO 2017 for vsr, OpenImages V7 for open-spatial, for
    llava the folder that its paths start from."""

    index_dir: Annotated[Path | None, Field(strict=False)] = None
    """Of llava and open-spatial: folder for the index of the rows, as large as the file; None: beside the file."""

    marks: Literal["boxes", "masks"] = "boxes"
    """How spatial-rgpt and open-spatial mark regions in their pictures."""

    questions: Literal["dynamic", "static", "both", "labels", "readings"] = "both"
    """Of foresight: what is asked: what will happen, what is there (the control), or both.

    `labels` are for training: what will happen, in one conversation with controls about the same picture. `readings`
    are for alignment: what a true clip shows when, with Gemma's picture of another scene.
    """

    # Lax: the settings of an audit fill in a default and so leave JSON, in which alone a strict tuple or path is known.
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, strict=False)] = TASK_NAMES
    """Kinds of scene, in turn: `drop`, `topple` and `roll` show a picture, `collide` and `hide` a clip of 5 frames."""

    form: Literal["open", "choice"] = "open"
    """How an answer is given: by a word, or by the letter of a choice."""

    image_size_px: Annotated[int, Field(ge=16)] = 896
    """Side of foresight's pictures as drawn, pixels: 896 is what Gemma 3 sees, 64 what the tiny model sees."""

    images: Literal["current", "clip"] = "current"
    """What Gemma sees: the current picture, or every frame that is given."""

    drawn_dir: Annotated[Path | None, Field(strict=False)] = None
    """Folder in which samples are kept once they are simulated and drawn; None: they are, whenever they are read."""

    min_clip_score: float | None = None
    """Of datacomp: records of a lower similarity of picture and text (CLIP L/14) are passed over."""

    min_side_px: Annotated[int, Field(ge=1)] | None = None
    """Of datacomp: so are pictures whose shorter side, as published, is shorter, pixels."""

    verify_sha256: bool = False
    """Of datacomp: leave out pictures that are not, byte by byte, those that were published. Shards that hold pictures
    written anew, as the published tools make them, cannot be checked."""

    train_split: SplitName = "train"
    """Split that the weights learn from."""

    num_train: Annotated[int, Field(ge=1)] | None = None
    """Training samples; None: all, and of foresight, which has no end, 20,000 scenes."""

    validation_split: SplitName = "validation"
    """Split that answers are measured on."""

    num_validation: Annotated[int, Field(ge=1)] | None = None
    """Validation samples; None: all, and of foresight 1,000 scenes."""

    @model_validator(mode="after")
    def _check(self) -> "DataSettings":
        refuse_unused(self, "dataset", _OF_DATASET)
        if self.dataset == "vsr" and self.image_dir is None:
            raise ValueError("dataset='vsr' comes without pictures: give image_dir, a folder of COCO 2017's")
        if self.dataset == "open-spatial" and self.image_dir is None:
            raise ValueError(
                "dataset='open-spatial' comes without pictures: give image_dir, a folder of OpenImages V7's"
            )
        if self.dataset in ("llava", "hf") and self.source is None:
            raise ValueError(f"dataset={self.dataset!r} is no one data set: give source, the {_SOURCE[self.dataset]}")
        if self.dataset == "vsr" and len(self.subsets) > 1:
            raise ValueError(f"subsets={self.subsets}: of vsr one at a time, which are tests of their own")
        if self.dataset == "datacomp" and (self.source is None or self.num_train is not None):
            raise ValueError("dataset='datacomp' is a stream: give source, the folder of its shards, and no num_train")
        if self.train_split == "test":
            raise ValueError("train_split='test': nothing may train on the test split; use 'train' or 'validation'")
        if self.questions in ("labels", "readings") and self.form == "choice":
            raise ValueError(f"questions={self.questions!r} are asked in words: form='choice' does not go with them")
        if self.train_split == self.validation_split:
            raise ValueError(f"train_split and validation_split are both {self.train_split!r}: measure on another")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks={self.tasks} names a task twice: each is asked once")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MixturePart:
    """One of several data sets that a run is trained on."""

    data: DataSettings
    """Which samples: its training split."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often its samples are drawn, against the weights of the other parts."""


_OF_DATASET: Final[dict[DatasetName, tuple[str, ...]]] = {
    "foresight": ("questions", "tasks", "form", "image_size_px", "images", "drawn_dir"),
    "blink": ("source", "revision", "subsets"),
    "spatial-rgpt": ("source", "revision", "image_dir", "marks"),
    "vsr": ("source", "revision", "subsets", "image_dir"),
    "llava": ("source", "image_dir", "index_dir"),
    "open-spatial": ("source", "revision", "image_dir", "index_dir", "marks"),
    "hf": (
        "source",
        "revision",
        "config_name",
        "image_column",
        "question_column",
        "answer_column",
        "conversation_column",
        "id_column",
    ),
    "datacomp": ("source", "min_clip_score", "min_side_px", "verify_sha256"),
}
"""Settings that play a part in each data set."""

_SOURCE: Final = {"llava": "JSON file of its conversations", "hf": "hub id or folder"}


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
