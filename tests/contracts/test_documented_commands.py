"""Every command of the README and the pages: it parses as it stands, and runs unless it says what it needs."""

import ast
import importlib
import itertools
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from recipes.real_gemma import RealGemmaSettings
from recipes.settings import TinySettings
from theworld import tiny
from theworld.cli import main as cli
from theworld.cli.main import _named, _named_command, settings_of
from theworld.config import flags, loader

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

MARKS = (
    "needs a GPU",
    "needs the hub",
    "needs the network",
    "needs Slurm",
    "needs your files",
    "takes minutes",
    "takes hours",
    "runs until stopped",
)
"""What a comment says of a command that no test runs: behind it, or above it in its block."""

OTHER_PROGRAMS = ("accelerate", "export", "git", "grep", "hf", "img2dataset", "lmms-eval", "mkdir", "pip", "python")
"""What stands on the pages beside `make` and `theworld`; of these only the names are checked."""

SMALL = {
    "train": "--num-steps 2 --optim.warmup-steps 0 --data.num-train 12 --data.num-validation 3 --num-workers 0"
    " --model.world.num-inference-steps 2 --batch-size 4",
    "data preview": "--num-read 4 --num-shown 2",
    "plan": "--peak-tflops 1 --data.num-train 4",
    "evaluate": "--data.num-validation 3",
    "audit": "--data.num-validation 10",
    "probe": "--tasks drop --num-train 20 --num-test 20 --blocks 0 --noise-levels 0.3 --world.num-inference-steps 2",
    "foresight": "--rows 1",
}
"""Flags that follow those of the page where a test runs a command: the same, with less work."""


PROTOTYPE = {"model_name": "google/gemma-3-4b-it", "num_epochs": 3, "learning_rate": 1e-4, "output_dir": "checkpoints"}
"""A settings file of the original prototype, shortened."""


class Shown(NamedTuple):
    """A command as a page shows it."""

    page: str
    line: str
    comment: str

    @property
    def words(self) -> list[str]:
        """Its words, without variables that are set for it."""
        words = shlex.split(self.line)
        while re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        return words

    @property
    def is_marked(self) -> bool:
        return any(mark in self.comment for mark in MARKS)


