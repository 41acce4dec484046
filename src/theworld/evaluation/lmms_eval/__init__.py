"""lmms-eval: TheWorld as a model of that harness, and tasks of its kind that our own scorers score."""

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"
"""What `--include_path` wants: the folder of our task files. `python -m theworld.evaluation.lmms_eval` says it."""


def manifest() -> Any:
    """What lmms-eval is told about the model `theworld`; the entry point of the group `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

    return ModelManifest(model_id="theworld", chat_class_path="theworld.evaluation.lmms_eval.model.TheWorldChat")
