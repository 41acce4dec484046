"""Rows of VSR, BLINK and DataComp with fields of other types, and shards that lie, are counted and never learnt."""

import io
import json
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fixtures_public import write_blink, write_spatial_json, write_vsr
from tests.fixtures_shards import jpeg, record, write_table, write_tar
from theworld.datasets.errors import RecordError
from theworld.datasets.public.blink import BlinkDataset
from theworld.datasets.public.datacomp import DataCompDataset
from theworld.datasets.public.parquet_json import read_rows
from theworld.datasets.public.spatial_rgpt import SpatialRGPTBenchDataset
from theworld.datasets.public.vsr import VsrDataset

WRONG: tuple[Any, ...] = (None, 5, 0.5, ["x"], {"x": 1}, "", "half \ud83d")


def cause_of(samples: Any, index: int = 0) -> str:
    with pytest.raises(RecordError) as caught:
        samples[index]
    assert "\n" not in str(caught.value)
    return caught.value.cause


def vsr(folder: Path, **changes: Any) -> VsrDataset:
    """Two rows, of which the first is changed."""
    source, images = write_vsr(folder, [1, 0])
    path = source / "dev.jsonl"
    first, second = (json.loads(line) for line in path.read_text().strip().split("\n"))
    path.write_text(json.dumps({**first, **changes}) + "\n" + json.dumps(second) + "\n")
    return VsrDataset(str(source), image_dir=images)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field, value)
        for field in ("image", "image_link", "caption", "relation")
        for value in WRONG
        if field != "image_link" or value not in (None, "")  # a row without a link
    ],
)
def test_a_field_of_vsr_that_is_no_text_is_malformed(tmp_path: Path, field: str, value: Any) -> None:
    samples = vsr(tmp_path, **{field: value})

    assert cause_of(samples) == "malformed"
    assert samples[1].answer == "false"


@pytest.mark.parametrize("link", [None, ""])
def test_a_row_of_vsr_without_a_link_has_its_picture_in_the_folder(tmp_path: Path, link: str | None) -> None:
    samples = vsr(tmp_path, image_link=link)

    assert [samples[index].answer for index in range(2)] == ["true", "false"]


@pytest.mark.parametrize("value", [None, 2, 0.5, "1", [1], {"x": 1}])
def test_a_label_of_vsr_that_is_neither_0_nor_1_is_malformed(tmp_path: Path, value: Any) -> None:
    assert cause_of(vsr(tmp_path, label=value)) == "malformed"


def test_statements_of_vsr_that_repeat_have_distinct_ids(tmp_path: Path) -> None:
    source, images = write_vsr(tmp_path, [1])
    path = source / "dev.jsonl"
    path.write_text(path.read_text() * 2)
    samples = VsrDataset(str(source), image_dir=images)

    assert samples[1].id == f"{samples[0].id}#2"


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3_000, "a\0b.jpg"])
@pytest.mark.parametrize("field", ["image", "image_link"])
def test_a_name_that_is_no_path_ends_nothing(tmp_path: Path, name: str, field: str) -> None:
    from theworld.training.dataloading import read

    left_out = read(vsr(tmp_path, **{field: name, "image": name}), 0)

    assert getattr(left_out, "cause", None) == "missing picture"


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lines_of_json_end_at_line_feeds_alone(tmp_path: Path, end: str, mark: str, line_end: str) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"a{end}b"}, ensure_ascii=False), "", json.dumps({"text": "c"})]
    path.write_bytes((mark + line_end.join(lines)).encode())

    assert list(read_rows(str(path), ())) == [{"text": f"a{end}b"}, {"text": "c"}]


