"""Every setting with its unit and meaning; the rules that hold between settings."""

from theworld.config.data import TASK_NAMES, DataSettings, MixturePart, SplitName, TaskName
from theworld.config.demo import AskSettings, DemoSettings
from theworld.config.evaluation import ArmName, AuditSettings, EvaluationConfig
from theworld.config.hub import HubSettings
from theworld.config.lora import LoraSettings
from theworld.config.model import ModelSettings
from theworld.config.training import OptimSettings, TrainingConfig
from theworld.config.validation import ValidationSettings
from theworld.config.world import CONTROL_TAPS, STRICT, ReadTap, TapName, WorldSettings

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
