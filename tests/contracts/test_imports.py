"""Rules that hold for every module of the package: who imports whom, sizes, names, and what is never written."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import theworld

PACKAGE = Path(theworld.__file__).parent

# Each group imports itself and the groups before it.
ORDER = (
    ("constants", "moved", "precision", "tables", "config", "io", "locks", "hub", "environment"),
    ("datasets",),
    ("tiny",),
    ("world",),
    ("modeling",),
    ("evaluation",),
    ("report",),
    ("serving",),
    ("training",),
    ("planning",),
    ("experiments",),
    ("cli", "__main__"),
)
RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}

MOST_LINES_OF_A_MODULE = 400
LEAST_LINES_OF_A_MODULE = 60
MOST_LINES_OF_A_FUNCTION = 60
MOST_REPEATED_STEMS = 30
EXPECTED_STEMS = {"__init__", "__main__"}
RUNNING = ("training/", "experiments/", "modeling/", "evaluation/run", "evaluation/generation", "evaluation/judges/run")
"""Modules that train, answer or judge."""
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "v2", "final"}


def modules() -> dict[str, str]:
    """Source of every module by its path in the package."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str, path: str) -> Iterator[str]:
    """What a module imports from the package, wherever in it the import stands: `theworld.world.tap`, ..."""
    package = ["theworld", *Path(path).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def part(dotted: str) -> str | None:
    """The part of the package that a name belongs to; None for other packages, and for the package's own names."""
    first, _, rest = dotted.partition(".")
    if first != "theworld" or not rest:
        return None
    name = rest.partition(".")[0]
    if name in theworld._HOMES:
        return part(theworld._HOMES[name])
    return None if name == "__version__" else name


def backward_imports(sources: dict[str, str]) -> list[str]:
    """Imports that point to the right of the order."""
    found = []
    for path, source in sources.items():
        ours = path.removesuffix(".py").partition("/")[0]
        if path == "__init__.py":  # names where its public names live, and imports none of them
            continue
        if ours not in RANK:
            found.append(f"{path}: no place in the order of imports")
            continue
        for name in imported(source, path):
            theirs = part(name)
            if theirs is not None and RANK.get(theirs, len(ORDER)) > RANK[ours]:
                found.append(f"{path} imports {name}")
    return found


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports, wherever in it the import stands: `world/tap.py`, ..."""
    paths = {module_name(path): path for path in sources}
    found: dict[str, set[str]] = {}
    for path, source in sources.items():
        found[path] = set()
        for name in imported(source, path):
            target = paths.get(name) or paths.get(name.rpartition(".")[0])
            if target is not None and not target.endswith("__init__.py"):
                found[path].add(target)
    return found


def module_name(path: str) -> str:
    return ".".join(["theworld", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import themselves, by however many others."""
    found = []
    for start in edges:
        seen, front = set(), [start]
        while front:
            reached = edges[front.pop()] - seen
            seen |= reached
            front += reached
        if start in seen:
            found.append(start)
    return found


def repeated_stems(paths: Collection[str]) -> list[str]:
    """Modules that share a file name with another module."""
    stems = Counter(Path(path).stem for path in paths)
    return sorted(path for path in paths if stems[Path(path).stem] > 1 and Path(path).stem not in EXPECTED_STEMS)


def reached(edges: dict[str, set[str]], folder: str) -> set[str]:
    """Modules that those of a folder import, directly or through others."""
    seen: set[str] = set()
    front = [path for path in edges if path.startswith(folder)]
    while front:
        fresh = edges[front.pop()] - seen
        seen |= fresh
        front += fresh
    return seen


def unexplained_smallness(path: str, source: str) -> list[str]:
    """Short modules whose first line does not say why they stand apart."""
    num_lines = len(source.splitlines())
    if num_lines >= LEAST_LINES_OF_A_MODULE or Path(path).name in ("__init__.py", "__main__.py"):
        return []
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return [] if "separate" in first else [f"{path}: {num_lines} lines"]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def too_long(path: str, source: str) -> list[str]:
    num_lines = len(source.splitlines())
    found = [f"{path}: {num_lines} lines"] if num_lines > MOST_LINES_OF_A_MODULE else []
    for node in functions(ast.parse(source)):
        num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if num_lines > MOST_LINES_OF_A_FUNCTION:
            found.append(f"{path}: {node.name}: {num_lines} lines")
    return found


def empty_names(path: str, source: str) -> list[str]:
    """Names of files, classes and functions that say nothing about what is inside."""
    names = [*Path(path).with_suffix("").parts]
    names += [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    names += [node.name for node in functions(ast.parse(source))]
    return [
        f"{path}: {name}"
        for name in names
        if EMPTY_NAMES & set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))
    ]


