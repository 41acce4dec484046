"""Identity of a feature store: the file `store.json`, which names the tap; and the folders that can become a store."""

import json
from pathlib import Path
from typing import Any, Final

from theworld.world.store_files import StoreDamagedError, StoreError, create_whole, opened
from theworld.world.store_formats import FORMATS

FORMAT: Final = 1
PARTS: Final = ("shards", "commits")
"""Folders of a store, beside `store.json`."""

FORMER_DTYPE: Final = "float32"
"""Number format of stores that name none: taps give it."""
_LONGEST_FINGERPRINT: Final = 200


class StoreMismatchError(StoreError):
    """The store holds features of another tap."""

    def __init__(self, folder: Path, stored: str, current: str) -> None:
        super().__init__(
            f"the feature store {folder} belongs to tap fingerprint {stored}, this run's tap has {current}: the world"
            " model's weights or the world settings differ. Use the settings that the store was made with, or give"
            " another store folder"
        )


class StoreFormatError(StoreError):
    """The store holds its features in another number format."""

    def __init__(self, folder: Path, stored: str, wanted: str) -> None:
        super().__init__(
            f"the feature store {folder} holds {stored}, and this run wants {wanted}: set store_dtype to {stored}, or"
            " give another store folder"
        )


def stored_fingerprint(folder: Path) -> str:
    """Read the fingerprint of the tap whose features a store contains.

    Raises:
        StoreError: if there is no store, one of a later format, or its `store.json` is damaged.
    """
    return _identity(folder)[0]


def stored_dtype(folder: Path) -> str | None:
    """Read the number format that a store was made with; None for a store that names none.

    Raises:
        StoreError: as `stored_fingerprint`.
    """
    return _identity(folder)[1]


def format_to_use(folder: Path, wanted: str | None) -> str:
    """Return the number format of a run's store: the wanted one, or an existing store's own, or bfloat16.

    Raises:
        StoreError: as `stored_fingerprint`.
    """
    if wanted is not None:
        return wanted
    return (stored_dtype(folder) or FORMER_DTYPE) if (folder / "store.json").exists() else "bfloat16"


def _identity(folder: Path) -> tuple[str, str | None]:
    file = Path(folder) / "store.json"
    try:
        with opened(file) as stream:
            identity = json.load(stream)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{folder}: no feature store there; check the path, or create it") from error
    except StoreDamagedError as error:
        raise _not_an_identity(file) from error
    except StoreError:
        raise
    except (ValueError, RecursionError) as error:
        raise _not_an_identity(file) from error
    if not isinstance(identity, dict):
        raise _not_an_identity(file)
    return _checked(file, identity)


def _checked(file: Path, identity: dict[str, Any]) -> tuple[str, str | None]:
    given, stored, dtype = identity.get("format"), identity.get("fingerprint"), identity.get("dtype")
    if type(given) is not int:
        raise _not_an_identity(file)
    if given != FORMAT:
        raise StoreError(f"{file} has format {given}, this version reads {FORMAT}: give another store folder")
    if not isinstance(stored, str) or not stored.isprintable() or not 0 < len(stored) <= _LONGEST_FINGERPRINT:
        raise _not_an_identity(file)
    if dtype is not None and dtype not in FORMATS:
        raise _not_an_identity(file)
    return stored, dtype


def _not_an_identity(file: Path) -> StoreError:
    return StoreError(
        f"{file} is damaged, or no file of a feature store: give another store folder, in which the features are"
        " computed anew"
    )


def create_identity(folder: Path, fingerprint: str, dtype: str | None = None) -> None:
    """Make a new or an empty folder a store; do nothing if it is one already.

    Args:
        folder: of the store.
        fingerprint: of the tap.
        dtype: number format of all its features; None: features keep their own.

    Raises:
        StoreError: if the folder has other contents; nothing is written.
        OSError: if the store cannot be written.
    """
    file = folder / "store.json"
    if file.exists():
        return
    if others := _others(folder):
        # Another process may have created the store meanwhile: it writes store.json before any feature.
        if file.exists():
            return
        raise StoreError(
            f"{folder}: no feature store, and it has other contents ({others[0]}): give a new or an empty folder"
        )
    for name in PARTS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    identity = {"format": FORMAT, "fingerprint": fingerprint, **({} if dtype is None else {"dtype": dtype})}
    create_whole(file, (json.dumps(identity) + "\n").encode())


def _others(folder: Path) -> list[str]:
    """Return the contents of a folder that an interrupted creation does not leave; a file contains itself."""
    if not folder.is_dir():
        return [folder.name] if folder.exists() else []
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name not in PARTS and not name.startswith(".store.json.")]
    for name in PARTS:
        part = folder / name
        others += [f"{name}/{path.name}" for path in part.iterdir()] if part.is_dir() else [name] * (name in names)
    return others
