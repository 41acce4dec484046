"""A training run: from its settings to its folder."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments, set_seed

from theworld.config import DataCompData, TrainingConfig, loader
from theworld.datasets.collator import Collator
from theworld.datasets.factory import open_stream, open_training
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import WithinLength, estimated_lengths, refuse_overlong
from theworld.datasets.streaming import SampleStream
from theworld.environment import describe_environment
from theworld.io import write_whole
from theworld.modeling import TheWorld
from theworld.modeling.factory import open_model
from theworld.modeling.model import compile_layers
from theworld.precision import DTYPE_OF, warn_if_emulated
from theworld.training.bad_records import BAD_RECORDS_NAME, BadRecords
from theworld.training.callbacks import LossWatch, Stopping, check_curves, open_curves
from theworld.training.dataloading import MapFeed, StreamFeed
from theworld.training.feature_cache import stored_features
from theworld.training.flops import WorkCounter, measured_peak
from theworld.training.hub_upload import Pushing, check_token
from theworld.training.metrics import Metrics, read_metrics
from theworld.training.resume import CONFIG_NAME, refuse_other_processes, where_to_start
from theworld.training.trainer import TheWorldTrainer
from theworld.training.validation import Validation, open_questions

logger = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"
MODEL_NAME = "model"


def train(config: TrainingConfig) -> dict[str, Any]:
    """Train, and write the run's folder.

        output_dir/
          config.json        resolved settings
          environment.json   versions, commit, machine
          metrics.jsonl      a row per logged step
          bad_records.jsonl  records that gave no sample
          validation.jsonl   a row per measurement, and best/, the model that answered best
          tensorboard/       the same as curves (wandb/)
          checkpoint-N/      to continue from
          model/             the trained model
          stopped.json       only if SIGTERM or SIGUSR1 stopped it: the signal, the step, the exit code

    Returns:
        The last row of metrics, the folder of the model, the seconds that training took, and with a hub repository
        what could not be pushed to it.

    Raises:
        Stopped: a SystemExit with code 75, if SIGTERM or SIGUSR1 stopped it; resume=true goes on from there.
        ValueError: for settings that contradict each other, a folder that holds another run, curves asked for in
            wandb where it is not installed, or too many records that give no sample.
        LossError: at the first loss that is NaN, infinite, or far above those before.
    """
    stopping = Stopping(config.output_dir)
    with stopping.listening():
        return _train(config, stopping)


def _train(config: TrainingConfig, stopping: Stopping) -> dict[str, Any]:
    run = config.output_dir
    config, checkpoint = where_to_start(config)
    check_curves(config)
    check_token(config)
    # As the arguments below: without CUDA all is on the CPU; under a launcher each process has its own device.
    process = PartialState(cpu=not torch.cuda.is_available())
    device = process.device or torch.device("cpu")
    if checkpoint is not None:
        refuse_other_processes(checkpoint, process.num_processes)
    process.wait_for_everyone()  # nobody writes into the folder before everybody has looked at it
    config = _agreed(config, process)
    set_seed(config.seed)
    model = open_model(config.model, load_world=config.store_dir is None, world_device=device)
    if config.compile:
        compile_layers(model)
    imitates = config.objective == "imitation"
    sees_future = model.config.enable_world and model.config.world_settings().sees_future  # a checkpoint brings its own
    per_step = config.batch_size * config.gradient_accumulation_steps * process.num_processes
    samples = _open(config, model.processor, config.num_steps * per_step, imitates or sees_future)
    questions = open_questions(config, sees_future)
    if process.is_main_process:
        _describe(config, model)
    logger.info("parameters\n%s", model.parameter_table())
    read_features = stored_features(config, model, [samples, *questions.values()], device)
    collator = Collator(
        model.processor,
        supervise=True,
        read_features=read_features,
        show_slots=imitates,
        packing=config.packing,
        max_length=config.max_length,
    )
    trainer = TheWorldTrainer(
        model=model,
        args=_arguments(config),
        train_dataset=_feed(config, samples, collator, process),
        collator=collator,
        metrics=_metrics(config, model, device),
        bad_records=BadRecords(run / BAD_RECORDS_NAME, config.max_bad_share),
        watch=LossWatch(run, config.max_loss_ratio, config.optim.warmup_steps),
    )
    if questions:
        trainer.add_callback(Validation(trainer, config, questions, read_features))
    if trainer.is_world_process_zero():
        for callback in open_curves(config):
            trainer.add_callback(callback)
    trainer.add_callback(stopping)
    pushing = Pushing(config) if config.hub.is_pushed and trainer.is_world_process_zero() else None
    if pushing is not None:
        trainer.add_callback(pushing)
    result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    stopping.end_if_stopped()
    trainer.save_model(str(run / MODEL_NAME))
    rows = read_metrics(run / METRICS_NAME)
    found = {"model": str(run / MODEL_NAME), "seconds": result.metrics["train_runtime"], **(rows[-1] if rows else {})}
    if pushing is not None:
        pushing.finish(run / MODEL_NAME)
        found["not_pushed"] = pushing.failures
    return found


def _agreed(config: TrainingConfig, process: PartialState) -> TrainingConfig:
    """The run in the number formats of its main process: machines differ, and the parts of one model must not."""
    if process.num_processes > 1:
        formats = [config.precision, config.model.dtype, config.model.world.dtype]
        precision, dtype, world = broadcast_object_list(formats)
        model = replace(config.model, dtype=dtype, world=replace(config.model.world, dtype=world))
        config = replace(config, precision=precision, model=model)
    warn_if_emulated(DTYPE_OF[config.precision], config.model.dtype)
    return config


def _describe(config: TrainingConfig, model: TheWorld) -> None:
    """Write what the run is and where it runs."""
    config.output_dir.mkdir(parents=True, exist_ok=True)
    loader.save(config, config.output_dir / CONFIG_NAME)
    formats = {"precision": config.precision, "weights": config.model.dtype}
    if model.config.enable_world:
        formats["world"] = model.config.world_dtype
    write_whole(
        config.output_dir / "environment.json",
        describe_environment(models=model.config.pins(), number_formats=formats),
    )


def _open(config: TrainingConfig, processor: Any, num_samples: int, with_future: bool) -> Samples | SampleStream:
    """What a run learns from; `num_samples` is how many it draws."""
    if isinstance(config.data, DataCompData) and not config.mixture:
        return open_stream(config.data, config.data.train_split, with_future)
    samples = open_training(config, num_samples, with_future)
    if config.max_length is not None:
        samples = WithinLength(samples, Collator(processor, supervise=True), config.max_length)
    return samples


def _feed(
    config: TrainingConfig, samples: Samples | SampleStream, collator: Collator, process: PartialState
) -> MapFeed | StreamFeed:
    if not isinstance(samples, SampleStream):
        return MapFeed(samples, estimated_lengths(samples, collator) if config.group_by_length else None)
    return StreamFeed(
        samples,
        config.batch_size,
        config.seed,
        num_workers=config.num_workers,
        rank=process.process_index,
        num_processes=process.num_processes,
        refuse=None
        if config.max_length is None
        else partial(refuse_overlong, collator=collator, max_length=config.max_length),
    )


def _metrics(config: TrainingConfig, model: TheWorld, device: torch.device) -> Metrics:
    """What collects the rows. A GPU's peak is measured unless the settings say it; a processor, which other programs
    use as well, has one only if they do."""
    peak = None
    if config.peak_tflops is not None:
        peak = config.peak_tflops * 1e12
    elif device.type == "cuda":
        peak = measured_peak(device, config.precision)
        logger.info("mfu is a share of %.3f TFLOP/s, which a large matrix product reaches here", peak / 1e12)
    return Metrics(config.output_dir / METRICS_NAME, WorkCounter(model), peak)


def _arguments(config: TrainingConfig) -> TrainingArguments:
    optim = config.optim
    schedule = {"constant": "constant_with_warmup"}.get(optim.schedule, optim.schedule)
    return TrainingArguments(
        output_dir=str(config.output_dir),
        max_steps=config.num_steps,
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
