"""Settings of data sets: the base class of them all, and Foresight, the default."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, model_validator

from theworld.config.base import STRICT, STRICT_VARIANTS, Count, CountOrZero, PathSetting, SidePx, Variants
from theworld.config.problems import dataclass
from theworld.config.renamed import accept_former

SplitName = Literal["train", "validation", "test"]
ForesightSplitName = Literal["train", "validation", "test", "shift-seen", "shift-unseen", "composition", "train-seen"]
VARIED_TEST_NAMES: Final[tuple[ForesightSplitName, ...]] = ("shift-seen", "shift-unseen", "composition")
"""Tests that only varied scenes have."""
VARIED_SPLIT_NAMES: Final[tuple[ForesightSplitName, ...]] = (*VARIED_TEST_NAMES, "train-seen")
"""Splits that only varied scenes have."""

DatasetName = Literal[
    "foresight",
    "blink",
    "spatial-rgpt",
    "vsr",
    "vpct",
    "futurebench",
    "openworldqa",
    "vrqabench",
    "sat",
    "physbench",
    "mvp",
    "intphys2",
    "llava",
    "open-spatial",
    "hf",
    "datacomp",
    "own",
    "registered",
    "video",
]

QuestionsName = Literal["future", "present", "both", "labels", "alignment", "alignment-states", "alignment-facts"]
AlignmentName = Literal["alignment", "alignment-states", "alignment-facts"]
"""Conversations of alignment: about true clips."""
CONVERSATION_NAMES: Final[tuple[QuestionsName, ...]] = ("labels", *get_args(AlignmentName))
"""Questions that come in conversations, which are for training alone."""

TaskName = Literal["drop", "topple", "roll", "collide", "hide"]
TASK_NAMES: Final[tuple[TaskName, ...]] = get_args(TaskName)
"""The kinds of scene of Foresight."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Shift:
    """Change of the look of every picture, to measure what a model does with looks that it was not trained on."""

    camera_px: Annotated[float, Field(ge=-8, le=8)] = 0.0
    """How far the picture moves to the right, pixels of a picture of 64."""

    zoom: Annotated[float, Field(ge=0.5, le=1.5)] = 1.0
    """Factor of the size of things in the picture; its middle stays in place."""

    light: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0
    """Factor of all colours."""


NO_SHIFT: Final = Shift()


