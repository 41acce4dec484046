"""Names of data sets that programs register, separate from the settings that may only use known names."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, Final

REGISTERED_DATA: Final[dict[str, Callable[[Any], str]]] = {}
"""By name, a function of the settings (RegisteredData) that gives the hash of what the data set depends on."""

DATA_GROUP: Final = "theworld.datasets"
"""Entry points of installed packages: the name of a data set, and the module that registers it."""


def known_data(name: str) -> str:
    """Check the name of a registered data set; an installed package may register it.

    Raises:
        ValueError: if no data set has this name.
    """
    if name not in REGISTERED_DATA:
        for entry in entry_points(group=DATA_GROUP, name=name):
            entry.load()
    if name in REGISTERED_DATA:
        return name
    close = get_close_matches(name, REGISTERED_DATA, n=1)
    raise ValueError(
        f"no data set {name!r} is registered; "
        + (f"did you mean {close[0]}? " if close else "")
        + "import the module that registers it first, or give samples= to train and evaluate again"
    )
