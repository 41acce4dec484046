"""SlurmSettings: a training run as a job of a cluster."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SlurmSettings:
    """A training run as a job of a cluster: what it runs, and what it asks Slurm for."""

    config: Path
    """Settings file of the run."""

    overrides: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Flags of `theworld train`, after `--`."""

    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """Kind of GPU as the cluster calls it, such as H100; None: any."""

    gpu_count: Annotated[int, Field(ge=1)] = 1
    """GPUs on each node; each has a process of its own."""

    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes."""

    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){0,2}$")] | None = None
    """Longest time of the job in one go, such as 4:00:00 or 2-00:00:00; None: the cluster's default."""

    mem: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    """Memory on each node, such as 256G; None: the cluster's default."""

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    """Where Slurm writes when the job begins, ends, fails or queues again; None: nowhere."""

    accelerate: Path | None = None
    """Settings file of `accelerate launch`, such as configs/accelerate/fsdp.yaml; None: one process per GPU (DDP)."""

    dry_run: bool = False
    """Show the job's script; nothing is written or submitted."""
