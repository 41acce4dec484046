"""FeatureStore: what it keeps, what it refuses, and that the first write wins."""

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theworld.world import store as store_module
from theworld.world import store_files
from theworld.world.store import (
    FeatureStore,
    MissingFeatureError,
    StoreError,
    StoreFormatError,
    StoreMismatchError,
    clip_key,
    stored_fingerprint,
)

SHAPE = (2, 1, 3, 3)
"""C, T, h, w of one feature."""


def features_of(*values: float, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.stack([torch.full(shape, value, dtype=dtype) for value in values])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", "abc", create=True)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_key_of_a_clip_is_a_function_of_pixels_shape_and_steps() -> None:
    clip = torch.arange(2 * 3 * 4 * 8, dtype=torch.uint8).view(2, 3, 4, 8)
    key = clip_key(clip, 0)
    assert len(key) == 32
    assert key == clip_key(clip.clone(), 0)
    assert key == clip_key(clip.transpose(2, 3).contiguous().transpose(2, 3), 0)  # other strides, equal pixels
    other = clip.clone()
    other[1, 2, 3, 7] += 1
    others = [clip_key(clip, 1), clip_key(other, 0), clip_key(clip.view(2, 3, 8, 4), 0), clip_key(clip.flip(0), 0)]
    assert len({key, *others}) == 5


def test_a_clip_that_is_not_uint8_has_no_key() -> None:
    with pytest.raises((ValueError, TypeError)):  # the shape checks of the tests may speak first
        clip_key(torch.zeros(1, 3, 4, 4), 0)  # pyright: ignore[reportArgumentType]


def test_an_empty_store_holds_nothing_and_says_so(store: FeatureStore) -> None:
    assert (len(store), store.bytes, store.reads) == (0, 0, 0)
    assert store.missing(["a", "b"]) == [0, 1]
    assert store.missing([]) == []
    assert store.verify() == store_module.StoreReport(0, 0, {})
    store.put([], torch.empty(0, *SHAPE))
    assert list((store.folder / "commits").iterdir()) == []
    with pytest.raises(ValueError, match="no keys"):
        store.get([])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_come_back_bit_for_bit_in_their_number_format(store: FeatureStore, dtype: torch.dtype) -> None:
    bits = torch.randint(-(2**15), 2**15, (5, 4, 2, 3, 3, dtype.itemsize // 2), dtype=torch.int16)  # NaNs included
    features = bits.view(dtype).squeeze(-1)
    store.put(list("abcde"), features)
    for reader in (store, FeatureStore(store.folder, "abc")):
        got = reader.get(["d", "a", "d"])
        assert got.dtype == dtype
        assert torch.equal(got.view(torch.int16), features[[3, 0, 3]].view(torch.int16))
        assert reader.reads == 3
        assert reader.bytes == features.numel() * dtype.itemsize


def test_features_that_are_views_or_need_gradients_are_stored_as_they_read(store: FeatureStore) -> None:
    features = torch.randn(3, 3, 1, 3, 2, requires_grad=True).transpose(1, 4)
    store.put(["a", "b", "c"], features)
    assert torch.equal(store.get(["a", "b", "c"]), features)
    assert not store.get(["a"]).requires_grad


def test_what_a_reader_changes_in_its_copy_changes_no_stored_feature(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    store.get(["a"]).zero_()
    assert torch.equal(store.get(["a"]), features_of(1))


def test_clips_of_one_and_of_five_frames_live_in_one_store(store: FeatureStore) -> None:
    one, five = torch.randn(2, 4, 1, 3, 3), torch.randn(2, 4, 2, 3, 3)
    store.put(["a", "b"], one)
    store.put(["c", "d"], five)
    reader = FeatureStore(store.folder, "abc")
    assert torch.equal(reader.get(["b", "a"]), one[[1, 0]])
    assert torch.equal(reader.get(["d", "c"]), five[[1, 0]])
    with pytest.raises(ValueError, match=r"\(4, 1, 3, 3\).*\(4, 2, 3, 3\)"):
        reader.get(["a", "c"])


def test_the_first_write_of_a_key_stays(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    before = files_of(store.folder)
    store.put(["a"], features_of(2))
    assert files_of(store.folder) == before  # nothing new, nothing written
    store.put(["b", "a", "b"], features_of(3, 4, 5))
    assert torch.equal(FeatureStore(store.folder, "abc").get(["a", "b"]), features_of(1, 3))
    assert len(store) == 2
    assert store.bytes == 2 * 18 * 4


def test_another_writers_features_are_seen_after_a_refresh(store: FeatureStore) -> None:
    other = FeatureStore(store.folder, "abc")
    store.put(["a"], features_of(1))
    assert "a" not in other
    other.refresh()
    assert "a" in other
    assert torch.equal(other.get(["a"]), features_of(1))


def test_what_another_writer_has_committed_is_not_written_again(store: FeatureStore) -> None:
    other = FeatureStore(store.folder, "abc")
    store.put(["a"], features_of(1))
    before = files_of(store.folder)
    other.put(["a"], features_of(2))
    assert files_of(store.folder) == before
    assert torch.equal(other.get(["a"]), features_of(1))


def test_of_two_writers_that_race_the_first_commit_counts_for_both(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FeatureStore(store.folder, "abc")
    append = store._writer.append

    def append_and_be_overtaken(content):
        place = append(content)
        other.put(["a", "x"], features_of(7, 8))
        other.put(["y"], features_of(9))
        return place

    monkeypatch.setattr(store._writer, "append", append_and_be_overtaken)
    store.put(["a", "b"], features_of(1, 2))  # written first, committed last
    other.refresh()
    for reader in (store, other, FeatureStore(store.folder, "abc")):
        assert torch.equal(reader.get(["a", "b", "x", "y"]), features_of(7, 2, 8, 9))
    assert store.bytes == other.bytes == 4 * 18 * 4


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.sampled_from("abcdef"), max_size=4)), max_size=8))
def test_whoever_writes_what_every_reader_sees_the_first(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("store") / "features"
    writers = [FeatureStore(folder, "abc", create=True) for _ in range(3)]
    expected: dict[str, float] = {}
    for number, (writer, keys) in enumerate(writes):
        values = [10.0 * number + position for position in range(len(keys))]
        writers[writer].put(keys, torch.tensor(values).view(-1, 1, 1, 1, 1))
        for key, value in zip(keys, values, strict=True):
            expected.setdefault(key, value)
        late = FeatureStore(folder, "abc")
        assert {key: late.get([key]).item() for key in "abcdef" if key in late} == expected
    for writer in writers:
        writer.refresh()
        assert {key: writer.get([key]).item() for key in "abcdef" if key in writer} == expected
        assert writer.verify().damaged == {}


def test_a_missing_key_is_refused_by_name_and_with_the_remedy(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    assert store.missing(["x", "a", "y"]) == [0, 2]
    with pytest.raises(MissingFeatureError, match=r"2 of 3 clips.*the first: x.*Compute them first"):
        store.get(["x", "a", "y"])
    assert store.reads == 0


def test_a_store_of_another_tap_is_refused_with_both_fingerprints(store: FeatureStore) -> None:
    for create in (False, True):
        with pytest.raises(StoreMismatchError, match=r"fingerprint abc.*has xyz.*another\s+store folder"):
            FeatureStore(store.folder, "xyz", create=create)
    assert FeatureStore(store.folder, "abc", create=True).fingerprint == "abc"


def test_a_folder_without_a_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature store there"):
        FeatureStore(tmp_path / "none", "abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "damaged"), ("[1]", "damaged"), ("{}", "damaged"), ('{"format": 2, "fingerprint": "abc"}', "format 2")],
)
def test_a_store_with_an_unreadable_identity_is_refused(store: FeatureStore, content: str, message: str) -> None:
    (store.folder / "store.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        FeatureStore(store.folder, "abc", create=True)


def test_a_number_of_keys_or_a_number_format_that_does_not_fit_is_refused(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="1 keys for 2 features"):
        store.put(["a"], features_of(1, 2))
    with pytest.raises(ValueError, match=r"torch\.float64.*float32, bfloat16, float16"):
        store.put(["a"], features_of(1, dtype=torch.float64))
    assert len(store) == 0


def test_a_writer_begins_a_new_shard_when_one_is_full(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_files, "SHARD_BYTES", 2 * 18 * 4)
    for number, key in enumerate("abcde"):
        store.put([key], features_of(number))
    sizes = sorted(file.stat().st_size for file in (store.folder / "shards").iterdir())
    assert sizes == [72, 144, 144]
    assert torch.equal(FeatureStore(store.folder, "abc").get(list("edcba")), features_of(4, 3, 2, 1, 0))


def test_reading_writes_nothing(store: FeatureStore) -> None:
    store.put(["a", "b"], features_of(1, 2))
    before = files_of(store.folder)
    reader = FeatureStore(store.folder, "abc", create=True)
    reader.refresh()
    reader.get(["a"])
    reader.verify()
    assert files_of(store.folder) == before


def test_a_store_sent_to_another_process_opens_the_folder_anew(store: FeatureStore) -> None:
    store.put(["a"], features_of(1))
    sent = pickle.dumps(store)
    assert len(sent) < 1000  # the path, not the features
    assert torch.equal(pickle.loads(sent).get(["a"]), features_of(1))


def test_the_fingerprint_of_a_store_is_read_without_opening_it(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "features", "abc", create=True)

    assert stored_fingerprint(tmp_path / "features") == "abc"
    with pytest.raises(StoreError, match="no feature store there"):
        stored_fingerprint(tmp_path / "elsewhere")
    (tmp_path / "features" / "store.json").write_text("{")
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        stored_fingerprint(tmp_path / "features")


@pytest.mark.parametrize(
    ("dtype", "size", "error"), [("float32", 4, 0), ("bfloat16", 2, 2**-8), ("int8", 1, 0.5 / 127)]
)
def test_a_store_keeps_features_in_its_own_number_format(tmp_path: Path, dtype: str, size: int, error: float) -> None:
    features = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1e3]).view(
        1, 2, 1, 1, 1
    )
    store = FeatureStore(tmp_path / "store", "abc", create=True, dtype=dtype)
    store.put(["a", "b", "c"], features)

    found = FeatureStore(store.folder, "abc").get(["c", "a", "b"]).float()[[1, 2, 0]]

    scales = 2 * SHAPE[0] if dtype == "int8" else 0  # 4 bytes a channel of an item
    assert store.bytes == 3 * (features[0].numel() * size + 2 * scales)
    largest = features.abs().amax((2, 3, 4), keepdim=True)
    assert ((found - features).abs() <= error * largest * (1 + 1e-5)).all()
    assert store.verify().damaged == {}


def test_rounding_twice_is_rounding_once(tmp_path: Path) -> None:
    features = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for dtype in ("bfloat16", "int8"):
        first = FeatureStore(tmp_path / dtype / "1", "abc", create=True, dtype=dtype)
        first.put(["a", "b"], features)
        second = FeatureStore(tmp_path / dtype / "2", "abc", create=True, dtype=dtype)
        second.put(["a", "b"], first.get(["a", "b"]))
        torch.testing.assert_close(second.get(["a", "b"]), first.get(["a", "b"]), rtol=1e-6, atol=0)


def test_a_channel_of_zeros_stays_zero(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store", "abc", create=True, dtype="int8")
    store.put(["a"], torch.zeros(1, *SHAPE))
    assert torch.equal(store.get(["a"]), torch.zeros(1, *SHAPE))


def test_another_number_format_than_the_stores_is_refused_with_the_stores(tmp_path: Path, store: FeatureStore) -> None:
    FeatureStore(tmp_path / "half", "abc", create=True, dtype="bfloat16")
    with pytest.raises(StoreFormatError, match="holds bfloat16, and this run wants int8: set store_dtype to bfloat16"):
        FeatureStore(tmp_path / "half", "abc", create=True, dtype="int8")
    with pytest.raises(StoreFormatError, match="holds float32, and this run wants bfloat16"):
        FeatureStore(store.folder, "abc", dtype="bfloat16")  # a store of a former version names no format
    assert FeatureStore(store.folder, "abc", dtype="float32").dtype is None


def test_a_store_json_with_an_unknown_number_format_is_no_store(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store", "abc", create=True, dtype="int8")
    (store.folder / "store.json").write_text('{"format": 1, "fingerprint": "abc", "dtype": "int4"}')
    with pytest.raises(StoreError, match="damaged, or no file of a feature store"):
        FeatureStore(store.folder, "abc")
