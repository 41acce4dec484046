"""Every setting with its unit and meaning; the rules that hold between settings."""

from theworld.config.base import STRICT
from theworld.config.data import TASK_NAMES, DataSettings, MixturePart, SplitName, TaskName
from theworld.config.evaluation import ArmName, AuditSettings, EvaluationConfig
from theworld.config.experiments import AskSettings, DemoSettings
from theworld.config.model import LoraSettings, ModelSettings
from theworld.config.training import HubSettings, OptimSettings, TrainingConfig, ValidationSettings
from theworld.config.world import CONTROL_TAPS, ReadTap, TapName, WorldSettings

__all__ = [
    "CONTROL_TAPS",
    "STRICT",
    "ArmName",
    "AskSettings",
    "AuditSettings",
    "DataSettings",
    "DemoSettings",
    "EvaluationConfig",
    "HubSettings",
    "LoraSettings",
    "MixturePart",
    "ModelSettings",
    "OptimSettings",
    "ReadTap",
    "SplitName",
    "TASK_NAMES",
    "TaskName",
    "TapName",
    "TrainingConfig",
    "ValidationSettings",
    "WorldSettings",
]
