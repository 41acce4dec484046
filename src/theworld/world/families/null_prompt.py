"""Compute the embedding of the empty prompt with a checkpoint's own text encoder, and store it beside the weights.

    python -m theworld.world.families.null_prompt NAME [--revision REVISION]

NAME is a folder or a hub id, whose text encoder is downloaded (16 GB for Cosmos-Predict2.5); the result has 0.1 GB.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer

from theworld.hub import fetch, repository_of
from theworld.io import whole_folder
from theworld.world.families.family import NULL_PROMPT
from theworld.world.families.table import FAMILIES, INDEX, family_of


def write_null_prompt(name: str, revision: str | None = None) -> Path:
    """Write `null_prompt/prompt.safetensors` into a checkpoint's folder; one that is there stays.

    Args:
        name: folder or hub id of the checkpoint; of a hub id it is the folder in the cache, which taps then read.
        revision: of the hub repository, as `cosmos_revision`.

    Returns:
        The written file.

    Raises:
        ValueError: for a family without a text encoder of its own, or files that are missing or do not load.
    """
    parts = {part for family in FAMILIES for part in family.prompt_parts}
    patterns = [
        INDEX,
        *(f"{part}/*{kind}" for part in sorted(parts) for kind in (".json", ".txt", ".model", ".safetensors")),
    ]
    folder = Path(name)
    if folder.is_dir() and (repository := repository_of(folder)) is not None:
        name, revision = repository, folder.name  # taps downloaded it without its text encoder
    if not folder.is_dir() or repository_of(folder) is not None:
        folder = fetch(name, patterns, revision)
    file = folder / NULL_PROMPT / "prompt.safetensors"
    if not file.is_file():
        prompt = compute_null_prompt(folder)
        with whole_folder(file.parent) as aside:
            save_file({"prompt": prompt.contiguous()}, aside / file.name)
    return file


@torch.no_grad()
def compute_null_prompt(folder: Path) -> Float[Tensor, "L W"]:
    """Return the embedding of "" by diffusers' own code, in the number format of the text encoder.

    Raises:
        ValueError: as `write_null_prompt`.
    """
    family = family_of(folder)
    if family.prompt == "zeros":
        raise ValueError(f"{folder}: {family.name} is read with zeros for a prompt, and needs no stored one")
    if missing := [part for part in family.prompt_parts if not (folder / part).is_dir()]:
        raise ValueError(f"{folder}: no {', '.join(missing)}/; fetch the whole checkpoint, such as {family.example}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / family.prompt_parts[0])
        encoder_class = family.text_encoder()
        encoder = encoder_class and encoder_class.from_pretrained(folder / family.prompt_parts[1], dtype="auto").eval()
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: the text encoder does not load ({' '.join(str(error).split())})") from error
    return family.embed(encoder, tokenizer, "", json.loads((folder / INDEX).read_text()))[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the embedding, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder or hub id of the checkpoint")
    parser.add_argument("--revision", help="of the hub repository")
    given = parser.parse_args(arguments)
    try:
        file = write_null_prompt(given.name, given.revision)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