@dataclass(config=STRICT_VARIANTS, frozen=True, kw_only=True)
class DataSettings(Variants):
    """Samples to train on and to measure on: the fields of every data set; a subclass adds those of its own.

    `DataSettings(dataset="llava", source=...)` makes a `LlavaData`.
    """

    TAG: ClassVar[str] = "dataset"
    ADDED: ClassVar[Mapping[str, Any]] = {
        "held_out_by": "id",
        "held_out_share": None,
        "keys": (),
        "scenes": "plain",
        "wordings": "trained",
        "shift": NO_SHIFT,
        "first_scene": 0,
        "video_column": None,
        "start_column": None,
        "end_column": None,
    }

    dataset: DatasetName = "foresight"
    """Source of the samples: `foresight`, physical scenes simulated and drawn when they are read; `blink`,
    `spatial-rgpt` or `vsr`, a public benchmark; `vpct`, `futurebench`, `openworldqa`, `vrqabench`, `sat`, `physbench`,
    `mvp` or `intphys2`, a benchmark about the future; `llava`, a file of LLaVA's conversations; `open-spatial`,
    questions about regions; `hf`, any data set of the hub; `datacomp`, web pictures as a stream of shards; `own`, a
    file of your own pictures or videos and questions, and the default where only a source is given; `registered`,
    samples of your program; `video`, videos of any kind, each with its own future."""

    train_split: SplitName = "train"
    """Split to train on."""

    num_train: Count | None = None
    """Training samples; None: all, and 20,000 scenes of foresight, which has no end."""

    validation_split: SplitName = "validation"
    """Split to measure answers on."""

    num_validation: Count | None = None
    """Validation samples; None: all, and 1,000 scenes of foresight."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    @classmethod
    def default_tag(cls, values: Mapping[str, Any]) -> str:
        """Return the data set of settings that name none: `own` if they name a source, which foresight has not."""
        return "own" if values.get("source") is not None else super().default_tag(values)

    @model_validator(mode="after")
    def _check_splits(self) -> "DataSettings":
        if self.train_split == "test":
            raise ValueError("train_split='test': nothing may train on the test split; use 'train' or 'validation'")
        if self.train_split == self.validation_split:
            raise ValueError(f"train_split and validation_split are both {self.train_split!r}: measure on another")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForesightData(DataSettings):
    """Foresight: physical scenes, simulated and drawn when they are read."""

    dataset: Literal["foresight"] = "foresight"

    questions: Annotated[QuestionsName, accept_former("questions")] = "both"
    """Questions about the future, about the present (the control), or both.

    `labels` are for training: questions about the future, in one conversation with controls about the same picture.
    `alignment` is for alignment: the state of a true clip at a time and its end, with Gemma's picture of another scene.
    `alignment-states` leaves out the end, so that no outcome is a label; `alignment-facts` leaves out the states, too:
    that of the last slot is the outcome in other words.
    """

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, strict=False)] = TASK_NAMES
    """Kinds of scene, in turn: `drop`, `topple` and `roll` show a picture, `collide` and `hide` a clip of 5 frames."""

    train_split: ForesightSplitName = "train"  # pyright: ignore[reportIncompatibleVariableOverride]  # one more
    """Split to train on. Varied scenes have one more: `train-seen`, in the looks of the videos; `train` is in a corner
    of looks."""

    form: Literal["open", "choice"] = "open"
    """Form of an answer: a word, or the letter of a choice."""

    validation_split: ForesightSplitName = "validation"  # pyright: ignore[reportIncompatibleVariableOverride]  # more
    """Split to measure answers on. Varied scenes have three more tests: `shift-seen`, looks that world models see and
    no outcome label shows; `shift-unseen`, looks that nothing shows; `composition`, other numbers of parts."""

    scenes: Literal["plain", "varied"] = "plain"
    """plain: scenes of one look, as the embedded model was trained on; varied: looks, sizes, laws and numbers of parts
    vary."""

    wordings: Literal["trained", "held-out"] = "trained"
    """Wordings of questions about varied scenes, for validation: those of training, or others."""

    shift: Shift = NO_SHIFT
    """Change of the look of the pictures, for measurements."""

    image_size_px: SidePx = 896
    """Side of the pictures as drawn, pixels: Gemma 3 sees 896, the tiny model 64."""

    first_scene: CountOrZero = 0
    """Scenes of the training split to leave out before the first one: a multiple of the number of tasks."""

    images: Literal["current", "clip"] = "current"
    """Gemma's input: the current picture, or every given frame."""

    drawn_dir: PathSetting | None = None
    """Folder that keeps samples once they are simulated and drawn; None: each reading draws them anew."""

    @model_validator(mode="after")
    def _check(self) -> "ForesightData":
        if self.questions in CONVERSATION_NAMES and self.form == "choice":
            raise ValueError(f"questions={self.questions!r} are asked in words: form='choice' does not go with them")
        if self.train_split in VARIED_TEST_NAMES:
            raise ValueError(f"train_split={self.train_split!r}: nothing may train on a test split; use 'train'")
        for name, split in (("train_split", self.train_split), ("validation_split", self.validation_split)):
            if self.scenes == "plain" and split in VARIED_SPLIT_NAMES:
                raise ValueError(f"{name}={split!r} needs scenes='varied'")
        if self.scenes == "plain" and self.wordings == "held-out":
            raise ValueError("wordings='held-out' needs scenes='varied': plain scenes have one wording")
        if self.questions in CONVERSATION_NAMES and self.shift != NO_SHIFT:
            raise ValueError(f"questions={self.questions!r} are for training, a shift is for measurements")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks={self.tasks} names a task twice: name each once")
        if self.first_scene % len(self.tasks):
            raise ValueError(f"first_scene={self.first_scene}: expected a multiple of {len(self.tasks)}, the tasks")
        return self
