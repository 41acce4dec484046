"""Completion in a real bash: commands, flags, choices and files, without a process at each key."""

import shutil
import subprocess
from pathlib import Path

import pytest

from theworld.cli import main as cli
from theworld.cli.completion import complete
from theworld.config.commands import CompletionSettings

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on the PATH")

_COMPLETED = """
source ./script
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
PATH=  # nothing can be started
_shtab_theworld 2> errors
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and some files in it."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "script").write_text(complete(CompletionSettings(shell="bash"))["script"])
    (folder / "picture.png").touch()
    (folder / "run.json").touch()
    (folder / "runs").mkdir()
    return folder


FUTURE = ("vpct", "futurebench", "openworldqa", "vrqabench", "sat", "physbench", "mvp", "intphys2")
"""Benchmarks about the future."""


def completed(folder: Path, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    done = subprocess.run(["bash", "-c", _COMPLETED, "-", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("theworld tra", ["train"]),
        ("theworld score ", ["spatial-rgpt", "blink", "vsr", *FUTURE]),
        ("theworld cache v", ["verify"]),
        ("theworld train --model.world.ta", ["--model.world.tap"]),
        ("theworld train run.json --model.world.tap ro", ["rollout"]),
        ("theworld train run.json --precision ", ["auto", "fp32", "bf16", "fp16"]),
        ("theworld train --packing --see", ["--seed"]),
        ("theworld train run.json --resume ", ["True", "False"]),
        ("theworld train r", ["run.json", "runs"]),
        ("theworld evaluate --arms world bl", ["blind"]),
        ("theworld foresight --task d", ["drop"]),
        ("theworld ask tiny pic", ["picture.png"]),
        ("theworld completion ", ["bash", "zsh"]),
        ("theworld evaluate --js", ["--json"]),
        ("theworld --v", ["--version"]),
    ],
)
def test_bash_completes(line: str, offered: list[str], folder: Path) -> None:
    assert completed(folder, line) == offered


def test_bash_completes_every_command(folder: Path) -> None:
    assert completed(folder, "theworld ") == list(dict.fromkeys(command.name.split()[0] for command in cli.COMMANDS))


def test_the_script_is_written_as_it_is_and_bash_takes_it_for_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == cli.OK
    script = capsys.readouterr().out
    commands = f"{script}\ncomplete -p theworld\n"  # longer than an argument may be
    done = subprocess.run(["bash"], input=commands, capture_output=True, text=True)
    assert "_shtab_theworld theworld" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on the PATH")
def test_zsh_reads_its_script() -> None:
    script = complete(CompletionSettings(shell="zsh"))["script"]
    assert script.startswith("#compdef theworld")
    done = subprocess.run(["zsh", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
