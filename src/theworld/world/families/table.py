"""The table of families, and the choice of one by a checkpoint's `model_index.json`."""

import json
from pathlib import Path
from typing import Any, Final

from theworld.hub import again
from theworld.io import unique_names
from theworld.world.families.cosmos3 import Cosmos3
from theworld.world.families.family import Family
from theworld.world.families.predict2 import Predict2
from theworld.world.families.predict2_5 import Predict25
from theworld.world.families.wan2_1 import Wan21
from theworld.world.families.wan2_2 import Wan22

PREDICT2: Final = Predict2()
FAMILIES: Final[tuple[Family, ...]] = (PREDICT2, Predict25(), Wan21(), Wan22(), Cosmos3())

INDEX: Final = "model_index.json"


def family_of(folder: Path) -> Family:
    """Return the family of a checkpoint; without an index it is Cosmos-Predict2.

    Raises:
        ValueError: for a pipeline of no known family, or one with another network or schedule than its family has.
    """
    file = folder / INDEX
    if not file.is_file():
        return PREDICT2
    index = read_object(file, folder)
    name = index.get("_class_name")
    if name is None:
        family = PREDICT2
    else:
        family = next((row for row in FAMILIES if name in row.pipelines and row.suits(index)), None)
    if family is None:
        known = ", ".join(f"{row.name} ({row.example})" for row in FAMILIES)
        raise ValueError(
            f"{file}: {_described(name, index)}; TheWorld reads {known}: name one of them with cosmos_model_name, or"
            " register a tap of your own for this one"
        )
    for part in family.classes:
        entry = index.get(part)
        if isinstance(entry, list) and len(entry) == 2:  # library and class
            check_class(family, file, entry[1], part, where=f"{part}: ")
    return family


def _described(name: Any, index: dict[str, Any]) -> str:
    more = [part for part in ("transformer_2", "image_encoder") if any(index.get(part) or ())]
    return f"the pipeline {name!r}" + (f" with {' and '.join(more)}" if more else "")


def check_class(family: Family, file: Path, name: Any, part: str, where: str = "") -> None:
    """Raise an error for another class than the family's; a part without a name is taken for ours.

    Raises:
        ValueError: with both classes.
    """
    known = family.classes[part].__name__
    if name not in (None, known):
        raise ValueError(
            f"{file}: {where}the class {name!r}; expected {known!r}, the one that {family.name} has and TheWorld"
            " runs: name another checkpoint with cosmos_model_name, or register a tap of your own for this one"
        )


def read_object(file: Path, folder: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: for a damaged file, with its remedy.
    """
    try:
        values = json.loads(file.read_bytes(), object_pairs_hook=unique_names)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); {again(folder)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} is damaged (it holds no JSON object); {again(folder)}")
    return values
