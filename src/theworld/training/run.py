"""Training run: from settings to a folder with the trained model."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments, set_seed

from theworld.config import TrainingConfig, loader
from theworld.datasets.collator import Collator
from theworld.datasets.contents import digests, files_of
from theworld.datasets.custom import given
from theworld.datasets.factory import describe
from theworld.datasets.sample import Samples, SampleStream
from theworld.datasets.samplers import WithinLength
from theworld.environment import check_launcher, describe_environment
from theworld.evaluation.generation import FeatureReader
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.modeling import TheWorld
from theworld.modeling.bases import DISTILLATION, IMITATION, PACKING
from theworld.modeling.factory import configuration_of, open_model
from theworld.modeling.native import compile_layers
from theworld.precision import DTYPE_OF, warn_if_emulated
from theworld.training.bad_records import BAD_RECORDS_NAME, BadRecords
from theworld.training.callbacks import LossWatch, Stopping, check_logger, open_loggers
from theworld.training.dataloading import check_shapes, make_feed, open_data, steps_of_run
from theworld.training.distillation import add_distillation, layer_of
from theworld.training.feature_cache import stored_features
from theworld.training.hub_upload import Pushing, check_token
from theworld.training.manifest import PENDING_NAME, DataDigests, check_data, check_manifest, check_whole
from theworld.training.metrics import METRICS_NAME, open_metrics, read_metrics
from theworld.training.profile import StepProfile
from theworld.training.resume import (
    CONFIG_NAME,
    MODEL_NAME,
    Start,
    refuse_other_length,
    refuse_other_processes,
    where_to_start,
)
from theworld.training.trainer import TheWorldTrainer
from theworld.training.validation import Validation, open_questions

logger = logging.getLogger(__name__)


def train(config: TrainingConfig, samples: Any = None, validation: Any = None) -> dict[str, Any]:
    """Train a model and write the run's folder.

        output_dir/
          config.json        resolved settings
          environment.json   versions, commit, machine
          metrics.jsonl      a row per logged step
          bad_records.jsonl  records that gave no sample
          validation.jsonl   a row per measurement; best/ holds the model of the highest accuracy
          tensorboard/       the metrics as curves, or wandb/, where asked for
          profile/           a table and a trace of one step, where asked for
          checkpoint-N/      to continue from
          model/             the trained model
          stopped.json       only after SIGTERM or SIGUSR1: the signal, the step, the exit code

    Args:
        config: settings of the run.
        samples: training samples of your own instead of `config.data`: `Samples`, or a list of records of image, text
            and label. To continue such a run, give them again.
        validation: samples of your own to measure on while it trains; None: there are none.

    Returns:
        The last row of metrics, the folder of the model, the seconds of training, with a hub repository the list of
        failed uploads, and the next command.

    Raises:
        Stopped: a SystemExit with code 75, after SIGTERM or SIGUSR1; resume=true continues from there.
        ValueError: for settings that contradict each other, a folder of another run, log_to="wandb" without wandb, or
            too many bad records.
        LossError: at the first loss that is NaN, infinite, or far above the losses before.
    """
    if samples is not None and config.mixture:
        raise ValueError("samples= and config.mixture are both training data: give one")
    if samples is not None:
        config = replace(config, data=given(config.data, samples, validation))
    elif validation is not None:
        raise ValueError("validation= without samples=: give both, or name the data set in config.data")
    return train_model(config)[1]


def train_model(config: TrainingConfig) -> tuple[TheWorld, dict[str, Any]]:
    """Return the trained model, too; as `train`."""
    check_launcher()
    # The same choice as in `_arguments`: without CUDA everything is on the CPU.
    process = PartialState(cpu=not torch.cuda.is_available())
    stopping = Stopping(config.output_dir)
    with in_use(config.output_dir, is_first=process.is_main_process), stopping.listening():
        config, checkpoint = _prepare(config)
        model = _build_model(config)
        samples, questions = _open_data(config, model)
        check_shapes(samples, _samples_of_a_pass(config), is_grouped=config.group_by_length)
        num_steps = steps_of_run(config, samples, PartialState().num_processes)
        if checkpoint is not None and config.num_epochs is not None:
            refuse_other_length(checkpoint, num_steps)
        data = _data_digests(samples, questions, checkpoint)
        _describe(config, model)
        read = [samples] if config.distillation.weight else [samples, *questions.values()]
        read_features = stored_features(config, model, read, _device())
        trainer = _build_trainer(config, model, samples, num_steps, read_features)
        trainer.data_digests = data
        if questions:
            trainer.add_callback(Validation(trainer, config, questions, read_features))
        pushing = _add_callbacks(trainer, config, stopping)
        result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        stopping.end_if_stopped()
        return model, _finish(config, trainer, result.metrics["train_runtime"], pushing)


def _prepare(config: TrainingConfig) -> Start:
    """Check a run before anything loads, and settle its number formats.

    Nobody writes into the run's folder before every process has looked at it.

    Returns:
        The settings that the run goes by, and the checkpoint that it continues from.
    """
    config, checkpoint = where_to_start(config)
    check_logger(config)
    check_token(config)
    process = PartialState()
    if checkpoint is not None:
        refuse_other_processes(checkpoint, process.num_processes)
        check_whole(checkpoint, PENDING_NAME)
        if process.is_main_process:  # it reads every byte
            check_manifest(checkpoint)
    process.wait_for_everyone()
    return Start(_with_formats_of_main_process(config), checkpoint)


def _with_formats_of_main_process(config: TrainingConfig) -> TrainingConfig:
    """Take the number formats of the main process: machines differ, and the parts of one model must not."""
    process = PartialState()
    if process.num_processes > 1:
        formats = [config.precision, config.model.dtype, config.model.world.dtype]
        precision, dtype, world = broadcast_object_list(formats)
        model = replace(config.model, dtype=dtype, world=replace(config.model.world, dtype=world))
        config = replace(config, precision=precision, model=model)
    warn_if_emulated(DTYPE_OF[config.precision], config.model.dtype)
    return config


def _device() -> torch.device:
    """Return the device of this process; under a launcher each process has its own."""
    return PartialState().device or torch.device("cpu")


def _build_model(config: TrainingConfig) -> TheWorld:
    """Seed the random numbers and open the model; with a feature store its world stays closed."""
    set_seed(config.seed)
    watched = _check_base(config)
    model = open_model(config.model, load_world=config.store_dir is None, world_device=_device())
    if config.compile:
        compile_layers(model, except_for=watched)
    logger.info("parameters\n%s", model.parameter_table())
    data = [describe(part.data) for part in config.mixture] or [describe(config.data)]
    before = model.config.trained_on or []
    model.config.trained_on = list(dict.fromkeys([*before, *data]))  # a stage may go on with the data of the last
    return model


def _check_base(config: TrainingConfig) -> int | None:
    """Refuse what the base lacks before any weights are loaded; return the layer whose states distillation reads.

    Raises:
        ValueError: for a feature or a layer that the base does not have.
    """
    distils = config.distillation.weight > 0
    needed = [PACKING] * config.packing + [IMITATION] * (config.objective == "imitation") + [DISTILLATION] * distils
    if not needed:
        return None
    settled = configuration_of(config.model)
    for feature in needed:
        settled.BASE.refuse(feature)
    return layer_of(settled, config.distillation) if distils else None


def _open_data(config: TrainingConfig, model: TheWorld) -> tuple[Samples | SampleStream, dict[str, Samples]]:
    """Open the training data, and the questions of each validation set."""
    # A checkpoint has its own tap.
    sees_future = model.config.enable_world and model.config.world_settings().sees_future
    teaches_future = config.distillation.weight > 0 and model.config.world_settings().sees_future
    with_future = sees_future or teaches_future or config.objective == "imitation"
    samples = open_data(config, model.processor, config.num_drawn(PartialState().num_processes), with_future)
    if config.max_length is None and isinstance(samples, Samples):  # nothing is learnt beyond the model's own length
        most = model.config.text.max_position_embeddings
        samples = WithinLength(samples, Collator(model.processor, supervise=True), most, least_characters=most // 2)
    return samples, open_questions(config, sees_future, model.config.clip_rule)


def _samples_of_a_pass(config: TrainingConfig) -> int:
    """Return the number of samples of a forward pass on all devices together."""
    return config.batch_size * PartialState().num_processes


def _data_digests(
    samples: Samples | SampleStream, questions: Mapping[str, Samples], checkpoint: Path | None
) -> DataDigests:
    """Return the digests of the data files, compared with those that a checkpoint was trained on.

    The main process alone reads the files, and writes the digests.
    """
    if not PartialState().is_main_process:
        return {}
    validation = [path for part in questions.values() for path in files_of(part)]
    data = {"data": digests(files_of(samples)), "validation": digests(validation)}
    if checkpoint is not None:
        check_data(checkpoint, data)
    return data


def _describe(config: TrainingConfig, model: TheWorld) -> None:
    """Write the settings of the run, and the machine and libraries that it uses; the main process alone does."""
    if not PartialState().is_main_process:
        return
    config.output_dir.mkdir(parents=True, exist_ok=True)
    loader.save(config, config.output_dir / CONFIG_NAME)
    formats = {"precision": config.precision, "weights": config.model.dtype}
    if model.config.enable_world or config.distillation.weight:
        formats["world"] = model.config.world_dtype
    write_whole(
        config.output_dir / "environment.json",
        describe_environment(models=model.config.pins(), number_formats=formats),
    )


def _build_trainer(
    config: TrainingConfig,
    model: TheWorld,
    samples: Samples | SampleStream,
    num_steps: int,
    read_features: FeatureReader | None,
) -> TheWorldTrainer:
    """Connect model and data: collator, feed, metrics, bad records and the watch on the loss."""
    distils = config.distillation.weight > 0
    collator = Collator(
        model.processor,
        supervise=True,
        read_features=None if distils else read_features,
        read_teacher=read_features if distils else None,
        show_slots=config.objective == "imitation",
        packing=config.packing,
        max_length=config.max_length,
    )
    distiller = None
    if distils:
        assert isinstance(samples, Samples)  # a stream has no store
        distiller = add_distillation(model, config.distillation, collator, samples)
    return TheWorldTrainer(
        model=model if distiller is None else distiller,
        args=_arguments(config, num_steps),
        train_dataset=make_feed(config, samples, collator),
        collator=collator,
        metrics=open_metrics(config, model, _device(), None if distiller is None else distiller.head),
        bad_records=BadRecords(config.output_dir / BAD_RECORDS_NAME, config.max_bad_share),
        watch=LossWatch(config.output_dir, config.max_loss_ratio, config.optim.warmup_steps),
        by_part=config.optim.by_part(),
    )


def _add_callbacks(trainer: TheWorldTrainer, config: TrainingConfig, stopping: Stopping) -> Pushing | None:
    """Add loggers, stop signals and the upload to the hub, and return the upload; None without one."""
    if trainer.is_world_process_zero():
        for logger_callback in open_loggers(config):
            trainer.add_callback(logger_callback)
        if config.profile:
            trainer.add_callback(StepProfile(config.output_dir, trainer.own_model()))
    trainer.add_callback(stopping)
    if not (config.hub.is_pushed and trainer.is_world_process_zero()):
        return None
    pushing = Pushing(config)
    trainer.add_callback(pushing)
    return pushing


def _finish(
    config: TrainingConfig, trainer: TheWorldTrainer, seconds: float, pushing: Pushing | None
) -> dict[str, Any]:
    """Save the trained model, push it where asked to, and return the result of the run."""
    folder = config.output_dir / MODEL_NAME
    trainer.save_model(str(folder))
    rows = read_metrics(config.output_dir / METRICS_NAME)
    result = {"model": str(folder), "seconds": seconds, **(rows[-1] if rows else {})}
    if pushing is not None:
        pushing.finish(folder)
        result["not_pushed"] = pushing.failures
    return {**result, "next": f"theworld evaluate {config.output_dir}"}


def _arguments(config: TrainingConfig, num_steps: int) -> TrainingArguments:
    optim = config.optim
    schedule = {"constant": "constant_with_warmup"}.get(optim.schedule, optim.schedule)
    return TrainingArguments(
        output_dir=str(config.output_dir),
        max_steps=num_steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        learning_rate=optim.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=optim.warmup_steps,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.adam_beta1,
        adam_beta2=optim.adam_beta2,
        max_grad_norm=optim.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        logging_steps=config.logging_steps,
        report_to="none",
        dataloader_num_workers=config.num_workers,
    )
