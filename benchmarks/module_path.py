"""Modules of `theworld` that one row passes from its reader to the loss, and that one question calls; tiny stack."""

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

import theworld
from benchmarks.figures import Figure
from benchmarks.memory import in_a_process

PACKAGE = str(Path(theworld.__file__).parent) + "/"
WATCHING = {"training/callbacks.py", "training/metrics.py", "training/flops.py"}
"""Modules that look at a step and change nothing in it; what they call does not count either."""
STEPS = {"__getitems__", "__call__", "training_step"}
"""Functions of the training modules that hold all work on a row: read, collate, forward with loss."""


class Calls:
    """Record the modules whose functions run, in order; code that runs on import does not count.

    Args:
        begins: whether recording begins with a call of this module and function; else it is always on.
    """

    def __init__(self, begins: Callable[[str, str], bool] | None = None) -> None:
        self.begins = begins
        self.modules: dict[str, int] = {}
        self._open: list[tuple[FrameType, int]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "return" and self._open and self._open[-1][0] is frame:
            self._open.pop()
        if event != "call":
            return
        file = frame.f_code.co_filename
        name = file.removeprefix(PACKAGE) if file.startswith(PACKAGE) else ""
        is_importing = file.startswith("<frozen importlib")  # with all that a module runs when it is imported
        on = self._open[-1][1] if self._open else int(self.begins is None)
        if is_importing or (name in WATCHING and self.begins is not None):
            self._open.append((frame, -1))
        elif on == 0 and self.begins is not None and self.begins(name, frame.f_code.co_name):
            self._open.append((frame, 1))
            on = 1
        if on == 1 and name and not is_importing and name not in (WATCHING if self.begins else ()):
            self.modules[name] = self.modules.get(name, 0) + 1


def llava_row(folder: Path) -> list[str]:
    """Modules on the way of the single row of one training step."""
    rows = []
    for number in range(8):
        Image.fromarray(np.full((64, 64, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
        turns = [{"from": "human", "value": "<image>\nWhich bin?"}, {"from": "gpt", "value": "red"}]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(rows))
    flags = {
        "output-dir": folder / "run",
        "num-steps": 1,
        "batch-size": 1,
        "num-workers": 0,
        "log-to": "none",
        "data.dataset": "llava",
        "data.source": folder / "rows.json",
        "data.image-dir": folder,
        "model.gemma-model-name": "tiny",
        "model.world.cosmos-model-name": "tiny",
        "model.world.image-size-px": 64,
        "model.world-grid": 4,
    }
    calls = Calls(lambda module, function: module.startswith("training/") and function in STEPS)
    _command(calls, "train", *[word for name, value in flags.items() for word in (f"--{name}", str(value))])
    return list(calls.modules)


def question(folder: Path) -> list[str]:
    """Modules that `theworld ask` calls."""
    picture = folder / "picture.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(picture)
    calls = Calls()
    _command(calls, "ask", "tiny-foresight", str(picture), "Which bin?")
    return list(calls.modules)


def _command(calls: Calls, *words: str) -> None:
    from theworld.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(sys.stderr):
        sys.setprofile(calls)
        try:
            code = main(words)
        finally:
            sys.setprofile(None)
    if code:
        sys.exit(code)


PATHS = {"llava_row_to_loss": (llava_row, 15), "question_to_answer": (question, 30)}


def figures() -> Iterator[Figure]:
    """The two counts, each in a process that has loaded nothing before."""
    for name, (_, goal) in PATHS.items():
        yield Figure(f"modules_{name}", len(in_a_process("module_path", name)["modules"]), goal, "modules")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps({"modules": PATHS[sys.argv[1]][0](Path(temporary))}))
