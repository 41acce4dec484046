"""The embedded default: a small Gemma 3 and Cosmos-Predict2 with the classes and folder layouts of the originals."""

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The trained stack in the package: gemma/ and cosmos/, float16."""


def stack() -> Path:
    """Return the folder of the trained stack: `gemma` and `cosmos`.

    Raises:
        FileNotFoundError: if the package was installed without its weights.
    """
    if not WEIGHTS.is_dir():
        raise FileNotFoundError(f"{WEIGHTS}: the embedded weights are missing; install the package again")
    return WEIGHTS


def build(folder: Path, seed: int = 0) -> Path:
    """Write `folder/gemma` and `folder/cosmos` of an even smaller stack with random weights, for tests.

    The weights are a function of the seed; the global random state does not change.

    Returns:
        The folder.
    """
    import torch  # imported late, like transformers and diffusers below: `stack` needs none of them

    from theworld.tiny.cosmos import write_cosmos
    from theworld.tiny.gemma import write_gemma

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # biases come from the classes themselves
        write_gemma(Path(folder) / "gemma", seed)
        write_cosmos(Path(folder) / "cosmos", seed)
    return Path(folder)


def build_world(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random world model of a family into a folder, for tests: a function of the seed.

    Args:
        family: predict2, predict2.5, wan2.1, wan2.2, cosmos3 or v-jepa2.
        folder: new or empty.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        ValueError: for another family.
    """
    import torch

    from theworld.tiny.worlds import WRITERS

    if family not in WRITERS:
        raise ValueError(f"no tiny world {family!r}: expected one of {', '.join(WRITERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        WRITERS[family](Path(folder), seed)
    return Path(folder)
