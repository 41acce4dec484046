"""Command line `theworld`: run one command and print its result."""

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import theworld
from theworld.cli.commands import COMMANDS, MOVED, Command
from theworld.cli.console import FAULT, INTERRUPTED, OK, REFUSED, STOPPED, UNREAD, Result, close_bars, print_result

__all__ = ["FAULT", "INTERRUPTED", "OK", "REFUSED", "STOPPED", "UNREAD", "COMMANDS", "Command", "main"]

_OPTIONS = (
    ("-h, --help", "show this help, or that of a command"),
    ("--json", "print the result as one line of JSON, and nothing else, to standard output"),
    ("-v, --verbose", "log more; twice: everything"),
    ("--debug", "show the traceback of an error (or set THEWORLD_DEBUG=1)"),
    ("--version", "show the version and its commit"),
)
_CODES = (
    (str(OK), "success"),
    (str(FAULT), "`doctor` found a fault, or this program has a bug and shows its traceback"),
    (str(REFUSED), "bad input, with one message for each fault"),
    (str(STOPPED), "a signal (SIGTERM, SIGUSR1) stopped `train`; it saved, and you can resume it"),
    (str(INTERRUPTED), "interrupted (Ctrl-C)"),
    (str(UNREAD), "the reader of the output closed it, as in `theworld ... | head -1`"),
)

_SETTINGS_FILES = (".json", ".yaml", ".yml")
"""Endings of settings files; another first word names a run or a model."""

_STANDARD_OUTPUT = 1
"""File descriptor."""


class Line(NamedTuple):
    """A command line, with the options of every command taken out."""

    words: list[str]
    verbosity: int
    debug: bool
    json: bool


def main(argv: Sequence[str] | None = None, command: Command | None = None) -> int:
    """Run one command.

    Bad input (`ValueError`, `OSError`) ends with one message on standard error and exit code 2. Any other exception
    is a bug of this program and propagates with its traceback.

    Args:
        argv: arguments without the program's name; None: `sys.argv`.
        command: the only command of a program; None: the first words name it.

    Returns:
        The exit code, one of `theworld.cli.console`.
    """
    line = _read_line(list(sys.argv[1:] if argv is None else argv))
    try:
        code = _dispatch(line) if command is None else _start(command, line.words, line)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _give_up_output()
        return UNREAD


def _dispatch(line: Line) -> int:
    if not line.words:
        print(_overview(), file=sys.stderr)
        return REFUSED
    if line.words[0] in ("-h", "--help"):
        print(_overview(), flush=True)
        return OK
    if line.words[0] == "--version":
        from theworld.environment import commit

        values = {"theworld": theworld.__version__, "commit": commit()}
        suffix = f" ({values['commit']})" if values["commit"] else ""
        print_result(Result(values, f"theworld {theworld.__version__}{suffix}"), line.json)
        return OK
    command, rest = _named_command(line.words)
    group = [entry for entry in COMMANDS if entry.name.startswith(f"{line.words[0]} ")]
    if command is None and group and line.words[1:] in (["-h"], ["--help"]):
        print(_group(line.words[0], group), flush=True)
        return OK
    if command is None:
        return _refuse("theworld", _unknown_command(line.words))
    return _start(command, rest, line)


def _start(command: Command, rest: list[str], line: Line) -> int:
    _set_up_logging(line.verbosity)
    return _perform(command, rest, line)


def _perform(command: Command, rest: list[str], line: Line) -> int:
    """Run a command and print its result; of several processes the first prints."""
    is_first = os.environ.get("RANK") in (None, "", "0")
    try:
        # Libraries may print, which would break the JSON.
        with redirect_stdout(sys.stderr) if line.json and not _asks_for_help(rest) else nullcontext():
            output = _run(command, rest)
        result = output if isinstance(output, Result) else Result(output or {})
        if result.values and is_first:
            print_result(result, line.json)
        return result.code
    except KeyboardInterrupt:
        pass  # reported below, once the progress bars that the traceback holds are gone
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            raise
        if line.debug:
            _show_traceback()
        return _refuse(command.program, _sentence(error))
    except ImportError as error:
        from theworld.environment import unmet_requirements

        if line.debug or not (unmet := unmet_requirements()):
            raise
        return _refuse(command.program, f"{_sentence(error)}; {unmet}")
    close_bars()
    if is_first:
        hint = f"; {command.resume_hint}" if command.resume_hint else ""
        print(f"{command.program}: interrupted{hint}", file=sys.stderr)
    return INTERRUPTED


