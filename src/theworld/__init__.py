"""TheWorld: a vision-language model with a world model."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from theworld import moved

# OpenMP reads this when torch is imported. Threads that spin while they wait slow each other down as soon as another
# program is busy. A user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

moved.install()

# Importing the package opens no file and imports no torch: names are looked up when first needed.
_HOMES = {
    "TheWorld": "theworld.modeling",
    "TheWorldConfig": "theworld.modeling",
    "TheWorldProcessor": "theworld.modeling",
    "TheWorldDataset": "theworld.datasets",
    "HFDatasetWrapper": "theworld.datasets",
    "TrainingConfig": "theworld.config",
    "evaluate": "theworld.evaluation.run",
    "train": "theworld.training.run",
}

__all__ = [
    "HFDatasetWrapper",
    "TheWorld",
    "TheWorldConfig",
    "TheWorldDataset",
    "TheWorldProcessor",
    "TrainingConfig",
    "__version__",
    "evaluate",
    "train",
]

if TYPE_CHECKING:
    from theworld.config import TrainingConfig
    from theworld.datasets import HFDatasetWrapper, TheWorldDataset
    from theworld.evaluation.run import evaluate
    from theworld.modeling import TheWorld, TheWorldConfig, TheWorldProcessor
    from theworld.training.run import train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'theworld' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ImportError as error:
        from theworld.environment import unmet_requirements

        if unmet := unmet_requirements():
            raise ImportError(f"{error}; {unmet}") from error
        raise
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
