"""Folders of evaluations: each says what it is of, and is not taken for anything else."""

from typing import Any, TypeAlias

from theworld.config import AuditSettings, EvaluationConfig, loader
from theworld.config.evaluation import SpatialRGPTJudgeSettings
from theworld.environment import describe_environment
from theworld.io import write_whole

Claim: TypeAlias = EvaluationConfig | AuditSettings | SpatialRGPTJudgeSettings
"""Settings with an `output_dir`."""


def claim_folder(own: Claim, **more: Any) -> None:
    """Write config.json and environment.json into `output_dir`, over those of an earlier start.

    Args:
        own: the settings.
        more: values that environment.json holds besides.

    Raises:
        ValueError: if config.json is there and is of something else: a model, a training run.
    """
    path = own.output_dir / "config.json"
    if path.exists():
        try:
            loader.load(type(own), path)
        except ValueError as error:
            raise ValueError(
                f"{path} is of something else than {type(own).__name__}: choose another folder with --output-dir"
            ) from error
    loader.save(own, path)
    write_whole(own.output_dir / "environment.json", describe_environment(**more))