def blanket_handlers(path: str, source: str) -> list[str]:
    """Handlers that would swallow our own faults."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                if kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")):
                    found.append(f"{path}:{node.lineno}")
    return found


def prints(path: str, source: str) -> list[str]:
    if path == "cli/main.py":
        return []
    return [
        f"{path}:{node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def unintroduced(path: str, source: str) -> list[str]:
    """Modules whose docstring does not begin with one sentence on a line of its own."""
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    one_sentence = first.endswith((".", "?")) and not re.search(r"[.?]\s+[A-Z]", first)
    return [] if one_sentence else [f"{path}: {first!r}"]


def test_imports_point_left():
    assert backward_imports(modules()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("world/tap.py", "from theworld.modeling.model import TheWorld"),
        ("world/tap.py", "def late():\n    import theworld.training"),
        ("datasets/sample.py", "from theworld import TheWorld"),
        ("datasets/sample.py", "from theworld import world"),
        ("datasets/sample.py", "from ..world import tap"),
        ("config.py", "from .datasets.sample import Sample"),
        ("constants.py", "from theworld.surprise import x"),
        ("surprise.py", ""),
    ],
)
def test_an_import_that_points_right_is_seen(path, source):
    assert len(backward_imports({path: source})) == 1


def test_no_module_imports_itself_through_others():
    assert circles(graph(modules())) == []


def test_a_circle_is_seen_through_a_late_import():
    sources = {
        "world/a.py": "from theworld.world import b",
        "world/b.py": "def f():\n    from theworld.world.c import x",
        "world/c.py": "import theworld.world.a",
        "world/d.py": "from theworld.world.a import y",
    }
    assert circles(graph(sources)) == ["world/a.py", "world/b.py", "world/c.py"]


def test_the_report_reaches_nothing_that_trains_answers_or_judges():
    running = [path for path in reached(graph(modules()), "report/") if path.startswith(RUNNING)]
    assert running == []


def test_what_a_folder_reaches_is_found_through_others():
    sources = {
        "report/page.py": "from theworld.evaluation.summary import x",
        "evaluation/summary.py": "def f():\n    from theworld.evaluation.run import evaluate",
        "evaluation/run.py": "",
        "training/run.py": "",
    }
    assert reached(graph(sources), "report/") == {"evaluation/summary.py", "evaluation/run.py"}


def test_few_modules_share_a_name():
    found = repeated_stems(modules())
    assert len(found) <= MOST_REPEATED_STEMS, found
    assert repeated_stems(["a/x.py", "b/x.py", "b/y.py", "a/__init__.py", "b/__init__.py"]) == ["a/x.py", "b/x.py"]


def test_an_import_that_points_left_or_outside_is_left_alone():
    source = (
        "import torch\nfrom theworld import __version__, datasets\nfrom . import tap\nfrom theworld.world import tap"
    )
    assert backward_imports({"world/store.py": source, "__init__.py": "import theworld.cli.main"}) == []


@pytest.mark.parametrize("rule", [too_long, unexplained_smallness, empty_names, blanket_handlers, prints, unintroduced])
def test_every_module_keeps_the_rule(rule):
    assert [found for path, source in modules().items() for found in rule(path, source)] == []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (too_long, "a.py", "\n" * 401),
        (unexplained_smallness, "a.py", '"""A short module."""'),
        (too_long, "a.py", "class A:\n    def f(self):\n" + "        x = 1\n" * 60),
        (empty_names, "world/utils.py", ""),
        (empty_names, "world/tap.py", "def pad_helper(): ..."),
        (empty_names, "world/tap.py", "class StoreManager: ..."),
        (empty_names, "world/tap_v2.py", ""),
        (blanket_handlers, "a.py", "try: ...\nexcept: ..."),
        (blanket_handlers, "a.py", "try: ...\nexcept Exception: ..."),
        (blanket_handlers, "a.py", "try: ...\nexcept (OSError, BaseException) as error: ..."),
        (prints, "a.py", "def f():\n    print(1)"),
        (unintroduced, "a.py", ""),
        (unintroduced, "a.py", '"""no full stop"""'),
        (unintroduced, "a.py", '"""Two. Sentences."""'),
    ],
)
def test_a_broken_rule_is_seen(rule, path, source):
    assert len(rule(path, source)) == 1


def test_a_value_may_be_called_final():
    assert empty_names("modeling/projector.py", 'architecture = "mlp_final_gelu"') == []


_WATCHED_IMPORT = """
import json, sys
events = []
sys.addaudithook(lambda event, args: events.append((event, str(args[0]) if args else "")))
import theworld
opened = [path for event, path in events if event == "open"]
print(json.dumps({
    "heavy": sorted({"torch", "transformers", "diffusers", "numpy", "pydantic", "tyro"} & set(sys.modules)),
    "opened": [path for path in opened if not path.endswith((".py", ".pyc")) and "__pycache__" not in path],
    "sockets": [event for event, _ in events if event.startswith(("socket.", "os.fork", "subprocess."))],
    "version": theworld.__version__,
}))
"""


def test_importing_the_package_opens_nothing_and_imports_no_torch():
    done = subprocess.run([sys.executable, "-c", _WATCHED_IMPORT], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"heavy": [], "opened": [], "sockets": [], "version": theworld.__version__}
