"""What pyproject.toml cannot say: a wheel or a source archive records the commit that it was made from."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

_environment = runpy.run_path(str(Path(__file__).parent / "src" / "theworld" / "environment.py"))


def _record(package: Path) -> None:
    commit = _environment["commit"]()
    if commit is not None:
        (package / _environment["COMMIT_NAME"]).write_text(f"{commit}\n")


class BuildPy(build_py):
    """The package as it is installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            _record(Path(self.build_lib) / "theworld")


class Sdist(sdist):
    """The sources, from which a wheel can be built anywhere."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        _record(Path(base_dir) / "src" / "theworld")


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
