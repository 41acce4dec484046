"""The command line as a whole: its flags, its speed, and one clear message for whatever it is given."""

import ast
import dataclasses
import json
import logging
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

import theworld
from theworld.cli import main as cli
from theworld.cli.commands import DATA, MEASURE, START, TRAIN
from theworld.config import TrainingConfig, flags
from theworld.environment import commit
from theworld.training.callbacks import STOPPED
from theworld.world.store import FeatureStore

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
GOLDEN = Path(__file__).parents[1] / "golden" / "flags.txt"

REGENERATE = "THEWORLD_REGENERATE=1 python -m pytest tests/contracts/test_command_line.py -k golden"

HELP_BUDGET_SECONDS = 1.5  # the goal is 0.5 on an idle machine; a busy one must not fail the test


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.delenv("THEWORLD_DEBUG", raising=False)
    level = logging.getLogger("theworld").level
    yield
    logging.getLogger("theworld").setLevel(level)


ran: list[TrainingConfig] = []
"""What the command `train` of these tests was called with."""


def train(config: TrainingConfig) -> dict[str, int]:
    ran.append(config)
    return {"num_steps": config.num_steps}


def raise_as_asked(config: TrainingConfig) -> None:
    raise {
        "file": FileNotFoundError(2, "No such file or directory", "model.safetensors"),
        "disk": OSError(28, "No space left on device"),
        "value": ValueError("weights of another base; give the base this checkpoint was made from"),
        "wordless": ValueError(),
        "pipe": BrokenPipeError(32, "Broken pipe"),
        "keyboard": KeyboardInterrupt(),
        "bug": RuntimeError("ours"),
    }[config.output_dir.name]


def command(name: str, target: str, **more: str) -> cli.Command:
    config = "theworld.config:TrainingConfig"
    return cli.Command("to train", name, "Do it.", f"theworld {name}", target, config, reads_file=True, **more)


bars: list[tqdm] = []


def count(config: TrainingConfig) -> None:
    """Be interrupted while a bar is open, and something holds it."""
    bars.append(tqdm(total=3, file=sys.stderr, mininterval=0))
    bars[0].update()
    raise KeyboardInterrupt


@pytest.fixture
def commands(monkeypatch):
    """Two commands that read a settings file: one that records it, one that fails as its output_dir says."""
    ran.clear()
    table = (
        command("train", f"{__name__}:train", resume_hint="`--resume True` continues"),
        command("fail", f"{__name__}:raise_as_asked"),
    )
    monkeypatch.setattr(cli, "COMMANDS", table)


def shown_flags(one: cli.Command, capsys, monkeypatch) -> list[str]:
    """The flags in the help of a command."""
    monkeypatch.setenv("COLUMNS", "100")  # one column of flags, none of them broken
    assert cli.main([*one.name.split(), "--help"]) == cli.OK
    rows = (row.strip("│| ") for row in capsys.readouterr().out.splitlines())
    return [
        flag
        for row in rows
        if re.match(r"--[a-z]", row)
        for flag in re.findall(r"--[a-z][\w.-]*", re.split(r"\s{2,}", row)[0])
    ]


def test_every_command_can_be_reached():
    for one in cli.COMMANDS:
        module, _, function = one.target.partition(":")
        source = (SOURCE / module.replace(".", "/")).with_suffix(".py").read_text()
        assert function in [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        assert dataclasses.is_dataclass(cli._named(one.settings))
        assert one.summary.endswith(".")


@pytest.mark.parametrize("one", cli.COMMANDS, ids=lambda one: one.name)
def test_the_example_of_a_command_is_shown_and_can_be_parsed(one, capsys, monkeypatch):
    program, *words = shlex.split(one.example)
    found, rest = cli._named_command(words)
    assert (program, found) == ("theworld", one)
    monkeypatch.chdir(ROOT)
    cli.settings_of(one, rest)

    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main([*one.name.split(), "--help"]) == cli.OK
    assert f"example:\n  {one.example}\n" in capsys.readouterr().out


def test_the_flags_are_those_of_the_golden_file(capsys, monkeypatch):
    lines = []
    for one in cli.COMMANDS:
        lines.append(one.name)
        lines += [f"{one.name} {flag}" for flag in shown_flags(one, capsys, monkeypatch)]
    found = "\n".join(lines) + "\n"
    if os.environ.get("THEWORLD_REGENERATE") == "1":
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), f"commands or flags have changed; if that is meant, run: {REGENERATE}"


