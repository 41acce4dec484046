"""What is released: a wheel with the whole package and nothing else, which runs where there is no repository."""

import json
import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import theworld

pytest.importorskip("build", reason="the extra `dev` is not installed")

ROOT = Path(__file__).parents[2]
INFO = f"theworld-{theworld.__version__}.dist-info"
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: what belongs to it cannot be told"),
]


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source archive and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder.parent)})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_what_git_has_of_the_package_the_commit_and_nothing_else(wheel: Path) -> None:
    package = {line.removeprefix("src/") for line in git("ls-files", "src/theworld").splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("theworld/COMMIT").decode().strip().rstrip("+") == git("rev-parse", "HEAD").strip()

    assert names == package | {"theworld/COMMIT"} | {f"{INFO}/{name}" for name in METADATA}


def test_the_source_archive_holds_the_same_package_and_no_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert set(git("ls-files", "src/theworld").splitlines()) < names
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py", "src/theworld/COMMIT"} < names
    assert not any(name.startswith(("tests", "docs", "configs", ".")) for name in names)


def elsewhere() -> dict[str, str]:
    """The environment variables, without what would lead to the sources."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an environment that has theworld from the wheel, and all else from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, env=elsewhere())
    (packages,) = folder.glob("lib/python*/site-packages")
    # Added to the path by its name alone: the editable installation in it is not followed.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin" / "theworld"


def run(program: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, env=elsewhere())
    assert done.returncode == 0, done.stderr
    return done


def test_an_installed_wheel_names_the_commit_that_it_was_made_from(installed: Path, tmp_path: Path) -> None:
    found = json.loads(run(installed, "--version", "--json", folder=tmp_path).stdout)

    assert found["theworld"] == theworld.__version__
    assert found["commit"].rstrip("+") == git("rev-parse", "HEAD").strip()


def test_an_installed_wheel_answers_with_its_embedded_model_where_there_is_no_repository(
    installed: Path, tmp_path: Path
) -> None:
    run(installed, "foresight", "--preview", "scene.png", "--rows", "1", folder=tmp_path)
    words = ["ask", "tiny-foresight", "scene.png", "Which bin?", "--max-new-tokens", "2", "--json"]
    found = json.loads(run(installed, *words, folder=tmp_path).stdout)

    assert set(found) == {"question", "without the world", "with the world", "note"}
    python = installed.with_name("python")
    where = run(python, "-c", "import theworld; print(theworld.__file__)", folder=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(installed.parents[1]), "theworld did not come from the wheel"
