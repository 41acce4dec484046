"""One thread, no network, shapes checked: what holds for every test."""

import gc
import os
import tempfile
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A kernel compiled for other instructions is found again and computes other numbers.
_INSTRUCTIONS = os.environ.get("ATEN_CPU_CAPABILITY", "native")
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor-tests-{_INSTRUCTIONS}")
os.environ.setdefault("TORCH_WARM_POOL", "0")  # processes that compile for GPUs alone
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import jaxtyping

# Left out are the dataclasses of settings, which pydantic and transformers check by themselves and wrap in ways that
# the hook does not survive.
SHAPED = (
    "recipes",
    *(f"theworld/{name}" for name in ("datasets", "tiny", "world", "evaluation", "training", "experiments", "report")),
    *(f"theworld/modeling/{name}.py" for name in ("projector", "fusion", "native", "model", "introspection")),
)


def modules_with_shapes() -> Iterator[str]:
    """Modules that annotate shapes; the hook wraps every function of a module, which makes a simulation far slower."""
    root = Path(__file__).parents[1]
    for path in (*root.glob("recipes/*.py"), *root.glob("src/theworld/**/*.py")):
        name = path.relative_to(root).as_posix().removeprefix("src/")
        if name.startswith(SHAPED) and "from jaxtyping import" in path.read_text():
            yield name.removesuffix(".py").replace("/", ".")


# Annotated shapes are checked at run time, in tests only.
jaxtyping.install_import_hook([*modules_with_shapes()], "beartype.beartype")

import pytest
import torch

from theworld import tiny
from theworld.config import world as world_settings
from theworld.world import custom

torch.set_num_threads(1)

pytest_plugins = [
    "fixtures_bases",
    "fixtures_devices",
    "fixtures_model",
    "fixtures_judge",
    "fixtures_leftovers",
    "fixtures_processors",
    "fixtures_windows",
]


def pytest_collection_finish() -> None:
    """Hide from the garbage collector all that imports have made: each training collects, and would search it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _random_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In tests "tiny" is a random stack, smaller than the embedded one; `embedded` gives that one back."""
    built: list[Path] = []

    def stack() -> Path:
        if not built:
            built.append(tiny.build(tmp_path_factory.mktemp("stack")))
        return built[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THEWORLD_CACHE", str(tmp_path_factory.mktemp("cache")))  # no test reads a user's cache
        patch.setattr(tiny, "stack", stack)
        yield


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trained stack that users have; "tiny" means it in this test."""
    monkeypatch.setattr(tiny, "stack", lambda: tiny.WEIGHTS)
    return tiny.WEIGHTS


@pytest.fixture(autouse=True)
def _no_tap_left_behind() -> Iterator[None]:
    """A tap that a test registers is known in that test alone."""
    registries = (world_settings.OWN_TAPS, custom._CLASSES)
    before = [dict(registry) for registry in registries]
    yield
    for registry, was in zip(registries, before, strict=True):
        registry.clear()
        registry.update(was)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
