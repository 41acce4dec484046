"""Settings of the data sets: one class for each, and DataSettings for all of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, model_validator

from theworld.config.base import MOST, STRICT, STRICT_VARIANTS, Count, PathSetting, SidePx, Variants
from theworld.config.problems import dataclass
from theworld.config.registered import REGISTERED_DATA, known_data
from theworld.config.renamed import accept_former

SplitName = Literal["train", "validation", "test"]
ForesightSplitName = Literal["train", "validation", "test", "shift-seen", "shift-unseen", "composition"]
VARIED_SPLIT_NAMES: Final[tuple[ForesightSplitName, ...]] = ("shift-seen", "shift-unseen", "composition")
"""Splits that only varied scenes have."""

DatasetName = Literal[
    "foresight", "blink", "spatial-rgpt", "vsr", "llava", "open-spatial", "hf", "datacomp", "own", "registered"
]

TaskName = Literal["drop", "topple", "roll", "collide", "hide"]
TASK_NAMES: Final[tuple[TaskName, ...]] = get_args(TaskName)
"""The kinds of scene of Foresight."""

_Share = Annotated[float, Field(gt=0, lt=1)]
HeldOutBy = Literal["picture", "id"]


def _check_rule(by: HeldOutBy, share: float | None) -> None:
    if by == "id" and share is not None:
        raise ValueError(f"held_out_share={share} with held_out_by='id', which holds out one in a hundred: drop one")


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
    }

    dataset: DatasetName = "foresight"
    """Source of the samples: `foresight`, physical scenes simulated and drawn when they are read; `blink`,
    `spatial-rgpt` or `vsr`, a public benchmark; `llava`, a file of LLaVA's conversations; `open-spatial`, questions
    about regions; `hf`, any data set of the hub; `datacomp`, web pictures as a stream of shards; `own`, a file of your
    own pictures and questions, and the default where only a source is given; `registered`, samples of your program."""

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

    questions: Annotated[Literal["future", "present", "both", "labels", "alignment"], accept_former("questions")] = (
        "both"
    )
    """Questions about the future, about the present (the control), or both.

    `labels` are for training: questions about the future, in one conversation with controls about the same picture.
    `alignment` is for alignment: the state of a true clip at a time, with Gemma's picture of another scene.
    """

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, strict=False)] = TASK_NAMES
    """Kinds of scene, in turn: `drop`, `topple` and `roll` show a picture, `collide` and `hide` a clip of 5 frames."""

    form: Literal["open", "choice"] = "open"
    """Form of an answer: a word, or the letter of a choice."""

    validation_split: ForesightSplitName = "validation"  # pyright: ignore[reportIncompatibleVariableOverride]  # more
    """Split to measure answers on. Varied scenes have three more tests: `shift-seen`, looks that world models see and
    no question for training shows; `shift-unseen`, looks that nothing shows; `composition`, other numbers of parts."""

    scenes: Literal["plain", "varied"] = "plain"
    """plain: scenes of one look, as the embedded model was trained on; varied: looks, sizes, laws and numbers of parts
    vary."""

    wordings: Literal["trained", "held-out"] = "trained"
    """Wordings of questions about varied scenes, for validation: those of training, or others."""

    image_size_px: SidePx = 896
    """Side of the pictures as drawn, pixels: Gemma 3 sees 896, the tiny model 64."""

    images: Literal["current", "clip"] = "current"
    """Gemma's input: the current picture, or every given frame."""

    drawn_dir: PathSetting | None = None
    """Folder that keeps samples once they are simulated and drawn; None: each reading draws them anew."""

    @model_validator(mode="after")
    def _check(self) -> "ForesightData":
        if self.questions in ("labels", "alignment") and self.form == "choice":
            raise ValueError(f"questions={self.questions!r} are asked in words: form='choice' does not go with them")
        if self.scenes == "plain" and self.validation_split in VARIED_SPLIT_NAMES:
            raise ValueError(f"validation_split={self.validation_split!r} needs scenes='varied'")
        if self.scenes == "plain" and self.wordings == "held-out":
            raise ValueError("wordings='held-out' needs scenes='varied': plain scenes have one wording")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks={self.tasks} names a task twice: name each once")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlinkData(DataSettings):
    """BLINK: 14 visual perception tasks with choices."""

    dataset: Literal["blink"] = "blink"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tasks out of 14; none named: all."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTData(DataSettings):
    """SpatialRGPT-Bench: questions about marked regions."""

    dataset: Literal["spatial-rgpt"] = "spatial-rgpt"

    source: str | None = None
    """Hub id, or folder in the layout of that repository; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    image_dir: PathSetting | None = None
    """Folder of the pictures, if the rows hold none."""

    marks: Literal["boxes", "masks"] = "boxes"
    """Marks of regions in the pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VsrData(DataSettings):
    """Visual Spatial Reasoning: true and false statements about pictures of COCO."""

    dataset: Literal["vsr"] = "vsr"

    source: str | None = None
    """Hub id, folder in the layout of that repository, or file; None: the authors' repository."""

    revision: str | None = None
    """Commit of the hub repository."""

    subsets: Annotated[tuple[str, ...], Field(strict=False, max_length=1)] = ()
    """`random` or `zeroshot`, tests of their own; none named: `zeroshot`."""

    image_dir: PathSetting
    """Folder of COCO 2017's pictures."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LlavaData(DataSettings):
    """LLaVA's conversations, from a JSON file."""

    dataset: Literal["llava"] = "llava"

    source: str
    """JSON file of the conversations."""

    image_dir: PathSetting | None = None
    """Folder that the pictures' paths start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the rows, as large as the file; None: the file's."""

    held_out_by: HeldOutBy = "picture"
    """Rule of the held-out samples of a data set without a validation split: `picture`, all samples of a picture on one
    side; `id`, one id in a hundred, as in runs of former versions."""

    held_out_share: _Share | None = None
    """Share of the pictures to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

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
    """Any data set that `datasets.load_dataset` reads, with columns of pictures, questions and answers."""

    dataset: Literal["hf"] = "hf"

    source: str
    """Hub id or folder, as `datasets.load_dataset` takes it."""

    revision: str | None = None
    """Commit of the hub repository."""

    config_name: str | None = None
    """Configuration of the data set, if it has several."""

    image_column: str | None = "image"
    """Column of pictures, one or a list per row; None: text alone."""

    question_column: str = "question"
    """Column of questions."""

    answer_column: str = "answer"
    """Column of answers."""

    conversation_column: str | None = None
    """Column of whole conversations, such as `messages`, instead of questions and answers."""

    id_column: str | None = None
    """Column of ids; None: the position."""

    held_out_by: HeldOutBy = "picture"
    """Rule of the held-out samples of a data set without a validation split: `picture`, all samples of a picture on one
    side; `id`, one id in a hundred, as in runs of former versions."""

    held_out_share: _Share | None = None
    """Share of the pictures to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "HFData":
        _check_rule(self.held_out_by, self.held_out_share)
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


