"""EvaluationConfig and AuditSettings: what is asked of a trained model, and how its answers are taken."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.data import DataSettings
from theworld.config.world import STRICT
from theworld.precision import Dtype

ArmName = Literal["world", "no-world-tokens", "gemma", "blind", "random-projection", "random-world", "majority"]
"""Who answers:

- `world`: the checkpoint as it is.
- `no-world-tokens`: the checkpoint without its world; what was trained of its Gemma stays.
- `gemma`: Gemma 3 alone, the checkpoint's base as it was before any training.
- `blind`: the checkpoint without its world and without the picture: the wording alone.
- `random-projection`: the checkpoint with its projector drawn anew.
- `random-world`: the checkpoint reading its tap with weights that have learnt nothing.
- `majority`: no model: the most frequent true answer of each kind of question.
"""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EvaluationConfig:
    """An evaluation, complete: which model answers which questions, in which arms."""

    checkpoint: Path
    """Folder of a saved TheWorld; "tiny-foresight": the embedded one."""

    output_dir: Path
    """Where predictions and scores are written; an interrupted evaluation continues there."""

    arms: Annotated[tuple[ArmName, ...], Field(min_length=1)] = ("world",)
    """What is measured, side by side."""

    num_world_steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    """The values of K at which the arm `world` answers; None: the model's own."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples answered at a time."""

    answers: Literal["written", "weighed"] = "written"
    """What counts as the answer: the text that the model writes, or the choice that it finds likeliest."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 16
    """Longest written answer, tokens."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    store_dir: Path | None = None
    """Folder of the feature store: world features are computed once and read from there."""

    data: DataSettings = field(default_factory=DataSettings)
    """The questions: its validation split."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        for name in ("arms", "num_world_steps"):
            values = getattr(self, name)
            if values is not None and len(set(values)) < len(values):
                raise ValueError(f"{name}={values} names a value twice: each is measured once")
        refuse_conversations(self.data)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AuditSettings:
    """An audit, complete: which trained model, on which questions."""

    checkpoint: Path
    """Folder of a saved TheWorld; "tiny-foresight": the embedded one."""

    output_dir: Path = Path("audit")
    """Where predictions and the verdict are written; an interrupted audit continues there."""

    answers: Literal["written", "weighed"] = "written"
    """What counts as the answer: the text that the model writes, or the choice that it finds likeliest."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples answered at a time."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the derangement and of the noise."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    store_dir: Path | None = None
    """Folder of a feature store; None: one in output_dir."""

    data: DataSettings = field(default_factory=lambda: DataSettings(questions="dynamic"))
    """The questions: its validation split, of one kind; by default those about the future."""

    @field_validator("data", mode="before")
    @classmethod
    def _ask_about_the_future(cls, given: Any) -> Any:
        """What a file or the command line leaves open of the data is the default of an audit, not of the data."""
        if isinstance(given, dict) and given.get("dataset", "foresight") == "foresight":
            return {"questions": "dynamic", **given}
        return given

    @model_validator(mode="after")
    def _check(self) -> "AuditSettings":
        refuse_conversations(self.data)
        return self


def refuse_conversations(data: DataSettings) -> None:
    """Refuse what is for training alone.

    Raises:
        ValueError: for `labels` and `readings`.
    """
    if data.questions in ("labels", "readings"):
        raise ValueError(f"data.questions={data.questions!r}: conversations for training; ask 'dynamic' or 'static'")
