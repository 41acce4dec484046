"""FeatureStore under many processes, kills, damage, full and read-only disks."""

import errno
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch

from theworld.world import store_files
from theworld.world.store import FeatureStore, StoreDamagedError, StoreWriteError

FORK = multiprocessing.get_context("fork")
ITEM_BYTES = 2 * 1 * 3 * 3 * 4


def features_of(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((2, 1, 3, 3), float(value)) for value in values])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", "abc", create=True)


def in_child(function: Callable[[], None]) -> int:
    """Run in a forked process; its exit code."""
    process = FORK.Process(target=function)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def shard_files(store: FeatureStore) -> list[Path]:
    return sorted((store.folder / "shards").iterdir())


def fill_in_own_order(folder: Path, writer: int, barrier: Barrier) -> None:
    store = FeatureStore(folder, "abc", create=True)  # both create: one wins, the other opens
    keys = [str(number) for number in torch.randperm(40, generator=torch.Generator().manual_seed(writer)).tolist()]
    barrier.wait()
    for start in range(0, 40, 4):
        store.put(keys[start : start + 4], features_of(*[writer] * 4))
    first = store.get(keys)
    store.refresh()
    assert torch.equal(store.get(keys), first)
    # Each of the two writes all keys, in another order, with its own number as the value.
    assert torch.equal(FeatureStore(folder, "abc").get(keys), first)


def test_two_processes_write_the_same_keys_and_no_reader_ever_sees_a_key_change(tmp_path: Path) -> None:
    folder = tmp_path / "features"
    barrier = FORK.Barrier(3)
    writers = [FORK.Process(target=fill_in_own_order, args=(folder, writer, barrier)) for writer in (1, 2)]
    for process in writers:
        process.start()
    barrier.wait()
    early = FeatureStore(folder, "abc", create=True)
    seen: dict[str, float] = {}
    while len(early) < 40 and any(process.is_alive() for process in writers):
        early.refresh()
        for reader in (early, FeatureStore(folder, "abc")):
            for key in map(str, range(40)):
                if key in reader:
                    value = reader.get([key])[0, 0, 0, 0, 0].item()
                    assert seen.setdefault(key, value) == value
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    final = FeatureStore(folder, "abc")
    assert len(final) == 40
    assert {key: final.get([key])[0, 0, 0, 0, 0].item() for key in seen} == seen
    assert final.verify().damaged == {}