def commands(text: str, page: str) -> Iterator[Shown]:
    """The commands in the blocks of a page; what a comment line says holds until the next empty line."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        above = ""
        for line in block.replace("\\\n", " ").splitlines():
            command, _, comment = line.partition(" # ") if not line.startswith("# ") else ("", "", line)
            if command.strip():
                yield Shown(page, " ".join(command.split()), f"{above} {comment}")
            else:
                above = comment


SHOWN = [command for page in PAGES for command in commands(page.read_text(), page.name)]


def ours(command: Shown) -> list[str] | None:
    """The arguments of `theworld` in a command, which a launcher may begin; None: another program.

    What is done with the output, and what may stand anywhere on the line, is left out.
    """
    words = list(itertools.takewhile(lambda word: word not in ("|", ">"), command.words))
    for place, word in enumerate(words):
        if word == "theworld" and (place == 0 or words[place - 1] in ("-m", "--module")):
            return cli._read_line(words[place + 1 :]).words
    return None


TO_RUN = list({one.line: one for one in SHOWN if not one.is_marked and ours(one) is not None}.values())


def check(command: Shown) -> None:
    """Raise if the command cannot be meant: an unknown command, flag, value, settings file, target or extra."""
    words = command.words
    arguments = ours(command)
    if arguments in (["--help"], ["--version"]):
        return
    if arguments is not None:
        named, rest = _named_command(arguments)
        assert named is not None, f"{command.page}: no command in {command.line}"
        if rest != ["--help"]:
            settings_of(named, rest)
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in targets] == [], command.line
    else:
        assert Path(words[0]).name in OTHER_PROGRAMS, f"{command.page}: {command.line}"
    if arguments is None and words[0] not in ("export", "mkdir"):
        assert command.is_marked, (
            f"{command.page}: no test runs {command.line}; say in a comment what it needs: {MARKS}"
        )
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r"(?:theworld|\.)\[([\w,-]+)\]", command.line):
        assert set(extra.split(",")) <= set(known), command.line


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: f"{command.page}: {command.line}")
def test_a_command_means_something(command: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    check(command)


@pytest.mark.parametrize(
    "line",
    [
        "theworld trian configs/foresight-tiny.json",
        "theworld train configs/foresight-tiny.json --num-step 5",
        "theworld train configs/none.json",
        "accelerate launch --module theworld train configs/foresight-tiny.json --precision fp8",
        "make everything",
        "pip install 'theworld[sreve]'",
        "rm -rf /",
    ],
)
def test_a_command_that_means_nothing_is_noticed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    with pytest.raises((AssertionError, loader.SettingsError)):
        check(Shown("page.md", line, "takes minutes"))


def test_a_comment_behind_a_command_or_above_it_marks_it() -> None:
    text = "```sh\na --b 1 \\\n  --c   # all; needs a GPU\nd\n# takes hours\ne\n\nf\n```"

    assert [(one.line, one.is_marked) for one in commands(text, "page.md")] == [
        ("a --b 1 --c", True),
        ("d", False),
        ("e", True),
        ("f", False),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_of_commands_within_a_text_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`theworld ([a-z][^`]*)`", prose):
        named, rest = _named_command(code.split())
        if named is None:  # `theworld score`, the first of two words, or nothing that exists
            assert any(one.name.startswith(code.split()[0]) for one in cli.COMMANDS), f"{page.name}: theworld {code}"
            continue
        known = flags.flags(_named(named.settings), positional=not named.reads_file)
        given = [word for word in rest if word.startswith("--") and word not in ("--", "--help", "--data.*")]
        assert [flag for flag in given if flag not in known] == [], f"{page.name}: theworld {code}"


RECIPES = {"tiny.md": TinySettings, "real-gemma.md": RealGemmaSettings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_that_a_text_names_by_themselves_are_those_of_a_command(page: Path) -> None:
    if page.name in ("decisions.md", "lmms-eval.md"):  # they speak of other programs
        return
    known = {
        flag for named in cli.COMMANDS for flag in flags.flags(_named(named.settings), positional=not named.reads_file)
    } | {"--json", "--debug", "--verbose", "--version", "--help"}
    if page.name in RECIPES:
        known |= set(flags.flags(RECIPES[page.name]))
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    named = [word.partition("=")[0] for code in re.findall(r"`(--[a-z][^`]*)`", prose) for word in code.split()]

    assert [flag for flag in named if flag.startswith("--") and flag not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_on_a_page_compile_and_import_what_exists(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "theworld":
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == [], page.name


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with what the commands name: settings, a picture, saved replies, a run and its evaluation."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "docs").mkdir()
    (folder / "docs" / "images").symlink_to(ROOT / "docs" / "images")
    spatial = {"id": "1", "question": "Is Region [0] above Region [1]?", "ground_truth": "No.", "prediction": "No."}
    spatial |= {"qa_type": "qualitative", "qa_category": "above_predicate", "correct": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tiny, "stack", lambda: tiny.WEIGHTS)
        Image.new("RGB", (64, 64), "white").save("picture.png")
        Path("old.json").write_text(json.dumps(PROTOTYPE))
        Path("replies.jsonl").write_text(json.dumps(spatial) + "\n")
        for name in ("train", "evaluate"):  # what others read
            run(next(one for one in TO_RUN if (ours(one) or [""])[0] == name))
        for name in ("a", "b"):
            shutil.copy(next(Path("runs").glob("*/evaluation/predictions/*.jsonl")), f"{name}.jsonl")
        yield folder


RAN: set[str] = set()


def run(command: Shown) -> None:
    """Run a command, once: a second training would find the first one's folder."""
    if command.line in RAN:
        return
    arguments = ours(command)
    assert arguments is not None
    named, rest = _named_command(arguments)
    small = SMALL[named.name].split() if named is not None and named.name in SMALL and rest != ["--help"] else []
    assert cli.main([*arguments, *small]) == cli.OK
    RAN.add(command.line)


@pytest.mark.slow
@pytest.mark.parametrize("command", TO_RUN, ids=lambda command: f"{command.page}: {command.line}")
def test_a_command_runs_unless_it_says_what_it_needs(command: Shown, workspace: Path) -> None:
    assert Path.cwd() == workspace

    run(command)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "docs/tokenization.md", "docs/foresight.md", "docs/commands.md"]
)
def test_the_first_program_of_a_page_runs_where_it_needs_nothing(page: str, workspace: Path) -> None:
    block = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)[0]

    exec(compile(block, page, "exec"), {})
