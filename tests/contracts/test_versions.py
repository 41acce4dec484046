"""Ranges and locks: pyproject.toml allows the versions that are tried, and each environment has a committed lock."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import theworld
from theworld import environment
from theworld.cli import main as cli
from tried_versions import COMBINATIONS, TESTS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {needed.name: needed.specifier for needed in map(Requirement, PROJECT["dependencies"])}
MAKEFILE = (ROOT / "Makefile").read_text()
LOCKS = ("constraints.txt", "tests/constraints-lmms-eval.txt")


def locked(path: str) -> dict[str, str]:
    """Each package of a lock, under its normal name, to its version."""
    lines = [line.split("==") for line in (ROOT / path).read_text().splitlines()]
    return {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in lines}


@pytest.mark.parametrize("name", ["transformers", "diffusers"])
def test_a_range_begins_and_ends_with_the_versions_that_are_tried(name: str) -> None:
    tried = sorted(Version(versions[name]) for versions in COMBINATIONS)

    oldest, newest = tried[0], tried[-1]
    assert RANGES[name] == SpecifierSet(f">={oldest.major}.{oldest.minor},<{newest.major}.{newest.minor + 1}")


@pytest.mark.parametrize("name", ["transformers", "diffusers", "huggingface-hub"])
def test_all_tried_versions_and_the_locked_one_are_in_range(name: str) -> None:
    tried = {versions[name] for versions in COMBINATIONS} | {locked("constraints.txt")[name]}

    assert {number for number in tried if number not in RANGES[name]} == set()


def test_every_file_that_is_tried_exists() -> None:
    assert [path for path in TESTS if not (ROOT / path).is_file()] == []


def test_the_oldest_and_the_newest_are_tried_together() -> None:
    """Otherwise a range would hold for each library, and not for both."""
    for pick in (min, max):
        extreme = {name: str(pick(Version(versions[name]) for versions in COMBINATIONS)) for name in COMBINATIONS[0]}
        assert extreme in COMBINATIONS


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_has_every_dependency_in_its_range(path: str) -> None:
    lock = locked(path)

    assert {name for name, allowed in RANGES.items() if lock[name] not in allowed} == set()


def test_the_lock_for_lmms_eval_differs_only_where_lmms_eval_asks_for_it() -> None:
    lock, other = (locked(path) for path in LOCKS)

    assert {name for name in lock.keys() & other.keys() if lock[name] != other[name]} == {"protobuf", "wandb"}


def test_every_environment_of_the_makefile_is_installed_from_a_lock() -> None:
    installs = re.findall(r"pip\"? install .*(?:--editable|dist/).*", MAKEFILE)

    assert len(installs) == 4
    used = [re.findall(r"--constraint (\S+)", line) for line in installs]
    assert all(len(paths) == 1 and paths[0] in LOCKS for paths in used), used


def fail_to_import(*_: object) -> None:
    raise ImportError("cannot import name 'x' from 'transformers'")


def test_an_import_that_fails_with_a_version_out_of_range_names_the_range_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "version", lambda name: "0.0.1")
    monkeypatch.setattr(cli, "_run", fail_to_import)
    monkeypatch.setattr(theworld.importlib, "import_module", fail_to_import)

    code = cli.main(["doctor"])

    said = capsys.readouterr().err
    assert code == cli.REFUSED
    assert said.count("\n") == 1
    assert re.search(r"transformers 0\.0\.1, needed <5\.\d+,>=5\.\d+; .*: install with constraints\.txt", said)
    with pytest.raises(ImportError, match=r"transformers 0\.0\.1, needed <5\.\d+,>=5\.\d+"):
        _ = theworld.TheWorld


def test_another_import_that_fails_is_a_bug_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "unmet_requirements", lambda: "")
    monkeypatch.setattr(cli, "_run", fail_to_import)

    with pytest.raises(ImportError, match="cannot import name"):
        cli.main(["doctor"])
