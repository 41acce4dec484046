"""Settings of a comparison of arms at equal budget, and of each kind of arm."""

from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from theworld.config.base import (
    MOST,
    STRICT,
    STRICT_VARIANTS,
    BatchSize,
    Count,
    CountOrZero,
    NumWorkers,
    PathSetting,
    Seed,
    SidePx,
    Variants,
)
from theworld.config.data_base import TASK_NAMES, VARIED_SPLIT_NAMES, AlignmentName
from theworld.config.model import LoraSettings, ModelSettings
from theworld.config.optim import OptimSettings
from theworld.config.problems import dataclass
from theworld.config.world import ReadTap, TapName, WorldSettings
from theworld.precision import Precision

LearningRates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, strict=False)]
"""Learning rates to choose from."""
TestSplitName = Literal["test", "shift-seen", "shift-unseen", "composition"]
"""Splits of test questions; the last three are of varied scenes."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Reading:
    """World settings in which arms differ; they share names and sizes."""

    tap: TapName
    """Tap that features come from."""

    control_of: ReadTap = "vae"
    """As in the world settings."""

    repeat_current: bool = False
    """Fill future slots with the current one."""

    dit_future: Literal["none", "repeat", "denoised"] = "repeat"
    """Filling of the future slots of the tap dit."""

    dit_block: CountOrZero | None = None
    """Block of the denoiser that the tap dit reads; None: as in the world settings."""

    dit_noise_level: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Noise level of the input of the tap dit; None: as in the world settings."""

    num_rollouts: Count = 1
    """Imagined futures to average."""

    cosmos_model_name: str | None = None
    """Folder or hub id of another world model or video encoder; None: that of the comparison."""

    def within(self, world: WorldSettings) -> WorldSettings:
        """Return the world settings with these values."""
        return replace(world, **{name: value for name, value in asdict(self).items() if value is not None})


ArmRole = Literal["world", "opponent", "control", "reference"]
"""Part of an arm in a comparison: reads a world model; can learn without one; carries nothing; is no competitor."""

_ROLES: Final[dict[TapName, ArmRole]] = {
    "zero": "control",
    "random": "control",
    "dit": "world",
    "rollout": "world",
    "true-future": "reference",
}
"""Roles of arms by the tap that they read; others are opponents, whose features are of the given frames."""


