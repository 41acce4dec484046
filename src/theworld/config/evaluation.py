"""Settings of evaluations, audits, scores of public benchmarks, and judges."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from theworld.config.base import (
    STRICT,
    BatchSize,
    Count,
    InferenceSteps,
    NumSlots,
    PathSetting,
    Seconds,
    Seed,
)
from theworld.config.data import CONVERSATION_NAMES, DataSettings, ForesightData
from theworld.config.problems import dataclass
from theworld.config.renamed import accept_former
from theworld.config.reply_files import FutureScoring
from theworld.config.thresholds import AutoThreshold
from theworld.precision import Dtype

ArmName = Literal["world", "auto", "no-world-tokens", "gemma", "blind", "random-projection", "random-world", "majority"]
"""Arms of an evaluation:

- `world`: the checkpoint, unchanged.
- `auto`: the checkpoint without its world first, and with it where the margin of that answer is below `auto_threshold`.
- `no-world-tokens`: the checkpoint without its world; trained parts of its Gemma stay.
- `gemma`: Gemma 3 alone, the checkpoint's base before any training.
- `blind`: the checkpoint without its world and without the picture; it sees only the question.
- `random-projection`: the checkpoint with a new, random projector.
- `random-world`: the checkpoint with random weights of its tap.
- `majority`: no model: the most frequent true answer of each kind of question, or of each question that repeats.
"""


ConditionName = Literal[
    "real",
    "shuffle",
    "mean",
    "zero",
    "noise",
    "random",
    "matched-noise",
    "count-matched",
    "first-repeat",
    "slot-shuffle",
    "cell-shuffle",
    "partner-future",
    "partner-present",
    "oracle",
    "blank-picture",
]
"""Conditions of an audit: the content of the world features, or of Gemma's picture.

- `real`: the item's own features, which pass through the same replacement as all others.
- `shuffle`: the features of a partner, another item with another answer to the same question.
- `mean`: the mean feature of all items, slot by slot and cell by cell.
- `zero`: zeros.
- `noise`: Gaussian noise with the mean and the standard deviation of each channel over all items.
- `random`: uniform numbers in [-1, 1).
- `matched-noise`: Gaussian noise with one mean and one standard deviation, those of this item's own features.
- `count-matched`: the mean vector of C channels over all items, slots and cells, in every cell of every slot: as many
  tokens as before, all alike but for their place.
- `first-repeat`: the current slot in every slot.
- `slot-shuffle`, `cell-shuffle`: the item's own features with their slots, or the cells of their grid, in one fixed
  other order.