@pytest.mark.parametrize("bad", ['{"a": NaN}', '{"a": -Infinity}', "[" * 20_000, '{"a"', "5"])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_file_that_is_no_json_is_refused_in_one_line(tmp_path: Path, bad: str, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_text(bad)

    with pytest.raises(ValueError, match=r"rows\.json") as caught:
        read_rows(str(path), ())
    assert "\n" not in str(caught.value)


def blink(folder: Path, **changes: Any) -> BlinkDataset:
    table = pq.read_table(write_blink(folder / "parquet", {"Counting": ["(A)"]}) / "Counting").to_pylist()[0]
    table |= {"image_1": str(folder / "a.jpg"), **changes}
    (folder / "a.jpg").write_bytes(jpeg(0))
    (folder / "Counting").mkdir()
    (folder / "Counting/val.jsonl").write_text(json.dumps(table) + "\n")
    return BlinkDataset(str(folder), tasks=["Counting"])


def test_a_row_of_blink_in_json_is_read(tmp_path: Path) -> None:
    assert blink(tmp_path)[0].answer == "(A)"


@pytest.mark.parametrize("field", ["idx", "prompt", "answer", "choices"])
@pytest.mark.parametrize("value", WRONG)
def test_a_field_of_blink_of_another_type_is_malformed(tmp_path: Path, field: str, value: Any) -> None:
    if field == "choices" and value == ["x"]:
        value = [5]

    assert cause_of(blink(tmp_path, **{field: value})) == "malformed"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"image_1": None}, "missing picture"),
        ({"image_1": {"bytes": None, "path": None}}, "missing picture"),
        ({"image_2": {"bytes": None, "path": None}}, "missing picture"),
        ({"image_1": 5}, "malformed"),
        ({"image_2": ["a.jpg"]}, "malformed"),
        ({"choices": list("abcdef")}, "malformed"),
    ],
)
def test_an_item_of_blink_without_its_pictures_is_no_sample(tmp_path: Path, changes: Any, cause: str) -> None:
    assert cause_of(blink(tmp_path, **changes)) == cause


@pytest.mark.parametrize("field", ["id", "text_q", "qa_info", "conversations"])
@pytest.mark.parametrize("value", [None, 5, [], {"x": 1}, "half \ud83d"])
def test_a_field_of_spatial_bench_of_another_type_is_malformed(tmp_path: Path, field: str, value: Any) -> None:
    path, images = write_spatial_json(tmp_path)
    stored = json.loads(path.read_text())
    stored[0][field] = value
    path.write_text(json.dumps(stored))
    samples = SpatialRGPTBenchDataset(str(path), image_dir=images)

    assert cause_of(samples) == "malformed"
    assert samples[1].turns


def outcomes(folder: Path, **options: Any) -> tuple[int, dict[str, int]]:
    dataset = DataCompDataset(folder, **options)
    return len(list(islice(dataset, 20))), dict(dataset.left_out)


@pytest.mark.parametrize(
    "facts",
    [
        {"uid": ["x"]},
        {"uid": 5},
        {"url": {"x": 1}},
        {"status": 5},
        {"sha256": ["x"]},
        {"clip_l14_similarity_score": "0.5"},
        {"clip_l14_similarity_score": [0.5]},
        {"original_width": "32"},
        {"original_height": {"x": 1}},
        {"uid": "half \ud83d"},
    ],
)
def test_facts_of_another_type_are_malformed(tmp_path: Path, facts: dict[str, Any]) -> None:
    write_tar(tmp_path / "0.tar", {"0": record(0, **facts), "1": record(1)})

    options: dict[str, Any] = {"min_clip_score": 0.0, "min_side_px": 1, "verify_sha256": True}
    assert outcomes(tmp_path, **options) == (1, {"malformed": 1})


@pytest.mark.parametrize("caption", ["5", '["x"]', '{"x": 1}', "true", '"half \\ud83d"', "[" * 20_000 + "]" * 20_000])
def test_an_alt_text_of_another_type_is_malformed(tmp_path: Path, caption: str) -> None:
    parts = {"jpg": jpeg(0), "json": f'{{"caption": {caption}}}'.encode()}
    write_tar(tmp_path / "0.tar", {"0": parts, "1": record(1)})

    assert outcomes(tmp_path) == (1, {"malformed": 1})


