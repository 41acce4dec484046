"""What the plug-in takes from lmms-eval: the real thing where it is installed, else the little that is needed."""

import importlib.util
import logging
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

IS_INSTALLED = importlib.util.find_spec("lmms_eval") is not None


class CacheHook:
    """Keeps what is added, as the harness does with `--use_cache`."""

    def __init__(self) -> None:
        self.added: list[tuple[str, Any, str]] = []

    def add_partial(self, method: str, key: Any, reply: str) -> None:
        self.added.append((method, key, reply))


class Lmms:
    """lmms_eval.api.model.lmms, so far as a model uses it."""

    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook = CacheHook()
        self.task_dict: dict[str, Any] = {}

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size


@dataclass(frozen=True)
class ModelManifest:
    """lmms_eval.models.registry_v2.ModelManifest."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    return int(text) if text.isdecimal() else text


def _parsed(arguments: str) -> dict[str, Any]:
    pairs = (pair.split("=", 1) for pair in arguments.split(",") if pair)
    return {name: _value(value) for name, value in pairs}


LOGGED: list[dict[str, Any]] = []
"""What was given to `log_metrics`, call by call."""


def log_metrics(**given: Any) -> None:
    LOGGED.append(given)


def stub() -> dict[str, ModuleType]:
    """Modules by name, to stand in `sys.modules`."""
    logger = logging.getLogger("loguru")
    places: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.models": {},
        "lmms_eval.models.model_utils": {},
        "lmms_eval.models.model_utils.gen_metrics": {"log_metrics": log_metrics},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
        "lmms_eval.utils": {"simple_parse_args_string": _parsed},
        "loguru": {"logger": SimpleNamespace(info=_formatted(logger.info), warning=_formatted(logger.warning))},
    }
    modules: dict[str, ModuleType] = {}
    for name, content in places.items():
        modules[name] = ModuleType(name)
        vars(modules[name]).update(content)
    return modules


def _formatted(log: Any) -> Any:
    return lambda message, *values: log("%s", message.format(*values))


def forget() -> None:
    """Drop the plug-in's model, so that it is imported anew."""
    sys.modules.pop("theworld.evaluation.lmms_eval.model", None)
