"""Settings: each with its unit and meaning, and the rules between them."""

from theworld.config.base import STRICT
from theworld.config.data import (
    TASK_NAMES,
    BlinkData,
    DataCompData,
    DataSettings,
    ForesightData,
    ForesightSplitName,
    HFData,
    LlavaData,
    MixturePart,
    OpenSpatialData,
    OwnData,
    PublicData,
    RegisteredData,
    SpatialRGPTData,
    SplitName,
    TaskName,
    VideoData,
    VsrData,
)
from theworld.config.evaluation import ArmName, AuditSettings, EvaluationConfig
from theworld.config.experiments import AskSettings, DemoSettings
from theworld.config.model import LoraSettings, ModelSettings
from theworld.config.training import HubSettings, OptimSettings, TrainingConfig, ValidationSettings
from theworld.config.world import CONTROL_TAPS, ReadTap, TapName, WorldSettings

__all__ = [
    "ArmName",
    "AskSettings",
    "AuditSettings",
    "BlinkData",
    "CONTROL_TAPS",
    "DataCompData",
    "DataSettings",
    "DemoSettings",
    "EvaluationConfig",
    "ForesightData",
    "ForesightSplitName",
    "HFData",
    "HubSettings",
    "LlavaData",
    "LoraSettings",
    "MixturePart",
    "ModelSettings",
    "OpenSpatialData",
    "OptimSettings",
    "OwnData",
    "PublicData",
    "RegisteredData",
    "ReadTap",
    "STRICT",
    "SpatialRGPTData",
    "SplitName",
    "TASK_NAMES",
    "TapName",
    "TaskName",
    "TrainingConfig",
    "ValidationSettings",
    "VideoData",
    "VsrData",
    "WorldSettings",
]