def test_a_byte_order_mark_is_no_part_of_an_alt_text(tmp_path: Path) -> None:
    marked = {name: b"\xef\xbb\xbf" * (name != "jpg") + content for name, content in record(0).items()}
    write_tar(tmp_path / "0.tar", {"0": marked})

    assert next(iter(DataCompDataset(tmp_path))).answer == "a picture of 0 things"


@pytest.mark.parametrize("change", [{"txt": 5}, {"txt": ["x"]}, {"jpg": "/etc/hostname"}, {"jpg": 5}])
def test_columns_of_another_type_are_malformed(tmp_path: Path, change: dict[str, Any]) -> None:
    write_table(tmp_path / "0.parquet", [{"key": "0", "jpg": jpeg(0), "txt": "a cup", "status": "success", **change}])

    assert outcomes(tmp_path) == (0, {"malformed": 1})


@pytest.mark.parametrize("message", [5, ["x"], None])
def test_reasons_of_another_type_are_counted(tmp_path: Path, message: Any) -> None:
    write_tar(tmp_path / "0.tar", {"0": record(0)})
    write_table(tmp_path / "0.parquet", [{"status": "failed", "error_message": message}])

    assert outcomes(tmp_path) == (1, {"dead link": 1})


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that claims a size, in base 256 if octal digits do not hold it."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sparse(name: str, size: int) -> bytes:
    """The header of an old GNU sparse member, with one part at the end of a file of any size."""
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[386:398], block[398:410] = tarfile.itn(size, 12, tarfile.GNU_FORMAT), b"00000000000\0"
    block[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(name: str, **values: str) -> bytes:
    """A member with an extended header of any values."""
    member = tarfile.TarInfo(name)
    member.pax_headers = values
    return member.tobuf(tarfile.PAX_FORMAT)


LIES = {
    "negative": header("1.jpg", -512),
    "very negative": header("1.jpg", -(2**40)),
    "negative unknown": header("1.jpg", -1024, b"Q"),
    "negative folder": header("1", -1024, tarfile.DIRTYPE),
    "huge": header("1.jpg", 2**62),
    "huge unknown": header("1.jpg", 2**62, b"Q"),
    "huge long name": header("1.jpg", 2**62, tarfile.GNUTYPE_LONGNAME),
    "negative long name": header("1.jpg", -512, tarfile.GNUTYPE_LONGNAME),
    "huge extended": header("1.jpg", 2**62, tarfile.XHDTYPE),
    "negative extended": header("1.jpg", -512, tarfile.XHDTYPE),
    "sparse of 50 GB": sparse("1.jpg", 50 * 10**9),
    "sparse of 2^60": sparse("1.jpg", 2**60),
    "extended size": pax("1.jpg", size=str(2**62)),
    "extended negative size": pax("1.jpg", size="-512"),
    "extended sparse": pax("1.jpg", **{"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**60)}),
    "extended sparse words": pax("1.jpg", **{"GNU.sparse.map": "a,b", "GNU.sparse.size": "x"}),
    "names without end": header("1.jpg", 0, tarfile.GNUTYPE_LONGNAME) * 3_000,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_member_that_lies_about_its_size_ends_its_shard(tmp_path: Path, lie: str) -> None:
    good = io.BytesIO()
    with tarfile.open(fileobj=good, mode="w") as tar:
        for suffix, content in record(0).items():
            member = tarfile.TarInfo(f"0.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        end = tar.offset
    (tmp_path / "0.tar").write_bytes(good.getvalue()[:end] + LIES[lie] + good.getvalue()[:end] + b"\0" * 1_024)
    write_tar(tmp_path / "1.tar", {"2": record(2)})

    num_samples, causes = outcomes(tmp_path)

    assert 1 <= num_samples <= 3
    assert causes == {"malformed": 1}
