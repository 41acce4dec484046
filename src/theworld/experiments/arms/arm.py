"""One arm of a comparison: what it reads, and its model after alignment and so many outcome labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from theworld.config import DataSettings, ModelSettings, TrainingConfig
from theworld.config.experiments import Arm, ArmsSettings, Reading
from theworld.config.model import LoraSettings
from theworld.datasets.sample import Samples
from theworld.evaluation.run import identify, predict
from theworld.io import whole_folder
from theworld.modeling import TheWorld, loading
from theworld.modeling.factory import fields_of, open_model
from theworld.modeling.projector import WorldBlock
from theworld.training.feature_cache import fill_store
from theworld.training.run import MODEL_NAME, train
from theworld.world.cached import open_stored

IMITATION_NAME = "imitation"


def align(config: TrainingConfig, imitation: Path, imitate_steps: int, imitate_learning_rate: float) -> Path:
    """Do what is missing of two runs on the same true clips: of imitation, and from its model on of answers.

    Args:
        config: the run of answers; of its model, a new projector.
        imitation: folder of the run before.
        imitate_steps: steps of the run before; 0: there is none.
        imitate_learning_rate: its peak learning rate.

    Returns:
        The folder of the aligned model.

    Raises:
        ValueError: as `train`.
    """
    aligned = config.output_dir / MODEL_NAME
    if aligned.is_dir():
        return aligned
    if imitate_steps == 0:
        train(config)
        return aligned
    if not (imitation / MODEL_NAME).is_dir():
        optim = replace(config.optim, learning_rate=imitate_learning_rate)
        model = replace(config.model, lora=LoraSettings())  # what is resembled stays as it is: adapters come after it
        train(
            replace(
                config, output_dir=imitation, objective="imitation", num_steps=imitate_steps, optim=optim, model=model
            )
        )
    train(replace(config, model=replace(config.model, checkpoint=imitation / MODEL_NAME)))
    return aligned


@dataclass(frozen=True)
class Rates:
    """Peak learning rates of an arm."""

    aligned: float
    """Of its alignment."""
    labels: float
    """On outcome labels."""


def folder_of(own: ArmsSettings, arm: Arm, seed: int, budget: int) -> Path:
    """Where an arm's models and answers lie."""
    return own.output_dir / "arms" / arm.name / f"seed-{seed}" / f"labels-{budget}"


def _model(own: ArmsSettings, arm: Arm, reading: Reading) -> ModelSettings:
    """The shared model with what an arm reads, and a projector of the agreed number of parameters."""
    model = replace(own.model, world=reading.within(own.model.world))
    return replace(model, world_projection_width=_width(model, own.num_parameters))


def _width(model: ModelSettings, num_parameters: int) -> int:
    """The hidden width at which the world block has as many parameters as agreed.

    Raises:
        ValueError: if none comes within 1 %.
    """

    def count(width: int) -> int:
        config = loading.configure(model.gemma_model_name, fields_of(replace(model, world_projection_width=width)))
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in WorldBlock(config).parameters())

    one, two = count(1), count(2)
    width = max(1, round((num_parameters - one) / (two - one)) + 1)
    if abs((found := count(width)) - num_parameters) > 0.01 * num_parameters:
        raise ValueError(
            f"num_parameters={num_parameters}: the nearest projector for the tap {model.world.tap!r} makes it {found};"
            f" expected at most 1 % of difference, choose one of {one:,} or more"
        )
    return width


def data_of(own: ArmsSettings, arm: Arm, questions: Any, size: int) -> DataSettings:
    """So many scenes and such questions about them, as the arm is shown them."""
    return DataSettings(
        questions=questions,
        image_size_px=own.image_size_px,
        images=arm.images,
        drawn_dir=own.output_dir / "drawn",
        num_train=size,
        validation_split="test",
        num_validation=size,
    )


