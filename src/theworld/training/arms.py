"""The comparison of arms at equal budget: each is aligned, given outcome labels, and asked; nothing is done twice."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from theworld import settings as settings_file
from theworld.config import DataSettings, ModelSettings, TrainingConfig
from theworld.config.arms import Arm, ArmsSettings, Reading
from theworld.datasets.batching import batches
from theworld.datasets.sample import Samples
from theworld.evaluation.auditing import shuffle_worlds
from theworld.evaluation.costs import measure_cost
from theworld.evaluation.run import identify, predict
from theworld.files import whole_folder, write_whole
from theworld.modeling import TheWorld, loading
from theworld.modeling.opening import fields_of, open_model
from theworld.modeling.projector import WorldBlock
from theworld.sources import open_samples
from theworld.training.aligning import align
from theworld.training.filling import fill_store
from theworld.training.run import MODEL_NAME, train
from theworld.world.reading import StoredTap, open_stored

logger = logging.getLogger(__name__)

ASKED = ("dynamic", "shuffled", "static")
"""Files of predictions of each arm: the test questions, the same with a partner's world, and the controls."""
COST_NAME = "cost.json"
_FREE = ("arms", "primary", "primary_labels", "seeds", "budgets", "report")
"""Settings that a comparison may change while it is being done."""
_NUM_MEASURED = 20
"""Samples of the batch on which the cost is measured."""


def run_arms(own: ArmsSettings) -> Path:
    """Do what is missing of a comparison.

        output_dir/
          config.json
          drawn/                            samples, simulated and drawn once
          features/TAP/                     world features, computed once
          aligned/READING/seed-S/           a training run on readings of true clips, after one in imitation/ of image
                                            tokens of the same clips; arms share it where they can
          arms/ARM/seed-S/labels-N/         model/ after N outcome labels; predictions/dynamic, shuffled, static
          arms/ARM/cost.json                seconds and operations of an answer

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds another comparison.
    """
    claim(own)
    for seed in own.seeds:
        for arm in own.arms:
            for budget in own.budgets:
                folder = folder_of(own, arm, seed, budget)
                if all((folder / "predictions" / f"{name}.done").exists() for name in ASKED):
                    continue
                logger.info("%s, seed %d, %d labels", arm.name, seed, budget)
                _ask(own, arm, seed, _trained(own, arm, seed, budget), folder)
    return own.output_dir


def folder_of(own: ArmsSettings, arm: Arm, seed: int, budget: int) -> Path:
    """Where an arm's model and answers lie."""
    return own.output_dir / "arms" / arm.name / f"seed-{seed}" / f"labels-{budget}"


def claim(own: ArmsSettings) -> None:
    """Write the settings of the comparison and of each arm.

    Raises:
        ValueError: if the folder holds another comparison, or another arm of the same name.
    """
    path = own.output_dir / "config.json"
    free = {name: getattr(own, name) for name in _FREE}
    if path.exists() and replace(settings_file.load(ArmsSettings, path), **free) != own:
        raise ValueError(f"{path} is of a comparison with other settings: choose another output_dir")
    for arm in own.arms:
        named = own.output_dir / "arms" / arm.name / "arm.json"
        if named.exists() and settings_file.load(Arm, named) != arm:
            raise ValueError(f"{named} is of another arm of this name: rename the arm, or delete that folder")
        settings_file.save(arm, named)
    settings_file.save(own, path)


def _model(own: ArmsSettings, arm: Arm, reading: Reading) -> ModelSettings:
    """The shared model with what an arm reads, and a projector of the agreed number of parameters."""
    world = replace(
        own.model.world,
        tap=reading.tap,
        control_of=reading.control_of,
        repeat_current=reading.repeat_current,
        dit_future=reading.dit_future,
        num_rollouts=reading.num_rollouts,
    )
    model = replace(own.model, world=world)
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


def _data(own: ArmsSettings, arm: Arm, questions: Any, size: int) -> DataSettings:
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
        precision="bf16",
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


