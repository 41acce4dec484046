"""A tiny stack of the real classes, in the real folder layouts: random Gemma 3 and Cosmos-Predict2."""

import os
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from theworld.files import fingerprint, whole_folder


def build(folder: Path, seed: int = 0) -> Path:
    """Write `folder/gemma` and `folder/cosmos`, as google/gemma-3-4b-it and Cosmos-Predict2 lie on the hub.

    The weights are a function of the seed; the global random state is left alone.

    Returns:
        The folder.
    """
    import torch  # only when something is built, like transformers and diffusers below

    from theworld.tiny.cosmos import write_cosmos
    from theworld.tiny.gemma import write_gemma

    with torch.random.fork_rng(devices=[]):
        write_gemma(Path(folder) / "gemma", seed)
        write_cosmos(Path(folder) / "cosmos", seed)
    return Path(folder)


def stack() -> Path:
    """The default stack, built on first use in the user's cache: `$THEWORLD_CACHE`, else `~/.cache/theworld`.

    Its folder is named by a fingerprint of the recipe and of the libraries that carry it out, and is whole or absent.
    """
    cache = Path(os.environ.get("THEWORLD_CACHE") or Path.home() / ".cache" / "theworld")
    folder = cache / f"tiny-{_recipe()}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():  # another process may have built it while this one waited
                with whole_folder(folder) as aside:
                    build(aside)
    return folder


def _recipe() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    libraries = ("torch", "transformers", "diffusers", "tokenizers")
    return fingerprint([path.read_text() for path in sources], [version(name) for name in libraries])
