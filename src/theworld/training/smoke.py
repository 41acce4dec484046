"""Smoke test of a training run: two samples, one step, and the saved model answers as the trained one did."""

import gc
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from theworld.config import TrainingConfig
from theworld.config.commands import SmokeSettings
from theworld.config.data import DataCompData, DataSettings
from theworld.config.training import ValidationSettings
from theworld.datasets.sample import Sample, SampleStream
from theworld.evaluation.generation import Answerer
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine
from theworld.training.dataloading import open_data, read
from theworld.training.run import train_model

logger = logging.getLogger(__name__)

_NUM_SAMPLES = 2


def smoke(settings: SmokeSettings) -> dict[str, Any]:
    """Run the parts of a training run once, at its own sizes: load, train a step, checkpoint, save, reload, answer.

    The folder beside `output_dir`, with the ending `-smoke`, is removed at the end; it stays if a part fails.

    Returns:
        The loss, the question and its answer, the seconds, and with `push` the repository.

    Raises:
        ValueError: if the reloaded model answers otherwise, or the upload fails.
        FileExistsError: if the folder is there already.
    """
    started = time.perf_counter()
    config = small(settings)
    if config.output_dir.exists():
        raise FileExistsError(f"{config.output_dir}: left by an earlier smoke test, or yours: remove it first")
    model, result = train_model(config)
    if model.config.enable_world and model.tap is None and not model.config.owns_vae:
        model.load_world()  # a run with a feature store leaves it out
    sample = _first(config, model)
    answer, dtype = _answer(model, sample), str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    del model
    gc.collect()
    torch.cuda.empty_cache()
    sources = [result["model"]]
    if settings.push:
        if result["not_pushed"]:
            raise ValueError(f"not pushed to {config.hub.repo_id}: {'; '.join(map(str, result['not_pushed']))}")
        sources.append(str(config.hub.repo_id))
    for source in sources:
        again = _answer(TheWorld.from_pretrained(source, **on_this_machine(dtype)), sample)
        if again != answer:
            raise ValueError(f"{source}: the trained model answered {answer!r}, reloaded it answers {again!r}")
    shutil.rmtree(config.output_dir)
    return {
        "loss": result["loss"],
        "question": sample.prompt[-1].text,
        "answer": answer,
        "seconds": round(time.perf_counter() - started, 1),
        **({"pushed": config.hub.repo_id} if settings.push else {}),
    }


def small(settings: SmokeSettings) -> TrainingConfig:
    """Return the run with one step over two samples; sizes, formats and world stay as they are."""
    run = Path(settings.output_dir)
    folder = run.with_name(f"{run.name}-smoke")
    names = TrainingConfig.__dataclass_fields__
    config = TrainingConfig(**{name: getattr(settings, name) for name in names})
    return replace(
        config,
        output_dir=folder,
        store_dir=None if config.store_dir is None else folder / "features",
        num_steps=1,
        batch_size=1,
        gradient_accumulation_steps=_NUM_SAMPLES,
        group_by_length=False,
        save_steps=1,
        logging_steps=1,
        log_to="none",
        num_workers=0,
        resume=False,
        optim=replace(config.optim, warmup_steps=0),
        validation=ValidationSettings(),
        hub=replace(config.hub, push="end" if settings.push else "never"),
        data=_few(config.data),
        mixture=tuple(replace(part, data=_few(part.data)) for part in config.mixture),
    )


def _few(data: DataSettings) -> DataSettings:
    return data if isinstance(data, DataCompData) else replace(data, num_train=_NUM_SAMPLES)


def _first(config: TrainingConfig, model: TheWorld) -> Sample:
    """Return the run's first good sample, as a question."""
    with_future = model.config.enable_world and model.config.world_settings().sees_future
    samples = open_data(config, model.processor, _NUM_SAMPLES, with_future or config.objective == "imitation")
    if isinstance(samples, SampleStream):
        outcomes = (drawn.outcome for drawn in samples.read(config.seed, 0, 1))
    else:
        outcomes = (read(samples, index) for index in range(len(samples)))
    sample = next(outcome for outcome in outcomes if isinstance(outcome, Sample))  # training found one
    return replace(sample, turns=sample.prompt)


def _answer(model: TheWorld, sample: Sample) -> str:
    model.eval()
    row = Answerer(model, max_new_tokens=16)([sample])[0]
    if row.error is not None:
        raise ValueError(f"the question {sample.prompt[-1].text!r} could not be answered: {row.error}")
    return str(row.prediction)