def aligned_folder(own: ArmsSettings, arm: Arm, seed: int) -> Path:
    """Where the training lies in which an arm learns to read true clips; arms that read them alike share it."""
    name = f"{_name(arm.aligned_on)}{'-clip' * (arm.images == 'clip')}-{arm.learning_rate:g}"
    return own.output_dir / "aligned" / name / f"seed-{seed}"


def _aligned(own: ArmsSettings, arm: Arm, seed: int) -> Path:
    """The model that learnt to read true clips as the arm reads them."""
    run = _training(
        own,
        seed,
        arm.learning_rate,
        output_dir=aligned_folder(own, arm, seed),
        num_steps=own.align_steps,
        store_dir=store_folder(own, arm.aligned_on),
        model=_model(own, arm, arm.aligned_on),
        data=_data(own, arm, "readings", own.num_aligned),
    )
    return align(run, own.imitate_steps, own.imitate_learning_rate)


def _trained(own: ArmsSettings, arm: Arm, seed: int, budget: int) -> Path:
    """The arm's model after so many outcome labels; with none, the aligned one, given what the arm reads."""
    folder = folder_of(own, arm, seed, budget)
    checkpoint = folder / MODEL_NAME
    if checkpoint.is_dir():
        return checkpoint
    model = replace(_model(own, arm, arm.reads), checkpoint=_aligned(own, arm, seed), transfer_tap=True)
    if budget == 0:
        with whole_folder(checkpoint) as aside:
            open_model(model).save_pretrained(aside)
        return checkpoint
    train(
        _training(
            own,
            seed,
            arm.learning_rate,
            output_dir=folder,
            num_steps=max(own.label_steps, budget // own.batch_size),  # every label is seen
            store_dir=store_folder(own, arm.reads),
            model=model,
            data=_data(own, arm, "labels", budget),
        )
    )
    return checkpoint


def store_folder(own: ArmsSettings, reading: Reading) -> Path:
    """Where the world features of a reading are kept."""
    return own.output_dir / "features" / _name(reading)


def _name(reading: Reading) -> str:
    """All that distinguishes a reading, as the name of a folder."""
    parts = [reading.tap, reading.control_of, reading.dit_future, str(reading.num_rollouts)]
    return "-".join(parts + ["current"] * reading.repeat_current)


def _ask(own: ArmsSettings, arm: Arm, seed: int, checkpoint: Path, folder: Path) -> None:
    """Let a model answer the test questions, the same with its worlds exchanged, and the controls."""
    model = TheWorld.from_pretrained(checkpoint)
    sees_future = model.config.world_settings().sees_future
    _measure(own, arm, model, sees_future)
    store = open_stored(model.tap, store_folder(own, arm.reads))
    for name in ASKED:
        done = folder / "predictions" / f"{name}.done"
        if done.exists():
            continue
        size = own.num_static if name == "static" else own.num_test
        data = _data(own, arm, "static" if name == "static" else "dynamic", size)
        samples = open_samples(data, "test", size, sees_future)
        asked: Samples = samples
        if name == "shuffled":
            asked = shuffle_worlds([samples[index] for index in range(min(own.num_shuffled, len(samples)))], seed=0)
        stored: StoredTap = fill_store(store, model.processor, samples)
        predict(
            model,
            asked,
            folder / "predictions" / f"{name}.jsonl",
            identify(model, [data, name, len(asked)]),
            title=f"{arm.name} {name}",
            batch_size=50,
            max_new_tokens=3,
            read_features=stored.read,
        )
        done.touch()


def _measure(own: ArmsSettings, arm: Arm, model: TheWorld, sees_future: bool) -> None:
    """What an answer of the arm costs, measured once."""
    path = own.output_dir / "arms" / arm.name / COST_NAME
    if path.exists():
        return
    samples = open_samples(_data(own, arm, "dynamic", own.num_test), "test", own.num_test, sees_future)
    batch = next(batches((samples[index] for index in range(len(samples))), _NUM_MEASURED))
    write_whole(path, json.dumps(asdict(measure_cost(model, batch, max_new_tokens=3))))