def _training(own: ArmsSettings, seed: int, learning_rate: float, **rest: Any) -> TrainingConfig:
    return TrainingConfig(
        batch_size=own.batch_size,
        precision=own.precision,
        compile=own.compile,
        seed=seed,
        save_steps=100,
        save_total_limit=1,
        resume=True,
        log_to="none",
        num_workers=own.num_workers,
        optim=replace(own.optim, learning_rate=learning_rate),
        **rest,
    )


def aligned_folder(own: ArmsSettings, arm: Arm, seed: int, learning_rate: float) -> Path:
    """Where the training lies in which an arm learns to read true clips; arms that read them alike share it."""
    return _reader_folder(own, arm, seed) / f"rate-{learning_rate:g}"


def _reader_folder(own: ArmsSettings, arm: Arm, seed: int) -> Path:
    return own.output_dir / "aligned" / f"{_name(arm.aligned_on)}{'-clip' * (arm.images == 'clip')}" / f"seed-{seed}"


def _aligned(own: ArmsSettings, arm: Arm, seed: int, learning_rate: float) -> Path:
    """The model that learnt to read true clips as the arm reads them."""
    run = _training(
        own,
        seed,
        learning_rate,
        output_dir=aligned_folder(own, arm, seed, learning_rate),
        num_steps=own.align_steps,
        store_dir=store_folder(own, arm.aligned_on),
        model=_model(own, arm, arm.aligned_on),
        data=data_of(own, arm, "readings", own.num_aligned),
    )
    imitation = _reader_folder(own, arm, seed) / IMITATION_NAME
    return align(run, imitation, own.imitate_steps, own.imitate_learning_rate)


def trained(own: ArmsSettings, arm: Arm, seed: int, budget: int, rates: Rates) -> Path:
    """The arm's model after so many outcome labels; with none, the aligned one, given what the arm reads."""
    told = f"{rates.aligned:g}" if budget == 0 else f"{rates.aligned:g}-{rates.labels:g}"
    folder = folder_of(own, arm, seed, budget) / f"rate-{told}"
    checkpoint = folder / MODEL_NAME
    if checkpoint.is_dir():
        return checkpoint
    aligned = _aligned(own, arm, seed, rates.aligned)
    model = replace(_model(own, arm, arm.reads), checkpoint=aligned, transfer_tap=True)
    if budget == 0:
        with whole_folder(checkpoint) as aside:
            open_model(model).save_pretrained(aside)
        return checkpoint
    train(
        _training(
            own,
            seed,
            rates.labels,
            output_dir=folder,
            num_steps=max(own.label_steps, budget // own.batch_size),  # every label is seen
            store_dir=store_folder(own, arm.reads),
            model=model,
            data=data_of(own, arm, "labels", budget),
        )
    )
    return checkpoint


def store_folder(own: ArmsSettings, reading: Reading) -> Path:
    """Where the world features of a reading are kept."""
    return own.output_dir / "features" / _name(reading)


def _name(reading: Reading) -> str:
    """All that distinguishes a reading, as the name of a folder."""
    parts = [reading.tap, reading.control_of, reading.dit_future, str(reading.num_rollouts)]
    parts += ["current"] * reading.repeat_current
    if reading.dit_block is not None:
        parts.append(f"block{reading.dit_block}")
    if reading.dit_noise_level is not None:
        parts.append(f"noise{reading.dit_noise_level:g}")
    return "-".join(parts)


def answer(own: ArmsSettings, arm: Arm, model: TheWorld, data: DataSettings, asked: Samples, path: Path) -> None:
    """Write an arm's answers to samples; the world features that its store lacks are computed first."""
    stored = fill_store(open_stored(model.tap, store_folder(own, arm.reads)), model.processor, asked)
    predict(
        model,
        asked,
        path,
        identify(model, [data, path.stem, len(asked)]),
        title=f"{arm.name} {path.stem}",
        batch_size=50,
        max_new_tokens=3,
        read_features=stored.read,
    )
