"""TrainingConfig and its parts: a training run, complete."""

import re
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import tyro
from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.config.data import DataSettings, MixturePart
from theworld.config.evaluation import refuse_conversations
from theworld.config.model import ModelSettings
from theworld.precision import WEIGHTS_FOR, Precision, concrete_dtype, training_formats


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ValidationSettings:
    """What a model is asked while it trains; the model that answered best is kept."""

    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps between measurements, of which one more comes at the end; None: nothing is asked."""

    data: tuple[DataSettings, ...] = ()
    """What is asked: the validation split of each, `num_validation` samples; none named: that of the run's data."""

    answers: Literal["written", "weighed"] = "written"
    """What counts as the answer: the text that the model writes, or the choice that it finds likeliest."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples answered at a time."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 16
    """Longest written answer, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "ValidationSettings":
        for data in self.data:
            refuse_conversations(data)
        return self


_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HubSettings:
    """Whether and when a run is pushed to the hub; the token comes from HF_TOKEN alone."""

    repo_id: str | None = None
    """Repository of the run, OWNER/NAME, which is made if it is missing; None: nothing is pushed."""

    push: Literal["save", "end", "never"] = "end"
    """When: the newest checkpoint after each save and the model at the end, the model alone, or nothing."""

    private: bool = True
    """Whether a repository that is made is private; of one that is there nothing changes."""

    @field_validator("repo_id")
    @classmethod
    def _check_name(cls, given: str | None) -> str | None:
        if given is not None and not _NAME.fullmatch(given):
            raise ValueError(f"given {given!r}; expected OWNER/NAME")
        return given

    @property
    def is_pushed(self) -> bool:
        """Whether anything is pushed."""
        return self.repo_id is not None and self.push != "never"


STOPPED_NAME: Final = "stopped.json"
"""What a run that was told to stop leaves in its folder: launchers hand no exit code on."""

