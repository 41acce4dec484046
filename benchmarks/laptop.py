"""Costs on a laptop, with AVX2 alone: start, first answer, demo, tests, and the size of the installation.

`python -m benchmarks.laptop [NAME ...]` measures the named figures, or all of them. Starts and the first answer are
seconds of the processor, which leave other programs of the machine out; the demo and the tests use both of two cores,
so their minutes are by the clock, of a machine without other work.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
    """Return the median processor time of processes that start anew, the files already in memory."""
    _run(command, None)
    return statistics.median(processor_s(command) for _ in range(_NUM_STARTS))


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


def first_answer_s() -> float:
    """Return the processor time of the first answer, from the start of the command."""
    with tempfile.TemporaryDirectory() as folder:
        return processor_s([THEWORLD, "ask", "tiny-foresight", _picture(Path(folder)), QUESTION])


def demo_minutes() -> float:
    """Return the minutes of a demo in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return wall_s([THEWORLD, "demo"], folder) / 60


_MEASURES: Final[dict[str, tuple[Callable[[], float], float, str]]] = {
    "import_theworld": (lambda: start_s([sys.executable, "-c", "import theworld"]), 0.1, "CPU s"),
    "help_of_theworld": (lambda: start_s([THEWORLD, "--help"]), 0.15, "CPU s"),
    "installation_with_torch": (lambda: installed_bytes() / 1e9, 6, "GB"),
    "first_answer": (first_answer_s, 8, "CPU s"),
    "demo": (demo_minutes, 6, "min"),
    "tests": (lambda: wall_s(["make", "test"], str(ROOT)) / 60, 8, "min"),
}
"""Measurement, goal and unit of each figure."""


def figures(names: Sequence[str] = tuple(_MEASURES)) -> Iterator[Figure]:
    """Measure the named figures; the tests last half an hour on a busy machine."""
    for name in names:
        measure, goal, unit = _MEASURES[name]
        yield Figure(name, measure(), goal, unit=unit)


def _picture(folder: Path) -> str:
    from theworld.datasets.foresight import draw, make_item

    item = make_item("test", 0)
    path = folder / "scene.png"
    draw(item.scene, item.poses[0], 64).save(path)
    return str(path)


def _run(command: list[str], folder: str | None) -> None:
    environment = {**os.environ, **_AVX2, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


if __name__ == "__main__":
    if unknown := sorted({*sys.argv[1:]} - {*_MEASURES}):
        sys.exit(f"unknown figure {', '.join(unknown)}: expected some of {', '.join(_MEASURES)}")
    for figure in figures(sys.argv[1:] or tuple(_MEASURES)):
        print(figure.line(), flush=True)