def _read_line(arguments: list[str]) -> Line:
    """Take out the options that may appear anywhere before `--`; the words after it are for another program."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, rest = arguments[:end], arguments[end:]
    options = {"-v": 1, "--verbose": 1, "-vv": 2, "--debug": 0, "--json": 0}
    return Line(
        words=[word for word in words if word not in options] + rest,
        verbosity=sum(options.get(word, 0) for word in words),
        debug="--debug" in words or os.environ.get("THEWORLD_DEBUG") == "1",
        json="--json" in words,
    )


def _asks_for_help(arguments: Sequence[str]) -> bool:
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "-h" in words or "--help" in words


def _run(command: Command, arguments: list[str]) -> dict[str, Any] | Result | None:
    if _asks_for_help(arguments):
        from theworld.config import flags

        cls = _named(command.settings)
        takes = " [RUN | FILE]" if command.takes_run else " [FILE]" if command.reads_file else ""
        program = command.program + takes
        options = "Every command also takes --json, --verbose and --debug."
        about = f"{command.summary}\n\nexample:\n  {command.example}\n\n{options}"
        flags.show_help(cls, program, about, positional=not command.reads_file)
        return None
    settings = settings_of(command, arguments)
    return _named(command.target)(settings)  # imported only now: bad settings fail before anything heavy loads


def settings_of(command: Command, arguments: Sequence[str]) -> Any:
    """Return the settings that the arguments of a command give.

    Raises:
        ValueError: with every problem.
    """
    from theworld.config import loader

    words = list(arguments)
    path = None
    if command.reads_file and words and not words[0].startswith("-"):
        if command.takes_run and Path(words[0]).suffix not in _SETTINGS_FILES:
            words.insert(0, "--checkpoint")
        else:
            path = Path(words.pop(0))
    infer = {"infer": _named(command.infer)} if command.infer else {}
    return loader.load(_named(command.settings), path, words, positional=not command.reads_file, **infer)


def _named(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _overview() -> str:
    parts = ["usage: theworld COMMAND [ARGUMENT ...]", (theworld.__doc__ or "").strip()]
    width = max((len(command.name) for command in COMMANDS), default=0)
    for group in dict.fromkeys(command.group for command in COMMANDS):
        commands = [(command.name, command.summary) for command in COMMANDS if command.group == group]
        parts.append(f"{group}:\n{_columns(commands, width)}")
    parts.append(f"options, at any position:\n{_columns(_OPTIONS, width)}")
    parts.append(f"exit codes:\n{_columns(_CODES, width)}")
    parts.append("`theworld COMMAND --help` shows every flag of a command, and an example.")
    return "\n\n".join(parts)


def _group(word: str, commands: Sequence[Command]) -> str:
    """Help for the commands that share their first word."""
    rows = [(command.name, command.summary) for command in commands]
    return f"usage: theworld {word} COMMAND [ARGUMENT ...]\n\n{_columns(rows, max(len(name) for name, _ in rows))}"


def _columns(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Names and meanings in two columns, as wide as the terminal."""
    lines = []
    for name, meaning in rows:
        head = f"  {name:<{width}}  "
        room = min(shutil.get_terminal_size().columns, 120)
        lines.append(textwrap.fill(meaning, max(room, 40), initial_indent=head, subsequent_indent=" " * len(head)))
    return "\n".join(lines)


def _named_command(arguments: Sequence[str]) -> tuple[Command | None, list[str]]:
    """Split a line into its command, of two words or one, and the remaining words."""
    commands = {command.name: command for command in COMMANDS}
    for num_words in (2, 1):
        command = commands.get(" ".join(arguments[:num_words]))
        if command is not None:
            return command, list(arguments[num_words:])
    return None, list(arguments)


def _unknown_command(arguments: Sequence[str]) -> str:
    import difflib

    if arguments[0] in MOVED:
        return f"{arguments[0]!r} is no longer a command; {MOVED[arguments[0]]}"
    names = [command.name for command in COMMANDS]
    beginning = [name for name in names if name.startswith(f"{arguments[0]} ")]
    options = [word for option, _ in _OPTIONS for word in option.split(", ")]
    if arguments[0].startswith("-"):
        close = difflib.get_close_matches(arguments[0], options, n=1)
        remedy = f"did you mean {close[0]}?" if close else "a command comes first, then its flags"
        return f"unknown option {arguments[0]!r}; {remedy}"
    if beginning and (not arguments[1:] or arguments[1].startswith("-")):
        close = difflib.get_close_matches(arguments[1], options, n=1, cutoff=0.7) if arguments[1:] else []
        if close:
            return f"unknown option {arguments[1]!r}; did you mean {close[0]}?"
        return f"{arguments[0]!r} needs a second word: {', '.join(beginning)}"
    two = " ".join(arguments[:2])
    typed = two if beginning else arguments[0]
    firsts = dict.fromkeys(name.partition(" ")[0] for name in names)
    tried = ((two, beginning), (two, names), (typed, names), (typed, () if beginning else (*firsts, *options)))
    for words, known in tried:
        if close := difflib.get_close_matches(words, known, n=1, cutoff=0.7):
            return f"unknown command {typed!r}; did you mean {close[0]}?"
    return f"unknown command {typed!r}; expected one of {', '.join(beginning or names)}"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):  # libraries wrap their messages
        return " ".join(str(error).split())
    return str(error) or type(error).__name__


def _refuse(program: str, message: str) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return REFUSED


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()


def _output_is_closed() -> bool:
    """Return whether the reader of standard output has closed it, rather than a connection of the command itself."""
    import select

    poll = select.poll()
    poll.register(_STANDARD_OUTPUT, 0)  # poll always reports errors, even for mask 0
    return bool(poll.poll(0))


def _give_up_output() -> None:
    """Redirect standard output to nowhere, so that the flush at exit does not write to the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)


def _set_up_logging(verbosity: int) -> None:
    import logging

    handler = logging.StreamHandler(sys.stderr)
    # Libraries with a handler of their own, such as huggingface_hub, would print each line twice.
    handler.addFilter(lambda record: not logging.getLogger(record.name.partition(".")[0]).handlers)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", handlers=[handler])
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.getLogger("theworld").setLevel(levels[min(verbosity, 2)])
    logging.getLogger("theworld.notes").setLevel(levels[max(1, min(verbosity, 2))])
