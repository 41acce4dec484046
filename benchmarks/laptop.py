"""What a laptop pays, with AVX2 alone: start, first answer, demo, tests, and the size of the installation."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from benchmarks.figures import Figure

ROOT: Final = Path(__file__).parents[1]
THEWORLD: Final = str(Path(sys.executable).parent / "theworld")
QUESTION: Final = "In which bin does the ball come to rest: blue, red or yellow? Answer with one word."

_NUM_STARTS: Final = 9
_AVX2: Final = {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
"""Keeps torch and oneDNN from newer instructions, so that all machines do the same work."""


def wall_s(command: list[str], folder: str | None = None) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    _run(command, folder)
    return time.perf_counter() - started


def processor_s(command: list[str], folder: str | None = None) -> float:
    """Return the seconds of processor time, of all threads, that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_s(command: list[str]) -> float:
    """Return the median over processes that start anew, the files already in memory."""
    _run(command, None)
    return statistics.median(wall_s(command) for _ in range(_NUM_STARTS))


def installed_bytes(name: str = "theworld") -> int:
    """Return the size on disk of a distribution's requirements, and of theirs, without extras."""
    seen: dict[str, int] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop().lower().replace("_", "-")
        if current in seen:
            continue
        try:
            found = distribution(current)
        except PackageNotFoundError:  # for another system or version of Python
            seen[current] = 0
            continue
        paths = [Path(str(found.locate_file(file))) for file in found.files or ()]
        seen[current] = sum(path.stat().st_size for path in paths if path.is_file())
        requirements = [Requirement(text) for text in found.requires or ()]
        waiting += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sum(seen.values())


def figures() -> Iterator[Figure]:
    """Measure all; the tests last half an hour on a busy machine."""
    yield Figure("import_theworld", start_s([sys.executable, "-c", "import theworld"]), 0.1, unit="s")
    yield Figure("help_of_theworld", start_s([THEWORLD, "--help"]), 0.15, unit="s")
    yield Figure("installation_with_torch", installed_bytes() / 1e9, 6, unit="GB")
    with tempfile.TemporaryDirectory() as folder:
        picture = _picture(Path(folder))
        yield Figure(
            "first_answer", processor_s([THEWORLD, "ask", "tiny-foresight", picture, QUESTION]), 8, unit="CPU s"
        )
        yield Figure("demo", wall_s([THEWORLD, "demo"], folder) / 60, 6, unit="min")
    yield Figure("tests", wall_s(["make", "test"], str(ROOT)) / 60, 8, unit="min")


def _picture(folder: Path) -> str:
    from theworld.datasets.foresight import draw, make_item

    item = make_item("test", 0)
    path = folder / "scene.png"
    draw(item.scene, item.poses[0], 64).save(path)
    return str(path)


def _run(command: list[str], folder: str | None) -> None:
    environment = {**os.environ, **_AVX2, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