def test_a_forked_child_does_not_write_into_its_parents_shard(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    assert in_child(lambda: store.put(["b"], features_of(2))) == 0
    store.put(["c"], features_of(3))
    assert len(shard_files(store)) == 2
    assert torch.equal(FeatureStore(store.folder, "abc").get(["a", "b", "c"]), features_of(1, 2, 3))


KILLS = {
    "before the data is forced to disk": ("fsync", 1),
    "before the folder is forced to disk": ("fsync", 2),
    "before the commit is forced to disk": ("fsync", 3),
    "before the commit has its number": ("link", 1),
    "after the commit has its number": ("fsync", 4),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_writer_killed_in_mid_write_costs_at_most_its_own_items(store: FeatureStore, moment: str) -> None:
    name, count = KILLS[moment]
    store.put(["a"], features_of(1))

    def killed() -> None:
        calls = iter(range(1, 100))
        real = getattr(os, name)

        def dying(*arguments):
            if next(calls) == count:
                os._exit(9)
            return real(*arguments)

        setattr(os, name, dying)
        store.put(["a", "b", "c"], features_of(7, 2, 3))

    assert in_child(killed) == 9
    again = FeatureStore(store.folder, "abc", create=True)
    assert again.missing(["a", "b", "c"]) == ([] if moment.startswith("after") else [1, 2])
    again.put(["b", "c"], features_of(2, 3))
    for reader in (again, FeatureStore(store.folder, "abc")):
        assert torch.equal(reader.get(["a", "b", "c"]), features_of(1, 2, 3))
        assert reader.verify().damaged == {}


def test_a_writer_killed_within_a_write_leaves_a_tail_that_nobody_reads(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(["a"], features_of(1))

    def torn(stream, content) -> None:
        stream.write(content.reshape(-1).data[:100])
        os._exit(9)

    monkeypatch.setattr(store_files, "_write_all", torn)
    assert in_child(lambda: store.put(["b", "c"], features_of(2, 3))) == 9
    monkeypatch.undo()
    assert sorted(file.stat().st_size for file in shard_files(store)) == [ITEM_BYTES, 100]
    again = FeatureStore(store.folder, "abc")
    assert again.missing(["a", "b", "c"]) == [1, 2]
    again.put(["b", "c"], features_of(2, 3))
    assert torch.equal(again.get(["a", "b", "c"]), features_of(1, 2, 3))


@pytest.mark.parametrize("length", [0, 1, ITEM_BYTES - 1, ITEM_BYTES, 2 * ITEM_BYTES + 5, 3 * ITEM_BYTES - 1])
def test_a_shard_cut_short_is_refused_by_name_and_deleting_it_is_the_remedy(store: FeatureStore, length: int) -> None:
    store.put(["a", "b"], features_of(1, 2))
    store.put(["c"], features_of(3))
    other = FeatureStore(store.folder, "abc")
    other.put(["d"], features_of(4))
    (damaged,) = [file for file in shard_files(store) if file.stat().st_size == 3 * ITEM_BYTES]
    os.truncate(damaged, length)
    with pytest.raises(StoreDamagedError, match=rf"{damaged}\..*delete these files.*run again"):
        FeatureStore(store.folder, "abc")
    damaged.unlink()
    again = FeatureStore(store.folder, "abc")
    assert again.missing(["a", "b", "c", "d"]) == [0, 1, 2]
    again.put(["a", "b", "c"], features_of(5, 6, 7))
    for reader in (again, FeatureStore(store.folder, "abc")):
        assert torch.equal(reader.get(["a", "b", "c", "d"]), features_of(5, 6, 7, 4))
        assert reader.verify().damaged == {}


def test_all_damaged_files_are_named_at_once(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    FeatureStore(store.folder, "abc").put(["b"], features_of(2))
    for file in shard_files(store):
        os.truncate(file, 3)
    with pytest.raises(StoreDamagedError) as caught:
        FeatureStore(store.folder, "abc")
    assert list(caught.value.files) == shard_files(store)


def test_a_changed_bit_of_a_feature_is_found_by_verification(store: FeatureStore) -> None:
    store.put(["a", "b", "c"], features_of(1, 2, 3))
    report = store.verify()
    assert (report.num_features, report.num_bytes, report.damaged) == (3, 3 * ITEM_BYTES, {})
    report.raise_if_damaged()
    (shard,) = shard_files(store)
    content = bytearray(shard.read_bytes())
    content[ITEM_BYTES + 7] ^= 1
    shard.write_bytes(content)
    report = FeatureStore(store.folder, "abc").verify()
    assert report.damaged == {shard: 1}
    with pytest.raises(StoreDamagedError, match=str(shard)):
        report.raise_if_damaged()


def test_verification_of_a_shard_cut_short_under_a_reader_reports_it(store: FeatureStore) -> None:
    store.put(["a", "b", "c"], features_of(1, 2, 3))
    (shard,) = shard_files(store)
    os.truncate(shard, ITEM_BYTES + 1)
    assert store.verify().damaged == {shard: 2}


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_commit_is_refused_by_name_and_deleting_it_is_the_remedy(
    store: FeatureStore, content: bytes | None
) -> None:
    for number, key in enumerate("abc"):
        store.put([key], features_of(number))
    file = store.folder / "commits" / "00000001.json"
    file.write_bytes(file.read_bytes().replace(b'"offset":', b'"offset":1') if content is None else content)
    with pytest.raises(StoreDamagedError, match=str(file)):
        FeatureStore(store.folder, "abc")
    file.unlink()
    again = FeatureStore(store.folder, "abc")
    assert again.missing(["a", "b", "c"]) == [1]
    again.put(["b"], features_of(8))
    assert not file.exists()  # a late write takes no early number
    assert torch.equal(FeatureStore(store.folder, "abc").get(["a", "b", "c"]), features_of(0, 8, 2))


def test_a_writer_whose_shard_was_deleted_does_not_bring_its_name_back(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    (shard,) = shard_files(store)
    shard.unlink()
    store.put(["b"], features_of(2))
    again = FeatureStore(store.folder, "abc")
    assert again.missing(["a", "b"]) == [0]
    assert torch.equal(again.get(["b"]), features_of(2))


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_a_full_disk_is_one_clear_error_and_the_store_stays_valid(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    calls = iter(range(1, 100))
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == failing_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreWriteError, match=r"did not take 2 features of 144 bytes: No space left.*free disk space"):
        store.put(["a", "b"], features_of(1, 2))
    assert len(FeatureStore(store.folder, "abc")) == 0
    assert [file for file in store.folder.rglob(".*") if file.is_file()] == []
    store.put(["a", "b"], features_of(1, 2))
    assert torch.equal(FeatureStore(store.folder, "abc").get(["a", "b"]), features_of(1, 2))


def test_a_write_that_the_disk_takes_in_part_gives_its_space_back(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ITEM_BYTES + 100, limits[1]))  # as a disk that fills up in mid-write
    try:
        with pytest.raises(StoreWriteError, match="File too large"):
            store.put(["b", "c"], features_of(2, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.stat().st_size for file in shard_files(store)] == [ITEM_BYTES]
    store.put(["b", "c"], features_of(2, 3))
    assert torch.equal(FeatureStore(store.folder, "abc").get(["a", "b", "c"]), features_of(1, 2, 3))


def test_a_disk_without_hard_links_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(StoreWriteError, match=r"did not take a new store.*no hard links"):
        FeatureStore(tmp_path / "features", "abc", create=True)


def test_a_read_only_store_serves_and_refuses_new_features() -> None:
    def as_nobody() -> None:
        if os.getuid() == 0:
            os.setuid(65534)  # permissions do not bind the superuser
        reader = FeatureStore(store.folder, "abc", create=True)
        assert torch.equal(reader.get(["a"]), features_of(1))
        assert reader.verify().damaged == {}
        with pytest.raises(StoreWriteError, match=r"Permission denied.*make the folder writable"):
            reader.put(["b"], features_of(2))
        assert torch.equal(reader.get(["a"]), features_of(1))

    with tempfile.TemporaryDirectory() as parent:  # pytest's own temporary folders are closed to other users
        Path(parent).chmod(0o755)
        store = FeatureStore(Path(parent) / "features", "abc", create=True)
        store.put(["a"], features_of(1))
        folders = [store.folder, store.folder / "shards", store.folder / "commits"]
        for folder in folders:
            folder.chmod(0o555)
        try:
            assert in_child(as_nobody) == 0
        finally:
            for folder in folders:
                folder.chmod(0o755)
