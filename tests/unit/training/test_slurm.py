"""A job's script: what it asks for, what it starts, that nothing in it is taken apart, and when it queues again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from theworld.cli import main as cli
from theworld.config import loader
from theworld.config.training import SlurmSettings
from theworld.training.slurm import job_script, submit

GOLDEN = Path(__file__).parents[2] / "golden" / "job.sbatch"
RUN = '{"output_dir": "runs/align", "num_workers": 3}'


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("align.json").write_text(RUN)


def job(*flags: str) -> SlurmSettings:
    return loader.load(SlurmSettings, None, ["align.json", *flags], positional=True)


def test_the_script_is_that_of_the_golden_file(tmp_path: Path) -> None:
    Path("fsdp.yaml").touch()
    asked = ["--gpu-type", "H100", "--gpu-count", "2", "--nodes", "4", "--time", "1-04:00:00", "--mem", "256G"]
    asked += ["--email", "me@example.org", "--accelerate", "fsdp.yaml", "--", "--seed", "3"]

    text = job_script(job(*asked)).replace(str(tmp_path), "/work").replace(str(Path(sys.executable).parent), "/bin")

    if os.environ.get("THEWORLD_REGENERATE") == "1":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_by_itself_a_job_asks_for_one_gpu_and_writes_to_nobody() -> None:
    text = job_script(job())

    assert "#SBATCH --gres=gpu:1\n" in text
    assert "#SBATCH --job-name=align-gpux1\n" in text
    assert not any(word in text for word in ("mail", "--time", "--mem", "--multi_gpu", "@" + "gmail"))


def test_jobs_of_files_that_are_named_alike_have_names_of_their_own() -> None:
    for folder in ("llava", "foresight"):
        Path("configs", folder).mkdir(parents=True)
        Path("configs", folder, "1-projector.json").write_text(RUN)

    names = [
        line
        for folder in ("llava", "foresight")
        for line in job_script(SlurmSettings(config=Path("configs", folder, "1-projector.json"))).splitlines()
        if "--job-name" in line
    ]

    assert names == ["#SBATCH --job-name=llava-1-projector-gpux1", "#SBATCH --job-name=foresight-1-projector-gpux1"]


def test_a_dry_run_shows_the_script_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "align.json", "--gpu-type", "H100", "--dry-run", "--", "--seed", "3"]) == cli.OK

    shown = capsys.readouterr().out
    assert shown == job_script(job("--gpu-type", "H100", "--", "--seed", "3"))
    assert sorted(path.name for path in Path().iterdir()) == ["align.json"]


def stub(folder: Path, name: str, does: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{does}\n")
    (folder / name).chmod(0o755)


def started(text: str, tmp_path: Path, srun: str = "exit 3") -> tuple[int, list[str], str]:
    """Run a script where Slurm's programs only note how they are called: exit code, srun's arguments, scontrol's."""
    stub(tmp_path / "stubs", "srun", f'printf "%s\\0" "$@" > {tmp_path}/srun.txt\n{srun}')
    stub(tmp_path / "stubs", "scontrol", f'echo "$*" >> {tmp_path}/scontrol.txt\necho node1')
    environment = {**os.environ, "PATH": f"{tmp_path}/stubs:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "4"}
    Path("script").write_text(text)
    code = subprocess.run(["bash", "script"], env=environment, timeout=30).returncode
    arguments = (tmp_path / "srun.txt").read_text().split("\0")[:-1]
    return code, arguments, (tmp_path / "scontrol.txt").read_text()


def test_what_it_is_given_reaches_the_run_as_it_is(tmp_path: Path) -> None:
    name = 'it\'s $(touch hacked) `touch hacked`; "a run".json'
    Path(name).write_text(RUN)
    overrides = ["--output-dir", "runs/$HOME & more", "--store-dir", "a'b\\c"]
    one = loader.load(SlurmSettings, None, [name, "--", *overrides], positional=True)

    _, arguments, _ = started(job_script(one), tmp_path)

    assert arguments[-8:] == ["train", name, *overrides, "--resume", "True"]
    assert not Path("hacked").exists()


@pytest.mark.parametrize(("stopped", "again"), [(True, True), (False, False)])
def test_a_job_queues_again_if_its_run_was_stopped_and_not_if_it_failed(
    stopped: bool, again: bool, tmp_path: Path
) -> None:
    mark = tmp_path / "runs" / "align" / "stopped.json"
    mark.parent.mkdir(parents=True)
    mark.touch()  # of an earlier time: it says nothing about this one

    code, _, called = started(job_script(job()), tmp_path, f"touch {mark}; exit 1" if stopped else "exit 1")

    assert ("requeue 7" in called) is again
    assert code == 1


REFUSED: dict[str, tuple[list[str], str]] = {
    "settings that the run would refuse": (["--", "--sed", "3"], "did you mean --seed?"),
    "a checkpoint to go back to": (["--", "--resume", "runs/other/checkpoint-5"], "would go back to this checkpoint"),
    "no accelerate file": (["--accelerate", "none.yaml"], "none.yaml: no such file"),
    "a path with a line break": (["--", "--output-dir", "a\nb"], "line break"),
    "a time that is none": (["--time", "soon"], "pattern"),
    "an address that is none": (["--email", "me"], "pattern"),
    "a kind of GPU with a blank": (["--gpu-type", "H 100"], "pattern"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_refused_before_it_is_submitted(case: str) -> None:
    flags, words = REFUSED[case]

    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        job_script(job(*flags))


def test_without_sbatch_or_against_its_will_nothing_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "stubs"))
    with pytest.raises(ValueError, match="sbatch is not on the PATH"):
        submit(job())
    stub(tmp_path / "stubs", "sbatch", "echo 'invalid partition' >&2; exit 1")

    with pytest.raises(ValueError, match=r"sbatch refuses .*job\.sbatch: invalid partition"):
        submit(job())


def test_a_submitted_job_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(tmp_path / "stubs", "sbatch", "echo '12;cluster'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'stubs'}:{os.environ['PATH']}")

    found: dict[str, Any] = submit(job())

    assert found["job"] == 12
    assert Path(found["script"]).read_text() == job_script(job())
