"""The comparison of arms at equal budget: each is aligned, given outcome labels, and asked; nothing is done twice."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from theworld import settings as settings_file
from theworld.config import DataSettings, ModelSettings, TrainingConfig
from theworld.config.arms import Arm, ArmsSettings, Reading
from theworld.datasets.sample import Samples
from theworld.evaluation.auditing import shuffle_worlds
from theworld.evaluation.run import identify, predict
from theworld.files import whole_folder
from theworld.modeling import TheWorld, loading
from theworld.modeling.opening import fields_of, open_model
from theworld.modeling.projector import WorldBlock
from theworld.sources import open_samples
from theworld.training.run import MODEL_NAME, fill_store, train
from theworld.world.reading import StoredTap, open_stored

logger = logging.getLogger(__name__)

ASKED = ("dynamic", "shuffled", "static")
"""Files of predictions of each arm: the test questions, the same with a partner's world, and the controls."""


def run_arms(own: ArmsSettings) -> Path:
    """Do what is missing of a comparison.

        output_dir/
          config.json
          drawn/                            samples, simulated and drawn once
          features/TAP/                     world features, computed once
          aligned/READING/seed-S/           a training run on readings of true clips; arms share it where they can
          arms/ARM/seed-S/labels-N/         model/ after N outcome labels; predictions/dynamic, shuffled, static

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
    free = {"arms": own.arms, "primary": own.primary, "seeds": own.seeds, "budgets": own.budgets, "report": own.report}
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


def _training(own: ArmsSettings, arm: Arm, seed: int, **rest: Any) -> TrainingConfig:
    return TrainingConfig(
        batch_size=own.batch_size,
        precision="fp32",
        seed=seed,
        save_steps=100,
        save_total_limit=1,
        resume=True,
        log_to="none",
        num_workers=own.num_workers,
        optim=replace(own.optim, learning_rate=arm.learning_rate),
        **rest,
    )


def _aligned(own: ArmsSettings, arm: Arm, seed: int) -> Path:
    """The model that learnt to read true clips as the arm reads them; shared by the arms that read them alike."""
    reading = arm.aligned_on
    name = f"{_name(reading)}{'-clip' * (arm.images == 'clip')}-{arm.learning_rate:g}"
    run = own.output_dir / "aligned" / name / f"seed-{seed}"
    if not (run / MODEL_NAME).is_dir():
        model = _model(own, arm, reading)
        train(
            _training(
                own,
                arm,
                seed,
                output_dir=run,
                num_steps=own.align_steps,
                store_dir=_store(own, reading),
                model=model,
                data=_data(own, arm, "readings", own.num_aligned),
            )
        )
    return run / MODEL_NAME


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
            arm,
            seed,
            output_dir=folder,
            num_steps=own.label_steps,
            store_dir=_store(own, arm.reads),
            model=model,
            data=_data(own, arm, "dynamic", budget),
        )
    )
    return checkpoint


def _store(own: ArmsSettings, reading: Reading) -> Path:
    return own.output_dir / "features" / _name(reading)


def _name(reading: Reading) -> str:
    """All that distinguishes a reading, as the name of a folder."""
    parts = [reading.tap, reading.control_of, reading.dit_future, str(reading.num_rollouts)]
    return "-".join(parts + ["current"] * reading.repeat_current)


def _ask(own: ArmsSettings, arm: Arm, seed: int, checkpoint: Path, folder: Path) -> None:
    """Let a model answer the test questions, the same with its worlds exchanged, and the controls."""
    model = TheWorld.from_pretrained(checkpoint)
    sees_future = model.config.world_settings().sees_future
    store = open_stored(model.tap, _store(own, arm.reads))
    for name in ASKED:
        done = folder / "predictions" / f"{name}.done"
        if done.exists():
            continue
        data = _data(own, arm, "static" if name == "static" else "dynamic", own.num_test)
        size = own.num_static if name == "static" else own.num_test
        samples = open_samples(data, "test", size, sees_future)
        asked: Samples = samples
        if name == "shuffled":
            asked = shuffle_worlds([samples[index] for index in range(len(samples))], seed=0)
        stored: StoredTap = fill_store(store, model.processor, samples)
        predict(
            model,
            asked,
            folder / "predictions" / f"{name}.jsonl",
            identify(model, [data, name, size]),
            title=f"{arm.name} {name}",
            batch_size=50,
            max_new_tokens=3,
            read_features=stored.read,
        )
        done.touch()
