"""Slurm: submit a training run as a job that saves before its time limit, requeues itself and resumes."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from theworld.config import TrainingConfig, loader
from theworld.config.training import STOPPED_NAME, SlurmSettings
from theworld.io import name_of_path, write_whole

SCRIPT_NAME = "job.sbatch"
SECONDS_TO_SAVE: Final = 120
"""Time between the signal and the end of a job."""

_BODY = """
# Before its time is up, Slurm sends SIGUSR1 to the processes of the step; before it makes room for others, SIGTERM.
# The run saves, leaves this file and ends, and the job queues again to go on from there.
stopped={stopped}
rm -f -- "$stopped"

export PATH={bin}:"$PATH"
# The signals are for the run. Launchers would end at the first, and 30 seconds after the second torch's kills the run.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGINT,SIGHUP,SIGQUIT
MAIN_ADDRESS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MAIN_ADDRESS MAIN_PORT=$((20000 + SLURM_JOB_ID % 20000))

srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
  trap "" USR1 TERM
  exec accelerate launch --machine_rank "$SLURM_NODEID" --main_process_ip "$MAIN_ADDRESS" \\
    --main_process_port "$MAIN_PORT" "$@"' \\
  launch {launch} \\
  --module theworld train {run}
code=$?

if [ -e "$stopped" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def job_script(job: SlurmSettings) -> str:
    """Return the script of a job, for sbatch.

    Raises:
        ValueError: for invalid settings of the run, a run with a path as `resume`, a missing accelerate file, or a
            path with a line break.
    """
    run = _settings_of_run(job)
    folder = Path.cwd() / run.output_dir
    launch = ["--num_processes", str(job.nodes * job.gpu_count), "--num_machines", str(job.nodes)]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the run's own settings have the precision
    if job.accelerate is not None:
        launch = ["--config_file", str(job.accelerate), *launch]
    elif job.nodes * job.gpu_count > 1:
        launch = ["--multi_gpu", *launch]
    body = _BODY.format(
        stopped=shlex.quote(str(folder / STOPPED_NAME)),
        bin=shlex.quote(str(Path(sys.executable).parent)),
        launch=shlex.join(launch),
        run=shlex.join([str(job.config), *job.overrides, "--resume", "True"]),
    )
    return "\n".join(["#!/bin/bash", *_requests(job, run, folder)]) + "\n" + body


def submit(job: SlurmSettings) -> dict[str, Any]:
    """Write the script of a job into the run's folder and submit it.

    Returns:
        The id of the job and the path of its script.

    Raises:
        ValueError: as `job_script`; if there is no sbatch, or it refuses the job.
    """
    text = job_script(job)
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise ValueError("sbatch is not on the PATH: run this on a machine of the cluster, or look with --dry-run")
    path = Path.cwd() / _settings_of_run(job).output_dir / SCRIPT_NAME
    write_whole(path, text)
    done = subprocess.run([sbatch, "--parsable", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"sbatch refuses {path}: {' '.join(done.stderr.split())}")
    return {"job": int(done.stdout.split(";")[0]), "script": str(path)}


def _settings_of_run(job: SlurmSettings) -> TrainingConfig:
    """Load and check the settings of the run now, not when the job starts."""
    run = loader.load(TrainingConfig, job.config, job.overrides)
    if isinstance(run.resume, Path):
        raise ValueError(
            f"resume={str(run.resume)!r}: a job would go back to this checkpoint each time that it requeues; set"
            " output_dir to that run's folder instead, and the job continues from its newest checkpoint"
        )
    if job.accelerate is not None and not job.accelerate.is_file():
        raise ValueError(f"{job.accelerate}: no such file; --accelerate takes a settings file of accelerate launch")
    for path in (Path.cwd(), job.config, job.accelerate, run.output_dir):
        if re.search(r"[\r\n]", str(path)):
            raise ValueError(f"{str(path)!r}: the path has a line break, which a job's script cannot hold")
    return run


def _requests(job: SlurmSettings, run: TrainingConfig, folder: Path) -> list[str]:
    """Return the #SBATCH lines of a job."""
    name = name_of_path(job.config.with_suffix(""), "configs").replace("/", "-")
    kind = "" if job.gpu_type is None else f"{job.gpu_type}:"
    options = {
        "job-name": f"{name}-{job.gpu_type or 'gpu'}x{job.nodes * job.gpu_count}",
        "chdir": str(Path.cwd()),
        "output": str(folder).replace("%", "%%") + "/slurm-%j.out",
        "open-mode": "append",
        "nodes": str(job.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(job.gpu_count * (1 + run.num_workers)),
        "gres": f"gpu:{kind}{job.gpu_count}",
        "time": job.time,
        "mem": job.mem,
        "signal": f"USR1@{SECONDS_TO_SAVE}",
        "requeue": "",
        "mail-user": job.email,
        "mail-type": None if job.email is None else "BEGIN,END,FAIL,REQUEUE",
    }
    return [
        f"#SBATCH --{name}" + (f"={shlex.quote(value)}" if value else "")
        for name, value in options.items()
        if value is not None
    ]