KEY_ROLES: Final = ("image", "question", "answer", "conversation", "choices", "id", "category")
"""Parts of a row of your own data."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OwnData(DataSettings):
    """Your own pictures, questions and answers."""

    dataset: Literal["own"] = "own"

    source: str
    """File of rows (.json, .jsonl, .csv) with image, question and answer, or folder with `metadata.jsonl` or
    `metadata.csv`."""

    image_dir: PathSetting | None = None
    """Folder that the pictures' paths start from; None: the file's."""

    index_dir: PathSetting | None = None
    """Folder for the index of the rows, as large as the file; None: the file's."""

    keys: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """ROLE=KEY for keys whose names do not tell, such as `question=frage`; roles: image, question, answer,
    conversation, choices, id, category."""

    held_out_share: _Share | None = None
    """Share of the pictures to hold out; None: a fifth, about 1,000 samples at most, but at least 1 %."""

    @model_validator(mode="after")
    def _check(self) -> "OwnData":
        roles = [pair.partition("=")[0] for pair in self.keys]
        for pair, role in zip(self.keys, roles, strict=True):
            if role not in KEY_ROLES or not pair.partition("=")[2]:
                raise ValueError(f"keys: given {pair!r}; expected ROLE=KEY, with a role of {', '.join(KEY_ROLES)}")
        if len(set(roles)) < len(roles):
            raise ValueError(f"keys={self.keys} names a role twice: name each once")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RegisteredData(DataSettings):
    """A data set of your own, which your program registers (`theworld.datasets.custom`)."""

    IS_LATER: ClassVar[bool] = True

    dataset: Literal["registered"] = "registered"

    name: Annotated[str, AfterValidator(known_data)]
    """Name that it is registered under."""

    source: str | None = None
    """Place of its files, for the function that you registered."""

    fingerprint: str | None = None
    """Hash of its identity, which a run writes here; a data set of another identity is refused."""

    @model_validator(mode="after")
    def _settle_identity(self) -> "RegisteredData":
        now = REGISTERED_DATA[self.name](self)
        if self.fingerprint not in (None, now):
            raise ValueError(
                f"data set {self.name!r} is another one than before: its fingerprint is {now}, and here it is"
                f" {self.fingerprint}; put the data back, or start anew without this fingerprint"
            )
        object.__setattr__(self, "fingerprint", now)
        return self


PublicData: TypeAlias = (
    BlinkData | SpatialRGPTData | VsrData | LlavaData | OpenSpatialData | HFData | DataCompData | OwnData
)
"""Data sets that are read from files."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MixturePart:
    """One of several data sets that a run is trained on."""

    data: DataSettings
    """Data set; its training split is read."""

    weight: Annotated[float, Field(gt=0, le=MOST)] = 1.0
    """Frequency of its samples, relative to the weights of the other parts."""
