"""What a command found, as a reader and as a program are told it."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from theworld.cli.console import Result, facts, print_result

TABLE = "## Arms\n\n| arm | right, % |\n| --- | ---: |\n| no-world-tokens | 32.0 |\n"


def test_a_reader_in_a_pipe_gets_the_markdown_and_a_program_one_line_of_json(capsys):
    result = Result({"right": 0.32, "path": Path("a")}, TABLE)
    print_result(result, as_json=False)
    assert capsys.readouterr().out == TABLE
    print_result(result, as_json=True)
    assert capsys.readouterr().out == '{"right": 0.32, "path": "a"}\n'


def test_a_number_that_json_does_not_have_is_not_written(capsys):
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_result(Result({"accuracy": float("nan")}), as_json=True)
    assert capsys.readouterr().out == ""


def test_values_stand_behind_their_names_and_a_text_of_several_lines_as_it_is():
    found = {
        "model": Path("runs/model"),
        "vae": {"psnr_db": 31.23456789, "ok": True},
        "parts": [1, 2],
        "none": None,
        "script": "#!/bin/bash\nexit 0\n",
    }
    assert facts(found) == (
        "model        runs/model\nvae.psnr_db  31.2346\nvae.ok       True\nparts        1, 2\nnone         none\n"
        "#!/bin/bash\nexit 0\n"
    )


def test_groups_in_a_list_are_numbered():
    assert facts({"cells": [{"arm": "vae"}, {"arm": "dit"}]}) == "cells.0.arm  vae\ncells.1.arm  dit\n"


def on_a_terminal(program: str, columns: int) -> str:
    """What a program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            said += part
        process.wait()
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", said.decode())


@pytest.mark.parametrize("columns", [80, 24])
def test_a_terminal_gets_a_table_that_is_set_and_cuts_nothing_off(columns):
    said = on_a_terminal(f"from theworld.cli.console import *; print_result(Result({{}}, {TABLE!r}), False)", columns)
    assert "|" not in said
    assert "─" in said
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= columns
    assert all(part in said for part in ("no-world-tok", "ens", "32.0"))


def test_json_is_one_line_on_a_terminal_too():
    said = on_a_terminal(f"from theworld.cli.console import *; print_result(Result({{'a': 1}}, {TABLE!r}), True)", 80)
    assert json.loads(said) == {"a": 1}