@dataclass(config=STRICT_VARIANTS, frozen=True, kw_only=True)
class Arm(Variants):
    """An arm: one line of the table. A subclass for each kind adds its fields; `Arm(kind="gemma", ...)` makes it."""

    TAG: ClassVar[str] = "kind"

    kind: Literal["world", "gemma", "pixels"] = "world"
    """`world`: Gemma with world tokens, or with what they taught it; `gemma`: Gemma itself, trained on the labelled
    scenes; `pixels`: a small network that sees the pictures and knows no language."""

    name: str
    """Name in tables and folders."""

    label_learning_rates: LearningRates | None = None
    """Peak learning rates on outcome labels to choose from; None: those of the comparison."""

    num_clips: CountOrZero | None = None
    """Unlabelled clips that its world model or encoder was trained on, for the table; None: not shown."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    @property
    def role(self) -> ArmRole:
        """Part of the arm in the comparison."""
        return "opponent"

    @property
    def is_aligned(self) -> bool:
        """True for an arm that trains on the clips of the alignment before it trains on labels."""
        return False


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WorldArm(Arm):
    """Gemma with world tokens, aligned on true clips; or distilled: with what these clips taught it."""

    kind: Literal["world"] = "world"

    reads: Reading
    """Features that it reads when it answers."""

    aligned_on: Reading
    """Features of true clips that it reads during alignment."""

    images: Literal["current", "clip"] = "current"
    """Gemma's input: the current picture, or every given frame."""

    distillation: Annotated[float, Field(ge=0, le=MOST)] | None = None
    """Weight of the loss by which Gemma learns to predict the features instead of reading them: the arm has no world
    tokens, and answers without a world. 0: the same training without this loss, its control. None: world tokens."""

    @property
    def role(self) -> ArmRole:
        """Part of the arm in the comparison, by its tap; a distilled arm is an opponent."""
        return "opponent" if self.distillation is not None else _ROLES.get(self.reads.tap, "opponent")

    @property
    def is_aligned(self) -> bool:
        """True: every such arm is."""
        return True


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GemmaArm(Arm):
    """Gemma itself, without world tokens and without alignment: it trains on the labelled scenes alone."""

    kind: Literal["gemma"] = "gemma"

    images: Literal["current", "clip"] = "clip"
    """Gemma's input: every given frame, or the current picture."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters to train beside its frozen layers; without targets, vision and language train whole."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PixelsArm(Arm):
    """A small residual network, trained from scratch on the given frames of the labelled scenes.

    It has an output for each kind of question, and is asked about the future alone: it reads no text.
    """

    kind: Literal["pixels"] = "pixels"

    answers: Literal["words", "places"] = "words"
    """Answer that it learns: the word, among the choices of the question; or the place of the answer in the picture, a
    reference, since the scene itself then names what is there."""

    num_steps: Count = 1_500
    """Optimiser steps; more if `num_passes` need more."""

    num_passes: Count = 30
    """Passes over the labelled scenes, at least."""

    batch_size: BatchSize = 64
    """Samples per step."""

    @property
    def role(self) -> ArmRole:
        """Part of the arm in the comparison: by place it is spared to name the answer."""
        return "reference" if self.answers == "places" else "opponent"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ArmsSettings:
    """A comparison at equal budget: the same data, steps, trainable parameters and tokens for every arm."""

    output_dir: PathSetting
    """Folder of the comparison; it reuses the results that are there."""

    primary: tuple[str, str]
    """The comparison named beforehand: a world arm and its partner without a world."""

    primary_labels: CountOrZero = 0
    """Outcome labels of that comparison."""

    arms: tuple[Arm, ...] = ()
    """Arms to compare, from a settings file."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of new weights and of the order of samples."""

    num_labels: Annotated[tuple[CountOrZero, ...], Field(min_length=1)] = (0, 100, 1_000, 10_000)
    """Numbers of outcome labels: questions about the future to train on after alignment."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """Model of all arms, except for the world settings that an arm reads."""

    image_size_px: SidePx = 64
    """Side of the pictures, pixels."""

    scenes: Literal["plain", "varied"] = "plain"
    """Scenes of every part of the comparison. Labels of varied ones come from the train split's corner of looks."""

    test_splits: Annotated[tuple[TestSplitName, ...], Field(min_length=1)] = ("test",)
    """Splits of the test questions: the first is that of the comparison, controls and exchanged worlds included; the
    others are reported beside it."""

    aligned_questions: AlignmentName = "alignment"
    """Conversations of the alignment: with the end of each clip, which annotates its outcome (`alignment`); or without
    it, as in the settings of the data."""

    aligned_split: Literal["train", "train-seen"] = "train"
    """Scenes of the alignment: those that labels come from, or, of varied scenes, others in the looks of the videos."""

    first_label: CountOrZero = 0
    """Scenes of the train split before the first outcome label. Where the alignment has that split, too, labelled
    scenes are others than its own from `num_aligned` on; with 0 they are the first of these."""

    num_aligned: Count = 2_000
    """True clips to align every arm on, six questions each."""

    num_test: Count = 2_000
    """Scenes of the test split, one question about the future each."""

    num_shuffled: Count = 500
    """Scenes of the test split to ask again with the world of a partner scene."""

    num_static: Count = 100
    """Scenes of the test split, with every control question each."""

    imitate_steps: CountOrZero = 400
    """Optimiser steps in which world tokens learn to resemble image tokens of the same true clips; 0: none, for world
    tokens that do not stand for places."""

    imitate_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """Peak learning rate of these steps."""

    align_steps: Count = 600
    """Optimiser steps of the alignment: questions about true clips."""

    align_learning_rates: LearningRates = (3e-3,)
    """Peak learning rates of the alignment; with several, validation scenes choose one for each arm."""

    label_steps: Count = 200
    """Optimiser steps on outcome labels; more if one pass over them needs more."""

    label_learning_rates: LearningRates = (3e-3,)
    """Peak learning rates on outcome labels; with several, validation scenes choose one for each arm."""

    label_passes: Count = 1
    """Passes over the labelled scenes, at least."""

    num_choosing: Count = 100
    """Outcome labels for this choice of a rate."""

    choose_for_each: bool = False
    """Choose a rate for each number of labels, instead of one for all with `num_choosing` labels."""

    num_validation: Count = 500
    """Scenes of the validation split for the choice of rates."""

    batch_size: BatchSize = 8
    """Samples per step."""

    num_parameters: Count = 60_000
    """Trainable parameters of every arm beside its adapters, within 1 %: they set the hidden width of its projector. A
    distilled arm has no projector, and arms of the kinds gemma and pixels have their own parameters."""

    world_build: str | None = None
    """Name of the build of the world model and Gemma. Parts of a comparison with other builds are added by `also`, and
    intervals then count builds, seeds and questions; None: one build, which no interval counts."""

    num_workers: NumWorkers = 1
    """Processes that prepare samples."""

    precision: Precision = "auto"
    """Number format of the forward passes of training; auto: bf16 on a device that computes it natively, else fp32."""

    compile: bool = False
    """Compile Gemma's layers for training (torch.compile)."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser, without its learning rates, which stand above."""

    also: tuple[Path, ...] = ()
    """Results to add to the table: files arms.json that `theworld arms` wrote for the same comparison in another folder
    or on another machine. Their runs are not repeated here, and their learning rates hold here, too."""

    report: bool = False
    """Write the table and the curves of finished runs, without training."""

    @model_validator(mode="after")
    def _check(self) -> "ArmsSettings":
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError("no arms: expected them in a settings file, such as configs/foresight/arms.yaml")
        if len(set(names)) < len(names):
            raise ValueError(f"arms {names}: expected all names different")
        if missing := [name for name in self.primary if name not in names]:
            raise ValueError(f"primary={self.primary} names {missing}, which is no arm: expected two of {names}")
        if varied := [split for split in self.test_splits if split in VARIED_SPLIT_NAMES and self.scenes == "plain"]:
            raise ValueError(f"test_splits={self.test_splits}: {varied[0]!r} needs scenes='varied'")
        if self.scenes == "plain" and self.aligned_split == "train-seen":
            raise ValueError("aligned_split='train-seen' needs scenes='varied'")
        if len(set(self.test_splits)) < len(self.test_splits):
            raise ValueError(f"test_splits={self.test_splits} names a split twice: name each once")
        if self.first_label % len(TASK_NAMES):
            raise ValueError(f"first_label={self.first_label}: expected a multiple of {len(TASK_NAMES)}, the tasks")
        distilled = [arm for arm in self.arms if isinstance(arm, WorldArm) and arm.distillation is not None]
        if not self.model.gemma_trains and (without := [arm.name for arm in distilled]):
            raise ValueError(
                f"arms {without} have no world tokens, and all of Gemma is frozen: name model.lora.targets, as"
                " configs/foresight/arms-lora.yaml does"
            )
        return self
