"""Settings of a training run: TrainingConfig and its parts."""

import re
from dataclasses import field, replace
from typing import Annotated, Any, Final, Literal, TypeVar

import tyro
from pydantic import Field, field_validator, model_validator

from theworld.config.base import STRICT, BatchSize, Count, NumWorkers, PathSetting, Seed
from theworld.config.data import DataSettings, MixturePart
from theworld.config.evaluation import refuse_conversations
from theworld.config.model import DistillationSettings, ModelSettings
from theworld.config.optim import OptimSettings
from theworld.config.problems import dataclass
from theworld.config.renamed import accept_former
from theworld.precision import WEIGHTS_FOR, Precision, concrete_dtype, training_formats


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ValidationSettings:
    """Validation during training; the run keeps the model with the highest accuracy."""

    eval_steps: Count | None = None
    """Optimiser steps between measurements, with one more at the end; None: no validation."""

    data: tuple[DataSettings, ...] = ()
    """Data sets for validation: the validation split of each, `num_validation` samples; none: the run's data."""

    answers: Annotated[Literal["generate", "loglikelihood"], accept_former("answers")] = "generate"
    """Form of the answer: the text that the model writes, or the choice with the highest likelihood."""

    batch_size: BatchSize = 8
    """Samples per generation batch."""

    max_new_tokens: Count = 16
    """Longest written answer, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "ValidationSettings":
        for data in self.data:
            refuse_conversations(data)
        return self


_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HubSettings:
    """Upload of a run to the hub; the token comes from HF_TOKEN alone."""

    repo_id: str | None = None
    """Repository of the run, OWNER/NAME, created if it is missing; None: no upload."""

    push: Literal["save", "end", "never"] = "end"
    """Time of uploads: each checkpoint and the final model (save), the final model (end), or none (never)."""

    private: bool = True
    """Visibility of a repository that the run creates; an existing one stays as it is."""

    @field_validator("repo_id")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(f"given {name[:100]!r}; expected OWNER/NAME")
        return name

    @property
    def is_pushed(self) -> bool:
        """True if the run uploads anything."""
        return self.repo_id is not None and self.push != "never"


STOPPED_NAME: Final = "stopped.json"
"""File that a run leaves in its folder when a signal stops it, because launchers do not pass on exit codes."""

MIN_RECORDS: Final = 200
"""Records that a run draws before it checks the share of bad ones."""


DEFAULT_NUM_STEPS: Final = 1_000
"""Optimiser steps of a run that names neither steps nor epochs."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TrainingConfig:
    """A training run: model, data, optimiser and output."""

    output_dir: PathSetting
    """The run's folder: settings, metrics, checkpoints."""

    objective: Literal["answers", "imitation"] = "answers"
    """Training objective: `answers` to questions; or, as a stage before, `imitation`: world tokens learn to resemble
    Gemma's image tokens of the frames in the world's slots. Imitation needs samples with a true future, and takes a
    fraction of the time."""

    num_steps: Count | None = None
    """Optimiser steps; None: those of num_epochs, or 1,000 if that is None, too."""

    num_epochs: Count | None = None
    """Passes over the training data, instead of num_steps; for one data set of known length."""

    batch_size: BatchSize = 8
    """Samples per device and forward pass."""

    max_length: Count | None = None
    """Maximum tokens of a sample, with image and world tokens. The run skips longer samples, lists them in
    bad_records.jsonl and never cuts them; None: the length of the model."""

    group_by_length: bool = False
    """Batch samples of similar length, for less padding; for data sets that know lengths without reading samples."""

    packing: bool = False
    """Pack the samples of a batch into shared rows without attention between samples: fewer rows, less padding, the
    same loss. A row holds max_length tokens, or without it as many as the longest sample of its batch."""

    gradient_accumulation_steps: BatchSize = 1
    """Forward passes per optimiser step."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    compile: bool = False
    """Compile Gemma's layers (torch.compile): faster steps after the first, which takes about a minute. Needs a C++
    compiler on a CPU, Triton on a GPU."""

    precision: Precision = "auto"
    """Number format of the forward pass; auto: bf16 on a device that computes it natively, else fp32.

    fp32 and fp16 need model.dtype float32, bf16 takes float32 or bfloat16. On most CPUs fp16 is many times slower than
    fp32; so is bf16 on CPUs without instructions for it.
    """

    seed: Seed = 0
    """Seed of the new weights and of the order of samples."""

    save_steps: Count = 500
    """Optimiser steps between checkpoints."""

    save_total_limit: Count | None = 2
    """Number of newest checkpoints to keep; None: all."""

    resume: bool | PathSetting = False
    """Continue from the newest checkpoint in output_dir (true), from this checkpoint, or from the newest one of a hub
    repository (OWNER/NAME)."""

    logging_steps: Count = 10
    """Optimiser steps between lines of the log."""

    log_to: Literal["tensorboard", "wandb", "none"] = "none"
    """Logger of curves, besides the run's own metrics."""

    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Peak rate of the device at this precision, 10^12 operations per second, for `mfu`; None: a GPU times a large
    matrix product at the start, a CPU reports no `mfu`."""

    profile: bool = False
    """Profile the third step, or the last of a shorter run: a table and a trace in output_dir/profile."""

    max_loss_ratio: Annotated[float, Field(gt=1)] | None = 5.0
    """Largest ratio of a step's loss to the median of the last 100 losses (or to 1, if the median is smaller). A larger
    one saves the sample ids and ends the run; None: only a loss that is not finite ends it."""

    num_workers: NumWorkers = 2
    """Processes that prepare samples; 0: the training process prepares them."""

    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest share of bad records (a missing picture, an empty answer); after 200 records a larger share stops the
    run. The run skips bad records and lists them in bad_records.jsonl."""

    store_dir: PathSetting | None = None
    """Folder of the feature store, which keeps world features after their first computation; None: no store."""

    store_dtype: Literal["float32", "bfloat16", "int8"] | None = None
    """Number format of stored features: 4, 2 or 1 bytes a number; int8 has a scale for each channel of a clip. None: an
    existing store's own, and bfloat16 in a new one."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """Model to train."""

    data: DataSettings = field(default_factory=DataSettings)
    """Data to train on and to measure on."""

    mixture: tuple[MixturePart, ...] = ()
    """Several data sets to train on instead of data, each with a weight; from a settings file."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser and learning rate."""

    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    """World states as further targets of a Gemma that answers without a world."""

    validation: ValidationSettings = field(default_factory=ValidationSettings)
    """Validation during training."""

    hub: HubSettings = field(default_factory=HubSettings)
    """Upload to the hub."""

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        model = self.model
        self._settle_length()
        self._check_precision()
        self._check_objective()
        self.distillation.check_run(model, self.store_dir)
        self._check_packing()
        self._check_validation()
        warmup, steps = self.optim.warmup_steps, self.num_steps
        if steps is not None:
            refuse_long_warmup(warmup, steps)
        if not model.enable_world and not model.gemma_trains:
            raise ValueError(
                "nothing to train: model.enable_world=False and all of Gemma is frozen; enable the world, set"
                " model.freeze_gemma_vision, model.freeze_gemma_projector or model.freeze_gemma_language to false, or"
                " name model.lora.targets"
            )
        self._check_parts()
        self._check_stream()
        if model.enable_world and not model.freeze_cosmos_vae and self.store_dir is not None:
            raise ValueError(
                f"store_dir={str(self.store_dir)!r} keeps features of a frozen world, but"
                " model.freeze_cosmos_vae=False changes them at every step: leave store_dir out, or freeze the VAE"
            )
        return self

    def _check_parts(self) -> None:
        model = self.model
        trains = {
            "projector": model.enable_world,
            "markers": model.enable_world and model.world_fusion == "tokens",
            "vision": model.vision_trains,
            "language": not model.freeze_gemma_language,
            "adapters": bool(model.lora.targets),
            "cosmos_vae": model.enable_world and not model.freeze_cosmos_vae,
        }
        for name in ("learning_rates", "weight_decays"):
            if idle := [part for part in getattr(self.optim, name).named() if not trains[part]]:
                raise ValueError(f"optim.{name}.{idle[0]} is given, and {idle[0]} does not train in this run")

    def _settle_length(self) -> None:
        """Leave exactly one of num_steps and num_epochs."""
        steps, epochs = self.num_steps, self.num_epochs
        if steps is None and epochs is None:
            object.__setattr__(self, "num_steps", DEFAULT_NUM_STEPS)  # here, since num_epochs alone must do
        elif steps is not None and epochs is not None:
            raise ValueError(f"num_steps={steps} and num_epochs={epochs} both say how long to train: give one")
        elif epochs is not None and self.mixture:
            raise ValueError(f"num_epochs={epochs}: a mixture has no length of its own; give num_steps")
        elif epochs is not None and self.data.dataset == "datacomp":
            raise ValueError(f"num_epochs={epochs}: dataset 'datacomp' is a stream without a length; give num_steps")

    def num_drawn(self, num_processes: int = 1) -> int:
        """Return the samples that the run draws, which is the length of a mixture; 0 with num_epochs."""
        return (self.num_steps or 0) * self.batch_size * self.gradient_accumulation_steps * num_processes

    def _check_stream(self) -> None:
        if any(part.data.dataset == "datacomp" for part in self.mixture):
            raise ValueError(
                "mixture: dataset 'datacomp' is a stream without indices, which cannot be mixed; train on it alone,"
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
            "model.freeze_gemma_projector=False": model.freeze_gemma_projector is False,
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
            raise ValueError("validation.eval_steps with objective='imitation': the model cannot answer yet")
        if not self.validation.data:
            try:
                refuse_conversations(self.data)
            except ValueError as error:
                raise ValueError(f"{error}, in validation.data") from error

    def _check_precision(self) -> None:
        dtype, allowed = self.model.dtype, WEIGHTS_FOR[self.precision]
        if dtype in ("auto", *allowed):
            return
        reason = {
            "auto": "trains no such weights",
            "fp32": "computes in the weights' own format",
            "bf16": "needs weights of float32's range",
            "fp16": "scales its gradients, which must be float32 for it",
        }[self.precision]
        remedy = f"set model.dtype to {' or '.join(allowed)}"
        if dtype == "bfloat16":
            remedy += ", or precision to bf16"
        raise ValueError(
            f"precision={self.precision!r} with model.dtype={dtype!r}: {self.precision} {reason}; {remedy}"
        )


def refuse_long_warmup(warmup_steps: int, num_steps: int) -> None:
    """Check that the warm-up ends within the run.

    Raises:
        ValueError: if it does not.
    """
    if warmup_steps > num_steps:
        raise ValueError(f"optim.warmup_steps={warmup_steps} is more than num_steps={num_steps}: shorten the warm-up")


Run = TypeVar("Run", bound=Any)


def in_number_formats(run: Run, like: Run | None = None) -> Run:
    """Return the same settings with `auto` replaced by the number formats that this machine computes natively.

    Args:
        run: settings with a precision and a model.
        like: settings of the run that this one continues: their formats replace `auto`, so that it continues bit for
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
    """A training run as a Slurm job: its settings, and the resources to request."""

    config: PathSetting
    """Settings file of the run."""

    overrides: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Flags for `theworld train`, after `--`."""

    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """GPU type as the cluster names it, such as H100; None: any."""

    gpu_count: Count = 1
    """GPUs on each node, with one process each."""

    nodes: Count = 1
    """Number of nodes."""

    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){0,2}$")] | None = None
    """Time limit of one job, such as 4:00:00 or 2-00:00:00; None: the cluster's default."""

    mem: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    """Memory on each node, such as 256G; None: the cluster's default."""

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    """Address for Slurm's mail when the job begins, ends, fails or queues again; None: no mail."""

    accelerate: PathSetting | None = None
    """Settings file of `accelerate launch`, such as configs/accelerate/fsdp.yaml; None: one process per GPU (DDP)."""

    dry_run: bool = False
    """Print the job's script, without writing or submitting anything."""
