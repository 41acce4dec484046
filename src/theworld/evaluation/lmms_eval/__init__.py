"""Plugin for lmms-eval: TheWorld as a model, and tasks that use the scorers of this package."""

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"
"""Folder of the task files for `--include_path`; `python -m theworld.evaluation.lmms_eval` prints it."""


def manifest() -> Any:
    """Describe the model `theworld` to lmms-eval; the entry point of the group `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

    return ModelManifest(model_id="theworld", chat_class_path="theworld.evaluation.lmms_eval.model.TheWorldChat")
