"""FeatureStore: frozen world features on disk, computed once by any process and read many times by all."""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.world.store_commits import Commit, commit_file, num_commits, read_commits
from theworld.world.store_files import (
    Shard,
    ShardWriter,
    StoreDamagedError,
    StoreError,
    StoreWriteError,
    checksum,
    create_whole,
)
from theworld.world.store_formats import FLOATS, decode, encode
from theworld.world.store_identity import (
    FORMER_DTYPE,
    StoreFormatError,
    StoreMismatchError,
    create_identity,
    stored_dtype,
    stored_fingerprint,
)

__all__ = [
    "FeatureStore",
    "MissingFeatureError",
    "StoreDamagedError",
    "StoreError",
    "StoreFormatError",
    "StoreMismatchError",
    "StoreReport",
    "StoreWriteError",
    "clip_key",
    "stored_fingerprint",
]

logger = logging.getLogger(__name__)

_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class MissingFeatureError(StoreError):
    """The store does not have the requested features."""


def clip_key(frames: UInt8[Tensor, "F 3 H W"], num_world_steps: int) -> str:
    """Compute the key of a clip's feature within a store: 32 hexadecimal digits of its pixels, their shape, and K.

    Args:
        frames: decoded pixels in 0..255, as the tap gets them.
        num_world_steps: K, future latent slots of the feature.

    Raises:
        ValueError: if the frames are not uint8.
    """
    if frames.dtype != torch.uint8:
        raise ValueError(f"a clip of {frames.dtype}: the key is taken over decoded pixels, uint8")
    digest = hashlib.sha256(json.dumps([*frames.shape, num_world_steps]).encode())
    digest.update(frames.cpu().contiguous().numpy().reshape(-1).data)
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Layout:
    """Number format and shape of items."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int


@dataclass(frozen=True)
class StoreReport:
    """Result of a verification."""

    num_features: int
    """Features that the store serves."""
    num_bytes: int
    """Their size."""
    damaged: dict[Path, int]
    """Damaged shard files, and the number of their items that changed."""

    def raise_if_damaged(self) -> None:
        """Raise `StoreDamagedError`, with all files and the remedy, if the store is damaged."""
        if self.damaged:
            raise StoreDamagedError(self.damaged)


class FeatureStore:
    """Features of one tap by clip key, on disk, for many readers and writers at once.

    ```
    folder/store.json                  the tap's fingerprint
    folder/shards/5f0c….shard          one writer's own file, append-only:  | item | item | item | …
    folder/commits/00000000.json       one per `put`: shard and offset of its items, and their checksums
           commits/00000001.json
    ```

    The first write wins, and all processes agree on it: `put` first forces its items to disk, then takes the next free
    number for its commit, in one step that cannot replace a file. So commit n appears after all commits before it, and
    a reader always has the commits 0..m. If a key was written twice, the item in the lowest commit counts, and no later
    write can change that. If a writer is killed before its commit, its bytes stay unused.

    The first read of an item in a process compares it with its checksum.
    """

    def __init__(self, folder: Path, fingerprint: str, *, create: bool = False, dtype: str | None = None) -> None:
        """Open a store.

        Args:
            folder: of the store.
            fingerprint: `WorldTap.fingerprint` of the tap whose features it contains.
            create: create the store if there is none.
            dtype: number format of all its features, one of `store_formats.FORMATS`; None: of a new store, the one that
                each feature has; of an existing one, its own.

        Raises:
            StoreMismatchError: if the store belongs to another tap.
            StoreFormatError: if it has another number format.
            StoreDamagedError: if a file is damaged or too short.
            StoreError: if there is no store, one of a later format, a foreign file among its commits, or other contents
                in the folder of a new store.
            StoreWriteError: if a new store cannot be written.
        """
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.reads = 0
        """Features read so far."""
        self.bytes = 0
        """Size of all features."""
        self._index: dict[str, tuple[Shard, int, _Layout]] = {}
        self._unchecked: dict[str, str] = {}
        """Checksums of the items that this process has not read yet."""
        self._shards: dict[str, Shard] = {}
        self._layouts: dict[tuple[str, tuple[int, ...]], _Layout] = {}
        self._num_commits = 0
        self._commits = self.folder / "commits"
        self._writer = ShardWriter(self.folder / "shards")
        if create:
            self._create(dtype)
        self._check_identity()
        self.dtype = stored_dtype(self.folder)
        """Number format that features get when they are stored; None: they keep their own."""
        if dtype is not None and dtype != (self.dtype or FORMER_DTYPE):
            raise StoreFormatError(self.folder, self.dtype or FORMER_DTYPE, dtype)
        self._load(range(num_commits(self._commits)))
        self.refresh()

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Path, str]]:
        return FeatureStore, (self.folder, self.fingerprint)  # a spawned worker opens the store anew

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Return the positions of keys that were not in the store at its last look (see `refresh`)."""
        return [position for position, key in enumerate(keys) if key not in self._index]

    def refresh(self) -> None:
        """Load the commits that other writers have added.

        Raises:
            StoreDamagedError: if a file is damaged or too short.
        """
        end = self._num_commits
        while os.path.lexists(commit_file(self._commits, end)):  # a broken link keeps its number, too
            end += 1
        self._load(range(self._num_commits, end))

    def get(self, keys: Sequence[str]) -> Float[Tensor, "N C T h w"]:
        """Read features, in their stored number format; int8 becomes float32.

        Args:
            keys: at least one key, all of clips with equally shaped features.

        Raises:
            MissingFeatureError: if a key is not in the store.
            StoreDamagedError: if an item that this process has not read yet differs from its checksum.
            ValueError: for no keys, or features of several shapes.
        """
        if not keys:
            raise ValueError("get() of no keys: the shape of the features is unknown")
        try:
            items = [self._index[key] for key in keys]
        except KeyError as error:
            raise self._missing_error(keys) from error
        layout = items[0][2]
        for _, _, other in items:
            if other is not layout:
                raise ValueError(
                    f"features of {layout.shape} {layout.dtype} and of {other.shape} {other.dtype} in one read: read"
                    " clips of equal length and num_world_steps together"
                )
        # NumPy asks for huge pages, torch.empty does not: four times as fast for 32 MB.
        rows = np.empty((len(keys), layout.num_bytes), np.uint8)
        content, start = rows.reshape(-1).data, 0
        for shard, offset, _ in items:
            content[start : start + layout.num_bytes] = shard.content[offset : offset + layout.num_bytes]
            start += layout.num_bytes
        if self._unchecked:
            self._compare(keys, rows)
        self.reads += len(keys)
        return decode(rows, layout.dtype, layout.shape)

    def put(self, keys: Sequence[str], features: Float[Tensor, "N C T h w"]) -> None:
        """Store the features whose keys are new; stored features never change.

        Afterwards `get` returns the features given here, rounded to the store's number format, or those of another
        writer who was first, as for all readers.

        Args:
            keys: one per feature.
            features: in float32, bfloat16 or float16, on any device.

        Raises:
            StoreWriteError: if the disk is full or not writable; the store stays valid.
            ValueError: for another number of keys, features without numbers, or another number format.
        """
        if len(keys) != len(features):
            raise ValueError(f"{len(keys)} keys for {len(features)} features")
        dtype = str(features.dtype).removeprefix("torch.")
        if dtype not in FLOATS:
            raise ValueError(f"features of {features.dtype}: a store takes {', '.join(FLOATS)}")
        dtype = self.dtype or dtype
        if len(features) and not features[0].numel():
            raise ValueError(f"features of shape {tuple(features.shape[1:])}: expected at least one number each")
        self.refresh()
        new: dict[str, int] = {}
        for position in self.missing(keys):
            new.setdefault(keys[position], position)
        if not new:
            return
        chosen = features.detach()[list(new.values())].cpu().contiguous()
        rows = encode(chosen, dtype)
        try:
            shard, offset = self._writer.append(rows)
            self._commit(
                Commit(
                    shard=shard,
                    offset=offset,
                    dtype=dtype,
                    shape=tuple(chosen.shape[1:]),
                    item_bytes=rows.shape[1],
                    keys=tuple(new),
                    checksums=tuple(checksum(row.data) for row in rows),
                )
            )
        except OSError as error:
            raise self._write_error(error, f"{len(new)} features of {rows.nbytes} bytes") from error

    def verify(self) -> StoreReport:
        """Read all committed features and compare them with their checksums.

        Raises:
            StoreDamagedError: if a commit file is damaged.
        """
        self.refresh()
        damaged: dict[Path, int] = {}
        for commit in read_commits(self._commits, range(self._num_commits)):
            shard = self._shard(commit.shard)
            try:
                num_items = shard.damaged_items(commit.offset, commit.item_bytes, commit.checksums)
            except FileNotFoundError:
                continue  # its features are not stored
            if num_items:
                damaged[shard.file] = damaged.get(shard.file, 0) + num_items
        return StoreReport(num_features=len(self), num_bytes=self.bytes, damaged=damaged)

    def _create(self, dtype: str | None) -> None:
        try:
            create_identity(self.folder, self.fingerprint, dtype)
        except OSError as error:
            raise self._write_error(error, "a new store") from error

    def _check_identity(self) -> None:
        stored = stored_fingerprint(self.folder)
        if stored != self.fingerprint:
            raise StoreMismatchError(self.folder, stored, self.fingerprint)

    def _commit(self, commit: Commit) -> None:
        content = commit.encode()
        while not create_whole(commit_file(self._commits, self._num_commits), content):
            self.refresh()  # another writer took the number: its features come first
        self.refresh()

    def _shard(self, name: str) -> Shard:
        return self._shards.setdefault(name, Shard(self.folder / "shards" / name))

    def _compare(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Compare the items that this process has not read before with their checksums."""
        damaged: list[Path] = []
        for key, row in zip(keys, rows, strict=True):
            stated = self._unchecked.get(key)
            if stated is None:
                continue
            if checksum(row.data) == stated:
                del self._unchecked[key]
            else:
                damaged.append(self._index[key][0].file)
        if damaged:
            raise StoreDamagedError(damaged)

    def _load(self, numbers: range) -> None:
        """Map the shards of new commits, then add their items; on an error none of them."""
        commits = list(read_commits(self._commits, numbers))
        ends: dict[str, int] = {}
        for commit in commits:
            ends[commit.shard] = max(commit.end, ends.get(commit.shard, 0))
        damaged: list[Path] = []
        for name, end in ends.items():
            shard = self._shard(name)
            try:
                shard.map(end)
            except FileNotFoundError:
                logger.warning("%s is gone: its features count as not stored", shard.file)
            except StoreDamagedError as error:
                damaged += error.files
        if damaged:
            raise StoreDamagedError(damaged)
        for commit in commits:
            self._admit(commit)
        self._num_commits = max(self._num_commits, numbers.stop)

    def _admit(self, commit: Commit) -> None:
        shard = self._shard(commit.shard)
        if len(shard.content) < commit.end:
            return  # the file is gone
        layout = self._layouts.setdefault(
            (commit.dtype, commit.shape), _Layout(commit.dtype, commit.shape, commit.item_bytes)
        )
        for position, key in enumerate(commit.keys):
            if key not in self._index:
                self._index[key] = (shard, commit.offset + position * commit.item_bytes, layout)
                self._unchecked[key] = commit.checksums[position]
                self.bytes += commit.item_bytes

    def _missing_error(self, keys: Sequence[str]) -> MissingFeatureError:
        absent = self.missing(keys)
        return MissingFeatureError(
            f"{len(absent)} of {len(keys)} clips are not in the feature store {self.folder} (the first:"
            f" {keys[absent[0]]}): it was filled from other pictures, another picture size or another"
            " num_world_steps. Compute them first, or read through the tap"
        )

    def _write_error(self, error: OSError, content: str) -> StoreWriteError:
        remedy = "free disk space or make the folder writable, and run again"
        if error.errno in _NO_HARD_LINKS:
            remedy = "if its file system has no hard links, put the store on a local or POSIX network disk"
        return StoreWriteError(
            f"the feature store {self.folder} did not take {content}: {error.strerror}. All that was stored before is"
            f" untouched; {remedy}"
        )
