"""A training run: from its settings to its folder."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import TrainingArguments, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import get_last_checkpoint

from theworld import settings
from theworld.config import TrainingConfig
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Samples
from theworld.files import write_whole
from theworld.modeling import TheWorld
from theworld.modeling.opening import open_model
from theworld.sources import open_samples
from theworld.training.environment import describe_environment
from theworld.training.progress import Metrics, read_metrics
from theworld.training.trainer import TheWorldTrainer
from theworld.world.reading import StoredTap, open_stored
from theworld.world.taps import open_tap

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
MODEL_NAME = "model"


def train(config: TrainingConfig) -> dict[str, Any]:
    """Train, and write the run's folder.

        output_dir/
          config.json        resolved settings
          environment.json   versions, commit, machine
          metrics.jsonl      a row per logged step
          tensorboard/       the same as curves
          checkpoint-N/      to continue from
          model/             the trained model

    Returns:
        The last row of metrics, the folder of the model and the seconds that training took.

    Raises:
        ValueError: for settings that contradict each other, or a folder that holds another run.
        NonFiniteLossError: at the first loss that is NaN or infinite.
    """
    run = config.output_dir
    checkpoint = _where_to_resume(config)
    set_seed(config.seed)
    model = open_model(config.model, load_world=config.store_dir is None)
    samples = open_samples(
        config.data, config.data.train_split, config.data.num_train, config.model.world.tap == "true-future"
    )
    if not len(samples):
        raise ValueError(f"data: no samples in split {config.data.train_split!r}")
    run.mkdir(parents=True, exist_ok=True)
    settings.save(config, run / CONFIG_NAME)
    write_whole(run / "environment.json", describe_environment())
    logger.info("parameters\n%s", model.parameter_table())
    collator = Collator(model.processor, supervise=True, read_features=_stored(config, model, samples))
    trainer = TheWorldTrainer(
        model=model,
        args=_arguments(config),
        train_dataset=_MapDataset(samples),
        collator=collator,
        metrics=Metrics(run / METRICS_NAME),
    )
    if config.log_to == "tensorboard":
        trainer.add_callback(TensorBoardCallback(SummaryWriter(run / "tensorboard")))
    result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.is_world_process_zero():
        model.save_pretrained(run / MODEL_NAME)
    rows = read_metrics(run / METRICS_NAME)
    return {"model": str(run / MODEL_NAME), "seconds": result.metrics["train_runtime"], **(rows[-1] if rows else {})}


class _MapDataset(Dataset):
    """What torch's loader asks of a sequence."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def _where_to_resume(config: TrainingConfig) -> Path | None:
    """The checkpoint to continue from.

    Raises:
        ValueError: if the folder holds a run that shall not be continued, or there is none to continue.
    """
    run = config.output_dir
    newest = get_last_checkpoint(str(run)) if run.is_dir() else None
    if config.resume is False:
        if newest is not None or (run / CONFIG_NAME).exists():
            raise ValueError(f"{run} holds a run already: continue it with resume=true, or choose another output_dir")
        return None
    if config.resume is True:
        return None if newest is None else Path(newest)
    if not (config.resume / "trainer_state.json").is_file():
        raise ValueError(f"resume={config.resume}: not a checkpoint of a run (trainer_state.json is missing)")
    return config.resume


def _stored(config: TrainingConfig, model: TheWorld, samples: Samples) -> Any:
    """Fill the feature store with what is missing, and serve from it; None without a store."""
    if config.store_dir is None or not model.config.enable_world:
        return None
    tap = open_tap(model.config.world_settings(), model.device)
    model.attach_world(tap)  # checks that this is the world the model was trained on
    stored = fill_store(open_stored(tap, config.store_dir), model.processor, samples)
    model.detach_world()
    return stored.read


def fill_store(stored: StoredTap, processor: Any, samples: Samples, batch_size: int = 16) -> StoredTap:
    """Compute the features that a store lacks; what comes back serves them and computes nothing more."""
    collator = Collator(processor, supervise=False)
    with tqdm(total=len(samples), desc="world features", unit="clip") as progress:
        for start in range(0, len(samples), batch_size):
            batch = collator([samples[index] for index in range(start, min(start + batch_size, len(samples)))])
            if "world_pixels" in batch:
                stored.read(batch["world_pixels"], batch["num_world_steps"])
            progress.update(len(batch["input_ids"]))
    logger.info("world features: %d computed, %d found", stored.computed, stored.served)
    return StoredTap(None, stored.store)


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
        report_to="wandb" if config.log_to == "wandb" else "none",
        dataloader_num_workers=config.num_workers,
    )
