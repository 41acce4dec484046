"""Former import paths from the docs and examples: each works for one more release, with a warning."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

MOVED: Final = {
    "theworld.config.arms": "theworld.config.experiments",
    "theworld.files": "theworld.io",
    "theworld.foresight": "theworld.datasets.foresight",
    "theworld.foresight.baselines": "theworld.datasets.foresight.heuristics",
    "theworld.foresight.dataset": "theworld.datasets.foresight.dataset",
    "theworld.foresight.preview": "theworld.datasets.foresight.export",
    "theworld.modeling.imagining": "theworld.modeling.introspection",
    "theworld.modeling.seen": "theworld.modeling.generation",
    "theworld.report.animation": "theworld.datasets.animation",
    "theworld.report.arms": "theworld.experiments.arms.table",
    "theworld.report.results": "theworld.experiments.arms.results",
    "theworld.report.sheet": "theworld.report.figures",
    "theworld.settings": "theworld.config.loader",
    "theworld.training.progress": "theworld.training.metrics",
    "theworld.world.own": "theworld.world.custom",
}
"""Former modules, and the modules with their names today."""


class _MovedLoader(Loader):
    """Loader of a module that looks its names up in another module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {new}; the old path goes with the next release", FutureWarning, 2)
        target = importlib.import_module(new)

        def look_up(name: str) -> Any:
            return getattr(target, name)

        module.__dict__["__getattr__"] = look_up


class _MovedFinder(MetaPathFinder):
    """Finder of the former modules alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, _MovedLoader(), is_package=True)


def install() -> None:
    """Make former import paths importable, after all existing ones."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())
