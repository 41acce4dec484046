"""One thread, no network, shapes checked: what holds for every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import jaxtyping

# Annotated tensor shapes are checked at run time, in tests only. Left out are the dataclasses of settings, which
# pydantic and transformers check by themselves and wrap in ways that the hook does not survive.
SHAPED = [
    *(
        f"theworld.{name}"
        for name in ("datasets", "foresight", "tiny", "world", "evaluation", "training", "recipes", "report")
    ),
    *(f"theworld.modeling.{name}" for name in ("projector", "fusion", "model", "imagining")),
]
jaxtyping.install_import_hook(SHAPED, "beartype.beartype")

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)

pytest_plugins = ["fixtures_model"]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tiny stack is built anew: no test depends on what lies in a user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THEWORLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