def test_the_flags_that_are_suggested_are_those_that_are_shown(capsys, monkeypatch, commands):
    for one in cli.COMMANDS:
        known = flags.flags(cli._named(one.settings), positional=not one.reads_file)
        assert shown_flags(one, capsys, monkeypatch) == known


def test_help_is_quick_and_imports_nothing_heavy(record_property):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "theworld", "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert all(f"\n  {one.name} " in done.stdout for one in cli.COMMANDS)
    record_property("help_seconds", statistics.median(seconds))
    assert statistics.median(seconds) < HELP_BUDGET_SECONDS, f"theworld --help took {sorted(seconds)} s"
    look = "import sys; from theworld.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy", "pydantic", "tyro", "rich"} & set(done.stderr.split())


def test_version_and_help_and_nothing_at_all(capsys):
    assert cli.main(["--version"]) == cli.OK
    assert re.fullmatch(r"theworld \d+\.\d+\.\d+( \([0-9a-f]{40}\+?\))?\n", capsys.readouterr().out)
    assert cli.main(["--version", "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out) == {"theworld": theworld.__version__, "commit": commit()}
    assert cli.main(["--help"]) == cli.OK
    overview = capsys.readouterr()
    assert overview.out.startswith("usage: theworld COMMAND")
    assert cli.main([]) == cli.REFUSED
    assert capsys.readouterr() == ("", overview.out)


def test_the_overview_fits_a_narrow_terminal_and_lists_commands_by_what_they_are_for(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 72
    groups = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert groups == [START, TRAIN, MEASURE, DATA, "options, at any position", "exit codes"]
    assert lines.index(f"{TRAIN}:") < [line.split()[:1] for line in lines].index(["train"]) < lines.index(f"{MEASURE}:")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_the_help_of_a_first_word_is_all_that_may_follow_it(word, capsys):
    assert cli.main(["cache", word]) == cli.OK
    said = capsys.readouterr()
    assert said.out.startswith("usage: theworld cache COMMAND")
    assert re.findall(r"^  (cache \w+)", said.out, re.MULTILINE) == ["cache fill", "cache verify"]
    assert said.err == ""


def test_every_exit_code_is_in_the_help_and_on_the_page(capsys):
    cli.main(["--help"])
    said = capsys.readouterr().out.partition("exit codes:\n")[2]
    page = (ROOT / "docs" / "command-line.md").read_text()
    codes = [cli.OK, cli.FAULT, cli.REFUSED, cli.STOPPED, cli.INTERRUPTED, cli.UNREAD]
    assert codes == [0, 1, 2, STOPPED, 128 + signal.SIGINT, 128 + signal.SIGPIPE]
    assert list(map(int, re.findall(r"^  (\d+) ", said, re.MULTILINE))) == codes
    assert list(map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))) == codes


def test_what_was_found_is_told_name_by_name_and_as_json_when_a_program_asks(tmp_path, capsys, commands):
    (tmp_path / "run.json").write_text('{"output_dir": "run", "num_steps": 3}')
    assert cli.main(["train", str(tmp_path / "run.json"), "--seed", "5"]) == cli.OK
    assert capsys.readouterr().out == "num_steps  3\n"
    assert cli.main(["train", "--json", str(tmp_path / "run.json"), "--seed", "6"]) == cli.OK
    assert capsys.readouterr().out == '{"num_steps": 3}\n'
    assert [config.seed for config in ran] == [5, 6]


def test_what_stands_behind_two_dashes_is_for_another_program(capsys, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"output_dir": str(tmp_path / "run")}))
    line = ["slurm", str(file), "--dry-run", "--", "--json", "-v"]
    assert cli.main(line) == cli.REFUSED  # `theworld train` has no such flags
    assert "--json: unknown setting" in capsys.readouterr().err


def test_of_several_processes_one_tells_what_was_found(capsys, monkeypatch, commands):
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["train", "--output-dir", "run"]) == cli.OK
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["completion", "bash"], ["--version"]])
def test_nobody_reading_the_output_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "theworld", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.UNREAD, "")