MIN_RECORDS: Final = 200
"""Records that a run draws before it judges how many of them gave no sample."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OptimSettings:
    """The optimiser (AdamW) and its learning-rate schedule."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps over which the learning rate rises from 0 to its peak."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""

    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the running mean of the gradient."""

    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the running mean of the squared gradient."""

    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Norm that gradients are clipped to."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TrainingConfig:
    """A training run, complete: what is trained, on what, how, and where it is written."""

    output_dir: Path
    """The run's folder: settings, metrics, checkpoints."""

    objective: Literal["answers", "imitation"] = "answers"
    """What is learnt: to answer; or, before that, to give world tokens that resemble Gemma's own image tokens of what
    the world's slots show, which takes samples with a true future and a fraction of the time."""

    num_steps: Annotated[int, Field(ge=1)] = 1_000
    """Optimiser steps."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Samples per device and forward pass."""

    max_length: Annotated[int, Field(ge=1)] | None = None
    """The most tokens of a sample, image and world tokens among them. Longer ones are left out and listed in
    bad_records.jsonl, never cut; None: no limit."""

    group_by_length: bool = False
    """Batches of samples of similar length, which pad less; for data sets that know lengths without reading samples."""

    packing: bool = False
    """Let the samples of a batch share rows, none of which sees another: fewer rows, less padding, the same loss. A row
    holds max_length tokens, or without it as many as the longest sample of its batch."""

    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Forward passes per optimiser step."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    compile: bool = False
    """Fuse what Gemma's layers compute (torch.compile): faster steps after the first, which takes a minute or so; needs
    a C++ compiler on a CPU, Triton on a GPU."""

    precision: Precision = "auto"
    """Number format of the forward pass; auto: bf16 on a device that computes it natively, else fp32.

    fp32 and fp16 need model.dtype float32, bf16 takes float32 or bfloat16. On most processors fp16 is many times slower
    than fp32, and bf16 is, too, on those without instructions for it.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the new weights and of the order of samples."""

    save_steps: Annotated[int, Field(ge=1)] = 500
    """Optimiser steps between checkpoints."""

    save_total_limit: Annotated[int, Field(ge=1)] | None = 2
    """Checkpoints that are kept, the newest; None: all."""

    resume: bool | Path = False
    """Continue from the newest checkpoint in output_dir (true), from this checkpoint, or from the newest one of a hub
    repository (OWNER/NAME)."""

    logging_steps: Annotated[int, Field(ge=1)] = 10
    """Optimiser steps between lines of the log."""

    log_to: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where curves go besides the run's own metrics."""

    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What the device can reach at this precision, 10^12 operations per second, which `mfu` is a share of; None: on a
    GPU what a large matrix product reaches at the start, on a processor no `mfu`."""

    max_loss_ratio: Annotated[float, Field(gt=1)] | None = 5.0
    """A step whose loss is more than this many times the median of the last 100 (or of 1, if that is more) ends the
    run, its sample ids saved; None: only a loss that is not finite does."""

    num_workers: Annotated[int, Field(ge=0)] = 2
    """Processes that prepare samples; 0: the training process does it."""

    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of records that may give no sample (a missing picture, an empty answer); more, once 200 records were drawn,
    stop the run. They are left out of their batches, and listed in bad_records.jsonl."""

    store_dir: Path | None = None
    """Folder of the feature store: world features are computed once and read from there."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """What is trained."""

    data: DataSettings = field(default_factory=DataSettings)
    """What it is trained on, and measured on."""

    mixture: tuple[MixturePart, ...] = ()
    """Several data sets that it is trained on in the place of data, each with a weight; given in a file."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    """How it is trained."""

    validation: ValidationSettings = field(default_factory=ValidationSettings)
    """What it is asked while it trains."""

    hub: HubSettings = field(default_factory=HubSettings)
    """Where it is pushed to."""

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        model = self.model
        self._check_precision()
        self._check_objective()
        self._check_packing()
        self._check_validation()
        warmup, steps = self.optim.warmup_steps, self.num_steps
        if warmup > steps:
            raise ValueError(f"optim.warmup_steps={warmup} is more than num_steps={steps}: shorten the warm-up")
        gemma_trains = not (model.freeze_gemma_vision and model.freeze_gemma_language) or model.lora.targets
        if not model.enable_world and not gemma_trains:
            raise ValueError(
                "nothing to train: model.enable_world=False and all of Gemma is frozen; enable the world, set"
                " model.freeze_gemma_vision or model.freeze_gemma_language to false, or name model.lora.targets"
            )
        self._check_stream()
        if model.enable_world and not model.freeze_cosmos_vae and self.store_dir is not None:
            raise ValueError(
                f"store_dir={str(self.store_dir)!r} keeps features of a frozen world, but"
                " model.freeze_cosmos_vae=False changes them at every step: leave store_dir out, or freeze the VAE"
            )
        return self

    def _check_stream(self) -> None:
        if any(part.data.dataset == "datacomp" for part in self.mixture):
            raise ValueError(
                "mixture: dataset 'datacomp' is a stream without indices, which cannot be mixed; train on it by itself,"
                " before or after"
            )
        if self.mixture or self.data.dataset != "datacomp":
            return
        if self.store_dir is not None:
            raise ValueError(
                f"store_dir={str(self.store_dir)!r} is filled before the first step, and data.dataset='datacomp' is a"
                " stream without an end: leave store_dir out"
            )
        if self.group_by_length:
            raise ValueError(
                "group_by_length=True needs lengths beforehand, and dataset 'datacomp' is a stream: set it to false"
            )

    def _check_packing(self) -> None:
        if self.packing and self.model.attn_implementation == "flash_attention_2":
            raise ValueError(
                "packing=True with model.attn_implementation='flash_attention_2', which takes no mask that keeps packed"
                " samples apart and lets image tokens see each other: use sdpa or eager, or packing=False"
            )
        if self.packing and self.objective == "imitation":
            raise ValueError(
                "packing=True with objective='imitation', which reads no rows of tokens: set packing=False"
            )

    def _check_objective(self) -> None:
        if self.objective == "answers":
            return
        model = self.model
        reasons = {
            "model.enable_world=False": not model.enable_world,
            "model.world_fusion='residual'": model.world_fusion == "residual",
            "model.world_projection_mode='channel'": model.world_projection_mode == "channel",
            "model.freeze_gemma_vision=False": not model.freeze_gemma_vision,
            "model.freeze_gemma_language=False": not model.freeze_gemma_language,
            "model.lora": bool(model.lora.targets),
        }
        if refused := [reason for reason, holds in reasons.items() if holds]:
            raise ValueError(
                f"objective='imitation' trains spatial world tokens beside a frozen Gemma: {', '.join(refused)} does"
                " not go with it"
            )

    def _check_validation(self) -> None:
        if self.validation.eval_steps is None:
            return
        if self.objective == "imitation":
            raise ValueError("validation.eval_steps with objective='imitation': what imitates cannot answer yet")
        if not self.validation.data:
            try:
                refuse_conversations(self.data)
            except ValueError as error:
                raise ValueError(f"{error}, in validation.data") from error

    def _check_precision(self) -> None:
        given, allowed = self.model.dtype, WEIGHTS_FOR[self.precision]
        if given in ("auto", *allowed):
            return
        reason = {
            "auto": "trains no such weights",
            "fp32": "computes in the weights' own format",
            "bf16": "needs weights of float32's range",
            "fp16": "scales its gradients, which must be float32 for it",
        }[self.precision]
        remedy = f"set model.dtype to {' or '.join(allowed)}"
        if given == "bfloat16":
            remedy += ", or precision to bf16"
        raise ValueError(
            f"precision={self.precision!r} with model.dtype={given!r}: {self.precision} {reason}; {remedy}"
        )


Run = TypeVar("Run", bound=Any)


def in_number_formats(run: Run, like: Run | None = None) -> Run:
    """The same settings with every number format named: `auto` is replaced by what this machine computes natively.

    Args:
        run: settings that have a precision and a model.
        like: those of a run that this one continues: what was named there stands for `auto`, so that it goes on bit for
            bit.
    """
    precision, dtype, world = run.precision, run.model.dtype, run.model.world.dtype
    if like is not None:
        precision = like.precision if precision == "auto" else precision
        dtype = like.model.dtype if dtype == "auto" else dtype
        world = like.model.world.dtype if world == "auto" else world
    formats = training_formats(precision, dtype)
    model = replace(run.model, dtype=formats.dtype, world=replace(run.model.world, dtype=concrete_dtype(world)))
    return replace(run, precision=formats.precision, model=model)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SlurmSettings:
    """A training run as a job of a cluster: what it runs, and what it asks Slurm for."""

    config: Path
    """Settings file of the run."""

    overrides: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Flags of `theworld train`, after `--`."""

    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """Kind of GPU as the cluster calls it, such as H100; None: any."""

    gpu_count: Annotated[int, Field(ge=1)] = 1
    """GPUs on each node; each has a process of its own."""

    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes."""

    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){0,2}$")] | None = None
    """Longest time of the job in one go, such as 4:00:00 or 2-00:00:00; None: the cluster's default."""

    mem: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    """Memory on each node, such as 256G; None: the cluster's default."""

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    """Where Slurm writes when the job begins, ends, fails or queues again; None: nowhere."""

    accelerate: Path | None = None
    """Settings file of `accelerate launch`, such as configs/accelerate/fsdp.yaml; None: one process per GPU (DDP)."""

    dry_run: bool = False
    """Show the job's script; nothing is written or submitted."""