- `partner-future`: the item's own slots up to the current one, the partner's future slots.
- `partner-present`: the partner's slots up to the current one, the item's own future slots.
- `oracle`: the item's own slots up to the current one, then those of the true future.
- `blank-picture`: the item's own features, and a grey picture for Gemma.
"""

DEFAULT_CONDITIONS: Final[tuple[ConditionName, ...]] = (
    "real",
    "shuffle",
    "mean",
    "zero",
    "noise",
    "first-repeat",
    "partner-future",
    "partner-present",
    "oracle",
    "blank-picture",
)
"""Conditions of an audit that names none."""

DECIDING_CONDITIONS: Final[tuple[ConditionName, ...]] = ("real", "shuffle", "mean")
"""Conditions that every audit asks, because its verdict needs them."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation: model, questions and arms."""

    checkpoint: PathSetting
    """Folder of a run, or folder or hub id of a saved TheWorld, a Gemma 3 or another vision-language model of
    transformers; "tiny-foresight": the embedded TheWorld."""

    output_dir: PathSetting
    """Folder for predictions and scores, on the command line `evaluation` beside the model unless you name one; an
    interrupted evaluation continues there."""

    arms: Annotated[tuple[ArmName, ...], Field(min_length=1)] | None = None
    """Arms to evaluate, side by side; None: `world`, for a Gemma 3 `gemma`. Another model is always an arm, under its
    id, and `blind` and `majority` may go with it."""

    num_world_steps: Annotated[tuple[NumSlots, ...], Field(min_length=1)] | None = None
    """Values of K for the arm `world`; None: the model's own. For K > 0 `rollout` takes the place of the tap `vae`; its
    features at K = 0 are the same."""

    num_inference_steps: InferenceSteps | None = None
    """Denoising steps per imagined future; fewer are cheaper. None: the model's own."""

    num_futures: Annotated[int, Field(ge=1, le=64)] = 1
    """Imagined futures that the arm `world` answers about. With several, the most frequent answer counts, and its share
    is the answer's confidence."""

    auto_threshold: AutoThreshold | None = None
    """Margin of the best answer over the second-best one, nats, below which the arm `auto` asks the world; 0: never,
    "always": whatever the margin is. None: that of the checkpoint. Choose it on other questions: results.json of the
    arms `world` and `no-world-tokens` has the best one, in `gating`."""

    batch_size: BatchSize = 8
    """Samples in a batch."""

    answers: Annotated[Literal["generate", "loglikelihood"], accept_former("answers")] = "generate"
    """Source of the answer: the generated text, or the choice with the highest log-likelihood."""

    max_new_tokens: Count = 16
    """Longest written answer, tokens."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 if this machine emulates the saved one."""

    store_dir: PathSetting | None = None
    """Folder of the feature store, which keeps computed world features."""

    data: DataSettings = field(default_factory=DataSettings)
    """Questions: the validation split of these data; on the command line those of the checkpoint's run unless you name
    others."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        for name in ("arms", "num_world_steps"):
            values = getattr(self, name)
            if values is not None and len(set(values)) < len(values):
                raise ValueError(f"{name}={values} names a value twice: each is measured once")
        if self.auto_threshold is not None and "auto" not in (self.arms or ()):
            raise ValueError(f"auto_threshold={self.auto_threshold} without the arm that uses it: add --arms auto")
        refuse_conversations(self.data)
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AuditSettings:
    """Settings of an audit: trained model and questions."""

    checkpoint: PathSetting
    """Folder of a run, or folder or hub id of a saved TheWorld; "tiny-foresight": the embedded one."""

    output_dir: PathSetting = Path("audit")
    """Folder for predictions and the verdict, on the command line `audit` beside the model unless you name one; an
    interrupted audit continues there."""

    answers: Annotated[Literal["generate", "loglikelihood"], accept_former("answers")] = "generate"
    """Source of the answer: the generated text, or the choice with the highest log-likelihood."""

    batch_size: BatchSize = 8
    """Samples in a batch."""

    conditions: Annotated[tuple[ConditionName | Literal["all"], ...], Field(min_length=1)] = DEFAULT_CONDITIONS
    """Conditions to answer under, each one pass over the questions; `all`: every one. `real`, `shuffle` and `mean` are
    always asked: they decide."""

    seed: Seed = 0
    """Seed of the derangement, of the noise and of the shuffles."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 if this machine emulates the saved one."""

    store_dir: PathSetting | None = None
    """Folder of a feature store; None: one in output_dir."""

    data: DataSettings = field(default_factory=lambda: DataSettings(questions="future"))
    """Questions: the validation split of these data, of one kind; on the command line those of the checkpoint's run
    unless you name others. Without a run, questions about the future."""

    @field_validator("data", mode="before")
    @classmethod
    def _ask_about_the_future(cls, data: Any) -> Any:
        """Apply the default of an audit, questions about the future, instead of the default of the data."""
        if isinstance(data, dict) and data.get("dataset", DataSettings.default_tag(data)) == "foresight":
            return {"questions": "future", **data}
        return data

    @property
    def asked(self) -> tuple[ConditionName, ...]:
        """The conditions to answer under, in the order of their list."""
        named = get_args(ConditionName) if "all" in self.conditions else {*self.conditions, *DECIDING_CONDITIONS}
        return tuple(name for name in get_args(ConditionName) if name in named)

    @model_validator(mode="after")
    def _check(self) -> "AuditSettings":
        refuse_conversations(self.data)
        if len(set(self.conditions)) < len(self.conditions):
            raise ValueError(f"conditions={self.conditions} names a condition twice: name each once")
        return self


