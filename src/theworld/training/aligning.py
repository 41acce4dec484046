"""Alignment: a projector learns to be understood, first by imitation and then by answers."""

from dataclasses import replace
from pathlib import Path

from theworld.config import TrainingConfig
from theworld.config.model import LoraSettings
from theworld.training.run import MODEL_NAME, train

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
