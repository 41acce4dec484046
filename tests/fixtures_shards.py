"""Shards in the format of img2dataset, small."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def jpeg(seed: int, width: int = 32, height: int = 24) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def record(number: int, **facts: Any) -> dict[str, bytes]:
    """What a shard holds of a record that arrived; a fact that is None is left out."""
    picture = jpeg(number)
    known: dict[str, Any] = {
        "uid": f"{number:032x}",
        "url": f"https://pictures.example/{number}.jpg",
        "key": f"{number:09d}",
        "status": "success",
        "width": 32,
        "height": 24,
        "original_width": 32,
        "original_height": 24,
        "clip_l14_similarity_score": 0.1 + 0.01 * number,
        "sha256": hashlib.sha256(picture).hexdigest(),
        **facts,
    }
    kept = {name: value for name, value in known.items() if value is not None}
    return {"jpg": picture, "json": json.dumps(kept).encode(), "txt": f"a picture of {number} things".encode()}


def write_tar(path: Path, records: Mapping[str, Mapping[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, parts in records.items():
            for suffix, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_shards(source: Path, num_shards: int, num_records: int) -> None:
    """Shards of good records, numbered on from one to the next."""
    for shard in range(num_shards):
        numbers = range(shard * num_records, (shard + 1) * num_records)
        write_tar(source / "shards" / f"{shard:08d}.tar", {f"{number:09d}": record(number) for number in numbers})


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, row_group_size=2)
