"""The embedded default: a small Gemma 3 and Cosmos-Predict2 of the real classes, in the real folder layouts."""

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The trained stack that comes with the package: gemma/ and cosmos/, float16."""


def stack() -> Path:
    """The folder of the trained stack: `gemma` and `cosmos`.

    Raises:
        FileNotFoundError: if the package was installed without its weights.
    """
    if not WEIGHTS.is_dir():
        raise FileNotFoundError(f"{WEIGHTS}: the embedded weights are missing; install the package anew")
    return WEIGHTS


def build(folder: Path, seed: int = 0) -> Path:
    """Write `folder/gemma` and `folder/cosmos` of a still smaller stack with random weights: for tests.

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