def refuse_conversations(data: DataSettings) -> None:
    """Refuse questions that are for training only.

    Raises:
        ValueError: for `labels` and those of alignment.
    """
    if isinstance(data, ForesightData) and data.questions in CONVERSATION_NAMES:
        raise ValueError(f"data.questions={data.questions!r}: conversations for training; ask 'future' or 'present'")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTScoreSettings:
    """Saved replies to SpatialRGPT-Bench, and stored verdicts to compare the scores with."""

    file: PathSetting
    """JSONL rows of id, question, ground_truth, prediction, qa_type and qa_category; or of `theworld evaluate`."""

    judged: str | None = None
    """Key of a stored verdict in each row, such as correct; the agreement with it is shown."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlinkScoreSettings:
    """Saved replies to BLINK, and the benchmark's answers."""

    answers: PathSetting | None = None
    """The benchmark's val_answers.json: {"val_Counting_1": "(D)", ...}; rows of `theworld evaluate` need none."""

    predictions: PathSetting
    """Folder of one JSON file per task, {"val": [{"idx", "full_prediction"}, ...]}; one file {idx: reply}; JSONL rows
    of `theworld evaluate`, or lmms-eval's log of its task."""

    questions: PathSetting | None = None
    """Folder of the data set, TASK/val-*.parquet or TASK/val.jsonl; for the options of Counting."""

    read: Literal["replies", "stored"] = "replies"
    """replies: read letters from the replies; stored: score the letters that the benchmark's script saved."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VsrScoreSettings:
    """Saved replies to Visual Spatial Reasoning, and the benchmark's annotations."""

    annotations: PathSetting | None = None
    """A split of the benchmark: JSONL rows of image, caption, label (0 or 1), relation; rows of `theworld evaluate`
    need none."""

    predictions: PathSetting
    """JSONL rows of image, caption and prediction (the reply), one for each annotation, in any order; or of `theworld
    evaluate`."""


Scoring: TypeAlias = SpatialRGPTScoreSettings | BlinkScoreSettings | VsrScoreSettings | FutureScoring
"""Settings of any benchmark to score."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class JudgeSettings:
    """Judge: a local Gemma 3, or an endpoint for chat completions."""

    checkpoint: str | None = None
    """Gemma 3, or a saved TheWorld, which judges without its world: hub id, folder, or "tiny"."""

    dtype: Dtype = "auto"
    """Number format of the checkpoint; auto: as saved, or float32 if this machine emulates the saved one."""

    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint, such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1."""

    model: str | None = None
    """Name of the model at the endpoint."""

    num_concurrent: Annotated[int, Field(ge=1, le=256)] = 4
    """Concurrent requests to the endpoint."""

    max_attempts: Count = 6
    """Most calls per item and run."""

    timeout_seconds: Seconds = 60.0
    """Timeout of a call, from the request to the last byte."""

    max_wait_seconds: Seconds = 120.0
    """Longest pause between two calls; if an endpoint asks for more, the item is left to the next run."""

    max_new_tokens: Count | None = 256
    """Longest reply of the judge, tokens; None: the endpoint's limit (reasoning models need more)."""

    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    """Sampling temperature at the endpoint; None: not sent, for models without one. Checkpoints decode greedily."""

    json_mode: bool = True
    """Ask the endpoint for a JSON object (`response_format`), as the benchmark does; off if it cannot do that."""

    @field_validator("endpoint")
    @classmethod
    def _plain_url(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        try:
            parts = urlsplit(endpoint)
            has_host, has_secret = bool(parts.hostname) and parts.port != 0, "@" in parts.netloc
        except ValueError:
            has_host, has_secret, parts = False, False, urlsplit("")
        if has_secret:  # not repeated here
            raise ValueError("a URL with a name or password in it; secrets come from the environment")
        if parts.scheme not in ("http", "https") or not has_host or parts.query or parts.fragment:
            raise ValueError(
                "expected the base of an endpoint, such as https://api.openai.com/v1, without a query: requests go to"
                " /chat/completions below it"
            )
        return endpoint.rstrip("/")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTJudgeSettings:
    """Saved replies to SpatialRGPT-Bench, and their judge."""

    file: PathSetting
    """JSONL rows of id, question, ground_truth, prediction, qa_type and qa_category; or of `theworld evaluate`."""

    output_dir: PathSetting = Path("judged")
    """Folder for verdicts and results; an interrupted run, or one with failures, continues there."""

    judge: JudgeSettings = field(default_factory=JudgeSettings)
    """The judge."""

    @model_validator(mode="after")
    def _check(self) -> "SpatialRGPTJudgeSettings":
        judge = self.judge
        if (judge.checkpoint is None) == (judge.endpoint is None):
            which = "both" if judge.endpoint else "neither"
            raise ValueError(
                f"judge.checkpoint and judge.endpoint: {which} given; give --judge.endpoint URL and --judge.model NAME,"
                " or --judge.checkpoint NAME"
            )
        if (judge.endpoint is None) != (judge.model is None):
            raise ValueError("judge.model: names the model at judge.endpoint; give both or neither")
        return self
