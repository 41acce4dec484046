"""DataComp's shards give each record once an epoch, in parts, and go on from any record."""

import io
import json
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from fixtures_shards import jpeg, record, write_shards, write_table, write_tar
from theworld.datasets import DataCompDataset
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Drawn, Sample


def key(number: int) -> str:
    return f"{number:09d}"


def numbers(samples: Any) -> list[int]:
    return [int(sample.id, 16) for sample in samples]


def samples_of(drawn: Any) -> list[Sample]:
    return [one.outcome for one in drawn if isinstance(one.outcome, Sample)]


def causes(dataset: DataCompDataset) -> dict[str, int]:
    return {**dataset.left_out}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four shards of three records."""
    write_shards(tmp_path / "datacomp", 4, 3)
    return tmp_path / "datacomp"


def test_an_alt_text_answers_a_short_question(source: Path) -> None:
    sample = next(one for one in DataCompDataset(source) if one.id == f"{5:032x}")

    assert sample.answer == "a picture of 5 things"
    assert sample.prompt[0].text == "Write a short caption for this picture."
    assert sample.images == (jpeg(5),)


def test_an_epoch_gives_every_record_once_and_the_next_one_in_another_order(source: Path) -> None:
    dataset = DataCompDataset(source, seed=3)
    first, again = numbers(dataset), numbers(dataset)
    dataset.set_epoch(1)
    second = numbers(dataset)

    assert sorted(first) == sorted(second) == list(range(12))
    assert first == again != second
    assert numbers(DataCompDataset(source, seed=4)) != first


def test_the_workers_of_a_loader_share_an_epoch(source: Path) -> None:
    loader = DataLoader(DataCompDataset(source), batch_size=None, num_workers=2)

    assert sorted(numbers(loader)) == list(range(12))


def test_parts_give_every_record_once_an_epoch(source: Path) -> None:
    dataset = DataCompDataset(source)

    for epochs in (1, 2):
        taken = [
            number for part in range(4) for number in numbers(samples_of(islice(dataset.read(0, part, 4), 3 * epochs)))
        ]
        assert Counter(taken) == dict.fromkeys(range(12), epochs)


def rows(first: int, size: int) -> list[dict[str, Any]]:
    """Records as rows of a Parquet file that holds the pictures."""
    return [
        {**json.loads(parts["json"]), "jpg": parts["jpg"], "txt": parts["txt"].decode()}
        for parts in (record(number) for number in range(first, first + size))
    ]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """The same four shards as Parquet files."""
    for shard in range(4):
        write_table(tmp_path / "tables" / f"{shard:08d}.parquet", rows(3 * shard, 3))
    return tmp_path / "tables"


def test_parquet_files_with_pictures_are_read_alike(source: Path, tables: Path) -> None:
    assert [(one.id, one.images, one.turns) for one in DataCompDataset(tables)] == [
        (one.id, one.images, one.turns) for one in DataCompDataset(source)
    ]


@pytest.mark.parametrize("kind", ["source", "tables"])
def test_a_stream_goes_on_after_any_record_without_reading_those_before(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = DataCompDataset(request.getfixturevalue(kind))
    unbroken: list[Drawn] = list(islice(dataset.read(0, 1, 2), 15))  # two and a half epochs of six
    opened: list[str] = []
    sample = DataCompDataset._sample

    def watched(self: DataCompDataset, *given: Any) -> Any:
        opened.append(given[1])
        return sample(self, *given)

    monkeypatch.setattr(DataCompDataset, "_sample", watched)
    for stop in range(1, 14):
        opened.clear()
        position = json.loads(json.dumps(unbroken[stop - 1].position))
        rest = list(islice(dataset.read(0, 1, 2, position), 15 - stop))
        assert [(one.record, one.position) for one in rest] == [(one.record, one.position) for one in unbroken[stop:]]
        assert opened == [one.record for one in unbroken[stop:]]


def test_what_gives_no_sample_is_counted_by_cause(tmp_path: Path) -> None:
    good = record(0)
    write_tar(
        tmp_path / "00000000.tar",
        {
            key(0): good,
            key(1): {**record(1), "txt": b"  "},
            key(2): {**record(2), "txt": b"word " * 200_000},
            key(3): {name: content for name, content in record(3).items() if name != "jpg"},
            key(4): record(4, status="failed_to_resize"),
            key(5): {**record(5), "json": b"{cut"},
            key(6): {**record(6), "txt": b"\xff\xfe"},
        },
    )
    dataset = DataCompDataset(tmp_path)

    assert numbers(dataset) == [0]
    assert causes(dataset) == {"empty answer": 1, "overlong": 1, "dead link": 2, "malformed": 2}


def test_records_that_never_arrived_are_counted_from_the_list_beside_a_shard_and_told_once(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000000.tar", {key(0): record(0), key(1): record(1)})
    table = [
        {"key": key(0), "status": "success", "error_message": None},
        {"key": key(1), "status": "success", "error_message": None},
        {"key": key(2), "status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"},
        {"key": key(3), "status": "failed_to_download", "error_message": "timed out"},
        {"key": key(4), "status": "failed_to_download", "error_message": "hash mismatch"},
    ]
    write_table(tmp_path / "00000000.parquet", table)
    dataset = DataCompDataset(tmp_path)

    drawn = list(islice(dataset.read(0, 0, 1), 4))
    after_first = list(islice(dataset.read(0, 0, 1, drawn[2].position), 1))

    assert [(one.outcome.cause, one.num_absent) for one in drawn if isinstance(one.outcome, RecordError)] == [
        ("dead link", 2),
        ("wrong checksum", 1),
    ]
    assert numbers(samples_of(drawn)) == [0, 1]
    assert numbers(samples_of(after_first)) == [1]
    assert len(list(dataset)) == 2
    assert causes(dataset) == {"dead link": 2, "wrong checksum": 1}


def test_rows_without_a_picture_are_dead_links(tmp_path: Path) -> None:
    dead = {**rows(1, 1)[0], "jpg": None, "txt": None, "status": "failed_to_download"}
    write_table(tmp_path / "00000000.parquet", [*rows(0, 1), dead, *rows(2, 1)])
    dataset = DataCompDataset(tmp_path)

    assert numbers(dataset) == [0, 2]
    assert causes(dataset) == {"dead link": 1}


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_shard_gives_what_stands_before_the_damage_and_the_others_go_on(damage: str, source: Path) -> None:
    path = source / "shards" / "00000001.tar"
    content = path.read_bytes()
    first = content.index(b"000000004.jpg")
    path.write_bytes(
        content[: first + 700] if damage == "cut" else content[:first] + b"#" * 1_024 + content[first + 1_024 :]
    )
    dataset = DataCompDataset(source)

    assert sorted(numbers(dataset)) == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert causes(dataset) == {"malformed": 1}


def test_records_are_chosen_by_clip_score_and_by_their_published_side(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "00000000.tar",
        {
            key(0): record(0, clip_l14_similarity_score=0.2),
            key(1): record(1, clip_l14_similarity_score=0.3),
            key(2): record(2, clip_l14_similarity_score=0.4, original_width=600, original_height=400),
            key(3): record(3, clip_l14_similarity_score=0.4, original_width=None, original_height=None),
        },
    )

    assert numbers(DataCompDataset(tmp_path, min_clip_score=0.3)) == [1, 2, 3]
    assert numbers(DataCompDataset(tmp_path, min_side_px=24)) == [0, 1, 2, 3]
    assert numbers(DataCompDataset(tmp_path, min_side_px=25)) == [2]
    assert numbers(DataCompDataset(tmp_path, min_clip_score=0.3, min_side_px=400)) == [2]


def test_a_choice_that_shards_do_not_tell_or_that_nothing_fits_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000000.tar", {key(0): record(0, clip_l14_similarity_score=None)})

    with pytest.raises(ValueError, match="has no clip_l14_similarity_score: leave min_clip_score out"):
        list(DataCompDataset(tmp_path, min_clip_score=0.3))
    with pytest.raises(ValueError, match="no sample in an epoch"):
        list(islice(DataCompDataset(tmp_path, min_side_px=1_000).read(0, 0, 1), 1))


def test_checksums_are_verified_where_the_published_bytes_are_kept(tmp_path: Path) -> None:
    changed = {**record(1), "jpg": jpeg(99)}
    smaller = {**record(2, original_width=64, original_height=48), "jpg": jpeg(98)}
    write_tar(tmp_path / "00000000.tar", {key(0): record(0), key(1): changed, key(2): smaller})
    dataset = DataCompDataset(tmp_path, verify_sha256=True)

    assert numbers(dataset) == [0, 2]
    assert causes(dataset) == {"wrong checksum": 1}
    assert numbers(DataCompDataset(tmp_path)) == [0, 1, 2]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "metadata.parquet", [{"uid": "0", "url": "https://pictures.example/0.jpg"}])

    with pytest.raises(ValueError, match="metadata alone have no pictures"):
        DataCompDataset(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        DataCompDataset(tmp_path / "none")


def test_more_parts_than_shards_are_refused(source: Path) -> None:
    with pytest.raises(ValueError, match="4 shards cannot be read in 5 parts"):
        next(DataCompDataset(source).read(0, 0, 5))


def keys_and_texts(source: Path) -> list[tuple[str, str]]:
    """The names and texts of all drawn records of one epoch, in order."""
    drawn = DataCompDataset(source)._epoch(0, 0, 0, 1, 0, 0)
    return [(one.record, one.outcome.answer if isinstance(one.outcome, Sample) else "") for one in drawn]


@pytest.mark.parametrize("start", ["", "./", "some/where/"])
def test_the_folder_in_a_tar_is_part_of_the_key(tmp_path: Path, start: str) -> None:
    names = {f"{start}cat.v1/0": record(0), f"{start}dog/0": record(1), f"{start}1": record(2)}
    write_tar(tmp_path / "shards/00000000.tar", names)

    assert keys_and_texts(tmp_path) == [
        (f"00000000.tar/{name.removeprefix('./')}", f"a picture of {number} things")
        for number, name in enumerate(names)
    ]


def test_the_members_that_macos_adds_belong_to_no_record(tmp_path: Path) -> None:
    path = tmp_path / "00000000.tar"
    with tarfile.open(path, "w") as tar:  # attributes stand before each file
        for number in range(2):
            for suffix, content in record(number).items():
                for name in (f"set/._{number}.{suffix}", f"set/{number}.{suffix}", f"__MACOSX/{number}.{suffix}"):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        tar.addfile(tarfile.TarInfo("set/.DS_Store"), io.BytesIO())

    drawn = DataCompDataset(tmp_path)
    assert [sample.answer for sample in drawn] == ["a picture of 0 things", "a picture of 1 things"]
    assert not drawn.left_out
