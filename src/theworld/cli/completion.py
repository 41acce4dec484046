"""Shell completion: a static script for commands, flags, choices and files; it starts no process as you type."""

import argparse
import importlib
from typing import Any

import shtab

from theworld.cli.commands import COMMANDS, Command
from theworld.config import flags
from theworld.config.commands import CompletionSettings


def complete(arguments: CompletionSettings) -> dict[str, Any]:
    """Return a script that completes every command, flag and choice.

    The script reflects the commands and settings of this version: a new version of the package needs a new script.
    """
    return {"script": shtab.complete(_parser(), shell=arguments.shell)}


def _parser() -> argparse.ArgumentParser:
    """Describe the command line to shtab, which reads argparse; this parser parses nothing."""
    top = argparse.ArgumentParser(prog="theworld", add_help=False)
    for name in ("--help", "--version"):
        top.add_argument(name, action="store_true")
    first = top.add_subparsers(dest="command")
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        word, _, second = command.name.partition(" ")
        if not second:
            _describe(first.add_parser(word, help=command.summary, add_help=False), command)
            continue
        if word not in groups:
            names = " or ".join(other.name for other in COMMANDS if other.name.startswith(f"{word} "))
            groups[word] = first.add_parser(word, help=f"{names}.", add_help=False).add_subparsers(dest="second")
        _describe(groups[word].add_parser(second, help=command.summary, add_help=False), command)
    return top


def _describe(parser: argparse.ArgumentParser, command: Command) -> None:
    module, _, name = command.settings.partition(":")
    cls = getattr(importlib.import_module(module), name)
    for argument in flags.arguments(cls, positional=not command.reads_file):
        _add(parser, argument)
    if command.reads_file:
        _add(parser, flags.Argument("file", (), is_path=True))
    for flag in flags.EVERYWHERE:
        parser.add_argument(flag, action="store_true")


def _add(parser: argparse.ArgumentParser, argument: flags.Argument) -> None:
    if argument.is_switch:
        for flag in argument.flags:
            parser.add_argument(flag, action="store_true")
        return
    options: dict[str, Any] = {"choices": argument.choices or None, "nargs": "*" if argument.takes_many else None}
    action = parser.add_argument(*(argument.flags or (argument.name,)), **options)
    if not argument.choices:
        action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