# What is written to run.json or run.yaml, the arguments, and words of the message.
BAD_SETTINGS = {
    "a missing settings file": (None, ["train", "none.json"], "none.json: no such file"),
    "a folder instead of a settings file": (None, ["train", "folder.json"], "folder.json: not a file"),
    "a settings file of another kind": (None, ["train", "run.toml"], "suffix '.toml'"),
    "an empty settings file": ("", ["train", "run.json"], "the file is empty"),
    "a settings file of 5 MB": (" " * 5_000_000, ["train", "run.json"], "5000000 bytes"),
    "a settings file that is not text": (b"\xff\xfe\x00", ["train", "run.json"], "not UTF-8"),
    "broken JSON": ('{"seed": 1', ["train", "run.json"], "Expecting"),
    "broken YAML": ("seed: [1", ["train", "run.yaml"], "line 1"),
    "a list at the top": ("[1]", ["train", "run.json"], "expected settings by name"),
    "a text at the top": ("hello", ["train", "run.yaml"], "expected settings by name"),
    "a JSON key given twice": ('{"seed": 1, "seed": 2}', ["train", "run.json"], "'seed' is given twice"),
    "a YAML key given twice": ("seed: 1\nseed: 2", ["train", "run.yaml"], "'seed' is given twice"),
    "a YAML word that might be a boolean": ("resume: yes", ["train", "run.yaml"], "write true or false"),
    "a YAML object": ("seed: !!python/object:int {}", ["train", "run.yaml"], "could not determine a constructor"),
    "an unknown key": ('{"output_dir": "r", "sed": 1}', ["train", "run.json"], "did you mean seed?"),
    "a key of another group": (
        '{"output_dir": "r", "tap": "vae"}',
        ["train", "run.json"],
        "did you mean model.world.tap?",
    ),
    "a missing setting": ("{}", ["train", "run.json"], "output_dir: missing; give --output-dir"),
    "a text for a number": ('{"output_dir": "r", "seed": "1"}', ["train", "run.json"], "should be a valid integer"),
    "a number out of range": ('{"output_dir": "r", "seed": -1}', ["train", "run.json"], "greater than or equal to 0"),
    "a value for a group": ('{"output_dir": "r", "optim": 1}', ["train", "run.json"], "settings by name"),
    "an unknown choice": ('{"output_dir": "r", "precision": "fp8"}', ["train", "run.json"], "'fp32', 'bf16' or 'fp16'"),
    "a number that is none": ("output_dir: r\noptim: {learning_rate: .nan}", ["train", "run.yaml"], "finite number"),
    "a secret": ('{"output_dir": "r", "hf_token": "hf_x"}', ["train", "run.json"], "environment (HF_TOKEN)"),
    "a rule broken": (
        '{"output_dir": "r", "model": {"num_world_steps": 4, "world": {"tap": "vae"}}}',
        ["train", "run.json"],
        "looks ahead",
    ),
    "a rule broken by an override": (
        '{"output_dir": "r"}',
        ["train", "run.json", "--model.world-projection-mode", "channel", "--model.world-grid", "8"],
        "world_grid=8",
    ),
    "an unknown flag": (None, ["train", "--output-dir", "r", "--sed", "1"], "did you mean --seed?"),
    "an option of every command, misspelt": (None, ["train", "--output-dir", "r", "--jsn"], "did you mean --json?"),
    "a flag with a misspelt choice": (None, ["train", "--precision", "bf61"], "Did you mean bf16?"),
    "a misspelt choice": (
        '{"output_dir": "r", "model": {"world": {"tap": "rolout"}}}',
        ["train", "run.json"],
        "did you mean rollout?",
    ),
    "a flag without its value": (None, ["train", "--seed"], "Missing value"),
    "a flag with a wrong value": (None, ["train", "--output-dir", "r", "--seed", "x"], "'x'"),
    "a flag with an unknown choice": (None, ["train", "--output-dir", "r", "--log-to", "x"], "invalid choice 'x'"),
    "a file after the flags": ("{}", ["train", "--output-dir", "r", "run.json"], "comes before the flags"),
    "two files": ("{}", ["train", "run.json", "more.json"], "'more.json' belongs to no flag"),
    "a file that is gone": (None, ["fail", "--output-dir", "file"], "model.safetensors: No such file or directory"),
    "a full disk": (None, ["fail", "--output-dir", "disk"], "No space left on device"),
    "a connection that is cut": (None, ["fail", "--output-dir", "pipe"], "Broken pipe"),
    "a value that is refused later": (None, ["fail", "--output-dir", "value"], "weights of another base"),
    "an error without words": (None, ["fail", "--output-dir", "wordless"], "ValueError"),
}


