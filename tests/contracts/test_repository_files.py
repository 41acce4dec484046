"""What stands around the package for GitHub and for those who cite: true to the package, to CI and to the README."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_workflow_runs_what_ci_runs_and_nothing_else() -> None:
    (path,) = (ROOT / ".github" / "workflows").iterdir()
    workflow = yaml.safe_load(path.read_text())

    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert [step["uses"].partition("@")[0] for step in steps if "uses" in step] == ["actions/checkout"]
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    told = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in job["env"].items()}}
    found = subprocess.run(["git", "config", "--get", "safe.directory"], env=told, capture_output=True, text=True)
    assert found.stdout == "*\n"  # it reads a checkout of another user's
    python = re.fullmatch(r"python:(3\.\d+)-\w+", job["container"])
    assert python is not None
    assert f"Programming Language :: Python :: {python[1]}" in PROJECT["classifiers"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_in_fields_of_names_of_their_own(path: Path) -> None:
    form = yaml.safe_load(path.read_text())

    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert {field["type"] for field in form["body"]} <= {"textarea", "input", "checkboxes"}
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_is_a_form_for_a_fault_for_a_wish_and_for_a_number_in_doubt() -> None:
    assert [path.stem for path in FORMS] == ["bug", "feature", "measurement"]


def test_the_citation_is_of_this_version_under_this_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"]


def test_the_tree_in_the_readme_names_what_stands_at_the_root() -> None:
    tree = (ROOT / "README.md").read_text().split("## Where everything lives")[1]
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout: what belongs to it cannot be told")
    parts = {line.partition("/")[0] for line in listed.stdout.splitlines()}

    assert sorted(name for name in parts - {".ci", ".gitignore", "LICENSE"} if name not in tree) == []


def test_every_test_that_the_makefile_names_exists() -> None:
    named = re.findall(r"\btests/[\w/.-]+", (ROOT / "Makefile").read_text())
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
