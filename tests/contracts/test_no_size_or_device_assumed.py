"""The package knows neither the sizes of a model nor where it lies: both are found out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import theworld

PACKAGE = Path(theworld.__file__).parent
NEVER = {2304, 2560, 28}
"""Widths of tokens, sides of grids and numbers of blocks of the real models."""
NOT_OF_MODELS = {64}
"""A side of the tiny stack and of a grid at 512 px: elsewhere also pictures of 64 px, or 64 bits."""
OF_MODELS = ("world/", "modeling/", "planning/", "training/", "serving/")


def named_once(tree: ast.Module) -> set[int]:
    """Nodes of assignments at a module's top: constants, which have a name and a place."""
    tops = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return {id(node) for top in tops for node in ast.walk(top)}


def sizes(path: str, source: str) -> Iterator[str]:
    tree = ast.parse(source)
    named = named_once(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
            continue
        unnamed = path.startswith(OF_MODELS) and node.value in NOT_OF_MODELS and id(node) not in named
        if node.value in NEVER or unnamed:
            yield f"{path}:{node.lineno}: {node.value}"


def devices(path: str, source: str) -> Iterator[str]:
    """Where CUDA is named as a place to put something; asking whether it is there, or what a device is, is no harm."""
    tree = ast.parse(source)
    asked: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):  # device.type == "cuda"
            asked |= {id(one) for one in ast.walk(node)}
        elif isinstance(node, ast.Dict):  # what holds for devices of a type
            asked |= {id(key) for key in node.keys if key is not None}
        elif isinstance(node, ast.IfExp) and "is_available" in ast.unparse(node.test):
            asked |= {id(node.body)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "cuda" and ast.unparse(node.value) != "torch":
            yield f"{path}:{node.lineno}: .cuda"
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if (text == "cuda" or text.startswith("cuda:")) and id(node) not in asked:
            yield f"{path}:{node.lineno}: {text!r}"


@pytest.mark.parametrize("rule", [sizes, devices])
def test_no_module_assumes_a_size_or_a_device(rule) -> None:
    modules = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    assert [found for path, source in modules.items() for found in rule(path, source)] == []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (sizes, "world/tap.py", "grid = features.view(n, 28, -1)"),
        (sizes, "foresight/scene.py", "WIDTH = 2560"),
        (sizes, "modeling/projector.py", "def f(x):\n    return x.view(64, -1)"),
        (devices, "world/tap.py", 'model.to("cuda")'),
        (devices, "world/tap.py", 'torch.zeros(3, device="cuda:1")'),
        (devices, "modeling/model.py", "model.cuda()"),
    ],
)
def test_an_assumption_is_seen(rule, path: str, source: str) -> None:
    assert len(list(rule(path, source))) == 1


def test_a_named_constant_and_a_question_are_left_alone() -> None:
    assert not list(sizes("modeling/asking.py", "LENGTH: Final = 64"))
    assert not list(sizes("foresight/items.py", "rng.getrandbits(64)"))
    question = 'device = torch.device("cuda" if torch.cuda.is_available() else "cpu")\nif device.type == "cuda": pass'
    assert not list(devices("training/work.py", question))
