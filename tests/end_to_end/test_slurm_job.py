"""A job of a real Slurm is told that its time is up, queues again, and ends with the losses of an unbroken run."""

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from theworld.training.metrics import read_metrics

STEPS = 30
DEADLINE_SECONDS = 150
DAEMONS = ("munged", "slurmctld", "slurmd")

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(any(shutil.which(one) is None for one in DAEMONS), reason="Slurm is not installed"),
    pytest.mark.skipif(getpass.getuser() != "root", reason="Slurm's daemons start as root"),
]

# cred_expire is also how long, in seconds, a job that queues again waits: two minutes, if nothing is said.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=5
MailProg=/bin/true
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:H100:2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


# Two processes without a GPU: accelerate's launcher for several, told where it is by the environment.
ACCELERATE = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_processes: 2\n"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)  # other processes are at work


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


def state(job: int) -> str:
    """What Slurm says of a job; nothing while its controller is busy."""
    said = re.search(r"JobState=(\w+)", slurm("scontrol", "show", "job", str(job)))
    return said[1] if said else ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One node that takes itself for four processors and two GPUs; its folder lies where munge wants it."""
    folder = Path("/tmp") / f"slurm-{os.getpid()}"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    ports = {"controller_port": free_port(), "node_port": free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, **ports))
    for name in ("gpu0", "gpu1"):
        (folder / name).touch()
    (folder / "gres.conf").write_text(f"Name=gpu Type=H100 File={folder}/gpu[0-1]\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    names = {"socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munged.seed", "key-file": "munge.key"}
    munge = [f"--{option}={folder / name}" for option, name in names.items()]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            daemons.append(subprocess.Popen(command, **quiet))
            until("munged listens", (folder / "munge.socket").exists)
        until("the node is idle", lambda: slurm("sinfo", "--noheader", "--format=%T") == "idle")
        yield
        slurm("scancel", "--user=root")
        until("all jobs are gone", lambda: not slurm("squeue", "--noheader"))
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30)
        shutil.rmtree(folder)


def settings_file(folder: Path, output_dir: Path) -> Path:
    world = {"tap": "vae", "cosmos_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    run = {
        "output_dir": str(output_dir),
        "num_steps": STEPS,
        "batch_size": 1,
        "precision": "fp32",
        "save_steps": 1_000,
        "logging_steps": 1,
        "log_to": "none",
        "model": {"gemma_model_name": "tiny", "dtype": "float32", "world_grid": 4, "world": world},
        "data": {"questions": "future", "tasks": ["drop"], "image_size_px": 64, "num_train": 8, "num_validation": 8},
    }
    path = folder / f"{output_dir.name}.json"
    path.write_text(json.dumps(run))
    return path


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.usefixtures("cluster")
def test_a_job_that_is_signalled_queues_again_and_ends_as_an_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "it's a folder"  # a job's script must quote what it is given
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (folder / "cpu.yaml").write_text(ACCELERATE)
    unbroken, broken = Path("unbroken"), Path("broken")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "theworld", "train", str(settings_file(folder, unbroken)), "--num-workers", "1"]
    whole = subprocess.Popen([*launcher, *train], stderr=subprocess.PIPE, text=True)

    request = ["--gpu-type", "H100", "--gpu-count", "2", "--time", "10:00", "--mem", "2G", "--accelerate", "cpu.yaml"]
    command = ["slurm", "--json", str(settings_file(folder, broken)), *request, "--", "--num-workers", "1"]
    said = subprocess.run([sys.executable, "-m", "theworld", *command], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    job = json.loads(said.stdout)["job"]
    until("the job has done a step", lambda: len(losses(broken)) >= 1)
    slurm("scancel", "--signal=USR1", str(job))
    until("the job is queued again", lambda: state(job) == "PENDING")
    done_before = len(losses(broken))
    assert 1 <= done_before < STEPS, "the job was not stopped in its middle"
    assert [path.name for path in broken.glob("checkpoint-*")] == [f"checkpoint-{done_before}"]
    until("the job has ended", lambda: state(job) in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"))

    _, errors = whole.communicate()
    assert whole.returncode == 0, errors[-2000:]
    output = (broken / f"slurm-{job}.out").read_text()
    assert state(job) == "COMPLETED", slurm("scontrol", "show", "job", str(job)) + output[-2000:]
    assert (broken / "model").is_dir()
    assert not (broken / "stopped.json").exists()
    assert losses(broken) == losses(unbroken)
    assert len(losses(broken)) == STEPS