def assert_one_message(capsys, command: str, words: str) -> None:
    """One line on standard error; `command` may be the first of a command's two words."""
    said = capsys.readouterr()
    assert said.out == ""
    assert re.match(rf"theworld {command}( \w+)?: ", said.err)
    assert said.err.count("\n") == 1
    assert words in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_get_one_message_and_exit_code_2(case, tmp_path, capsys, monkeypatch, commands):
    content, arguments, words = BAD_SETTINGS[case]
    monkeypatch.chdir(tmp_path)
    Path("folder.json").mkdir()
    if content is not None:
        file = next(argument for argument in arguments if argument in ("run.json", "run.yaml"))
        Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main(arguments) == cli.REFUSED
    assert_one_message(capsys, arguments[0], words)
    assert ran == []


# The arguments of the commands as they are, and words of the message.
BAD_ARGUMENTS = {
    "compare: no files": (["compare"], "files: missing; give FILES"),
    "compare: a missing file": (["compare", "a.jsonl", "b.jsonl"], "a.jsonl"),
    "compare: one file": (["compare", "/dev/null"], "two"),
    "compare: an unknown flag": (["compare", "a.jsonl", "--basline", "b.jsonl"], "did you mean --baseline?"),
    "report: no folder": (["report"], "run: missing; give RUN"),
    "report: a folder that is not there": (["report", "none"], "none: nothing to report on"),
    "report: a folder with nothing": (["report", "."], "nothing to report on"),
    "cache: no folder": (["cache", "verify"], "store: missing; give STORE"),
    "cache: a folder that is not there": (["cache", "verify", "none"], "none: no feature store there"),
    "cache: a file": (["cache", "verify", "/dev/null"], "/dev/null: no feature store there"),
    "foresight: a folder that is not there": (["foresight", "--rows", "1", "--preview", "none/a.png"], "none/a.png"),
    "foresight: no rows": (["foresight", "--rows", "0"], "--rows: given 0; should be greater than or equal to 1"),
    "foresight: an unknown split": (["foresight", "--split", "tset"], "invalid choice 'tset'"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments_get_one_message_and_exit_code_2(case, tmp_path, capsys, monkeypatch):
    arguments, words = BAD_ARGUMENTS[case]
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == cli.REFUSED
    assert_one_message(capsys, arguments[0], words)


def test_a_store_is_counted_and_verified(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FeatureStore(Path("features"), "abc", create=True).put(["a", "b"], torch.ones(2, 2, 1, 3, 3))
    assert cli.main(["cache", "verify", "features"]) == cli.OK
    assert capsys.readouterr().out == "features: 2 features, 144 bytes, no damage\n"
    assert cli.main(["cache", "verify", "features", "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out) == {
        "store": "features",
        "fingerprint": "abc",
        "num_features": 2,
        "num_bytes": 144,
    }


def test_a_store_with_a_changed_bit_is_refused_by_its_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FeatureStore(Path("features"), "abc", create=True).put(["a"], torch.ones(1, 2, 1, 3, 3))
    (shard,) = Path("features/shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[7] ^= 1
    shard.write_bytes(content)
    assert cli.main(["cache", "verify", "features"]) == cli.REFUSED
    assert_one_message(capsys, "cache", f"damaged in the feature store: {shard}")


def test_a_report_is_written_into_the_folder_of_a_run(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"seed": 1}')
    assert cli.main(["report", str(tmp_path), "--title", "My run"]) == cli.OK
    page = tmp_path / "report.html"
    assert capsys.readouterr().out == f"report  {page}\n"
    assert "<h1>My run</h1>" in page.read_text()


def test_bad_settings_are_refused_before_the_command_is_imported(capsys, monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", (command("train", "theworld.nowhere:train"),))
    assert cli.main(["train"]) == cli.REFUSED
    assert_one_message(capsys, "train", "output_dir: missing")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "run.json"], "unknown command 'trian'; did you mean train?"),
        (["sccore", "blink"], "unknown command 'sccore'; did you mean score blink?"),
        (["cache", "verfy"], "unknown command 'cache verfy'; did you mean cache verify?"),
        (["cach"], "unknown command 'cach'; did you mean cache?"),
        (["cache"], "'cache' needs a second word: cache fill, cache verify"),
        (["cache", "--hlp"], "unknown option '--hlp'; did you mean --help?"),
        (["cache", "--store", "x"], "'cache' needs a second word: cache fill, cache verify"),
        (["--jsno"], "unknown option '--jsno'; did you mean --json?"),
        (["help"], "unknown command 'help'; did you mean --help?"),
        (["--seed", "3"], "unknown option '--seed'; a command comes first, then its flags"),
        (["cache", "zzz"], "unknown command 'cache zzz'; expected one of cache fill, cache verify"),
    ],
)
def test_an_unknown_command_is_refused_with_the_closest_known_one(words, message, capsys):
    assert cli.main(words) == cli.REFUSED
    assert capsys.readouterr() == ("", f"theworld: {message}\n")


def test_a_command_like_no_other_is_refused_with_all_that_there_are(capsys, commands):
    assert cli.main(["zzz"]) == cli.REFUSED
    assert capsys.readouterr().err == "theworld: unknown command 'zzz'; expected one of train, fail\n"


def test_a_traceback_is_shown_only_when_asked_for(capsys, monkeypatch, commands):
    assert cli.main(["fail", "--output-dir", "value", "--debug"]) == cli.REFUSED
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("THEWORLD_DEBUG", "1")
    assert cli.main(["fail", "--output-dir", "value"]) == cli.REFUSED
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_from_the_keyboard_is_one_line(capsys, commands):
    assert cli.main(["fail", "--output-dir", "keyboard"]) == cli.INTERRUPTED
    assert capsys.readouterr() == ("", "theworld fail: interrupted\n")


def test_an_interruption_closes_progress_bars_and_says_how_to_go_on(capsys, monkeypatch):
    monkeypatch.setattr(
        cli, "COMMANDS", (command("train", f"{__name__}:count", resume_hint="`--resume True` continues"),)
    )
    assert cli.main(["train", "--output-dir", "keyboard"]) == cli.INTERRUPTED
    said = capsys.readouterr().err
    assert "1/3" in said
    assert said.endswith("\ntheworld train: interrupted; `--resume True` continues\n")


def test_a_fault_of_our_own_passes(commands):
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["fail", "--output-dir", "bug"])


@pytest.mark.parametrize(
    ("arguments", "level"),
    [([], "WARNING"), (["-v"], "INFO"), (["--verbose"], "INFO"), (["-vv"], "DEBUG"), (["-v", "-v"], "DEBUG")],
)
def test_verbosity_sets_how_much_is_logged(arguments, level, commands):
    cli.main(["train", "--output-dir", "run", *arguments])
    assert logging.getLevelName(logging.getLogger("theworld").level) == level
    assert len(ran) == 1


@pytest.mark.parametrize("command", [entry.name for entry in cli.COMMANDS])
@pytest.mark.parametrize("flag", ["--hlp", "-hlp", "--hlep=1"])
def test_a_misspelt_flag_is_the_first_fault_of_every_command(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command.split(), flag]) == cli.REFUSED
    name = flag.partition("=")[0]
    assert capsys.readouterr().err == f"theworld {command}: {name}: unknown setting; did you mean --help?\n"


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("ask tiny a.png q --max-new-token 3", "--max-new-token: unknown setting; did you mean --max-new-tokens?"),
        ("ask tiny a.png q --hf-token x", "secrets never go into settings; they come from the environment (HF_TOKEN)"),
        ("train --data.questions dynamik", "Did you mean future?"),
        ("evaluate --answers writen", "Did you mean generate?"),
        ("completion bsh", "Did you mean bash?"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(line: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == cli.REFUSED
    assert capsys.readouterr().err.endswith(f"{end}\n")
