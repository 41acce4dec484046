"""Sample tables of MP4 and MOV files: the times of all frames, without reading the frames.

FFmpeg reads these tables, too, but it believes their counts: a file of 1 KB can make it take gigabytes of memory.
They are therefore checked before FFmpeg opens the file.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Int64

from theworld.datasets.errors import VideoError
from theworld.datasets.video_limits import LimitCheck

_MAX_HEADER_BYTES: Final = 512 << 20
_MAX_DEPTH: Final = 8
_WITHIN: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf")
"""Boxes that hold other boxes that are of interest."""


@dataclass(frozen=True)
class SampleTable:
    """The frames of a track as its header lists them."""

    num_samples: int
    """Number of frames, also of a track without times."""
    stamps: Int64[np.ndarray, " M"] | None
    """Presentation time of each frame in decoding order, ticks of the track before its edit list.

    None: the frames are listed elsewhere (fragments), the list contradicts itself, or an edit leaves frames out.
    """


def sample_tables(stream: io.BufferedIOBase, num_bytes: int, check: LimitCheck) -> dict[int, SampleTable]:
    """Read the sample tables of the picture tracks of an MP4 or MOV file by the numbers of the tracks.

    Args:
        stream: the file; its place moves.
        num_bytes: length of the file.
        check: largest video.

    Raises:
        VideoError: for tables that promise more frames than the file has bytes, or than allowed, and for compressed
            tables.
    """
    tables: dict[int, SampleTable] = {}
    num_promised, num_listed = 0, 0
    for kind, content in _headers(stream, num_bytes, check):
        if any(name == b"cmov" for name, _ in _boxes(content)):
            raise VideoError(f"{check.name}: a compressed header: convert it to a usual MP4")
        num_waves = sum(_num_waves(part) for name, part in _boxes(content) if name == b"trak")
        num_samples = sum(_num_samples(name, part) for name, part in _leaves(content))
        num_promised += num_samples
        num_listed += num_samples - num_waves
        check.length(num_listed, 0.0)
        if num_promised > num_bytes:
            raise VideoError(f"{check.name}: damaged: {num_promised:,} frames in {num_bytes:,} bytes")
        if kind == b"moov":
            tracks = [part for name, part in _boxes(content) if name == b"trak"]
            tables |= (_read_track(track, content) for track in tracks if b"vide" in _handlers(track))
    return tables


def _handlers(track: memoryview) -> set[bytes]:
    """Return what a track holds: `vide`, `soun` or another; MOV names how it is stored in a box of the same name."""
    heads = (part for name, part in _leaves(track) if name == b"hdlr")
    return {bytes(part[8:12]) for part in heads if part[4:8] != b"dhlr"}


def _num_waves(track: memoryview) -> int:
    """Return the number of samples of a sound without compression; 0 for another track.

    Each value of the wave counts as one, and FFmpeg does not list them one by one.
    """
    if _handlers(track) != {b"soun"}:
        return 0
    leaves = list(_leaves(track))
    steps = [part for name, part in leaves if name == b"stts"]
    is_wave = len(steps) == 1 and _word(steps[0], 4) == 1 and _word(steps[0], 12) == 1
    return sum(_num_samples(name, part) for name, part in leaves) if is_wave else 0


def _headers(stream: io.BufferedIOBase, num_bytes: int, check: LimitCheck) -> Iterator[tuple[bytes, bytes]]:
    """Yield the content of the boxes that list frames: moov, and moof of fragments."""
    place = 0
    while place + 8 <= num_bytes:
        check.clock()
        stream.seek(place)
        head = stream.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1 and len(head) == 16:
            (size,), start = struct.unpack_from(">Q", head, 8), 16
        size = num_bytes - place if size == 0 else size
        if size < start:
            return  # damaged: FFmpeg says so
        if kind in (b"moov", b"moof"):
            stream.seek(place + start)
            yield kind, stream.read(min(size - start, _MAX_HEADER_BYTES))
        place += size


def _boxes(content: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield names and contents of the boxes in a box, as far as they can be read."""
    view, place = memoryview(content), 0
    while place + 8 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, place)
        start = 8
        if size == 1 and place + 16 <= len(view):
            (size,), start = struct.unpack_from(">Q", view, place + 8), 16
        size = len(view) - place if size == 0 else size
        if size < start:
            return
        yield kind, view[place + start : place + size]
        place += size


def _leaves(content: bytes | memoryview, depth: int = 0) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the boxes of a box, and those of the boxes in it."""
    for kind, part in _boxes(content):
        if kind in _WITHIN and depth < _MAX_DEPTH:
            yield from _leaves(part, depth + 1)
        else:
            yield kind, part


def _word(content: memoryview, place: int) -> int:
    """Return four bytes as a number; 0 where the box is cut."""
    return struct.unpack_from(">I", content, place)[0] if place + 4 <= len(content) else 0


def _num_samples(name: bytes, content: memoryview) -> int:
    """Return the number of frames or sounds that a box promises; 0 for another one."""
    places = {b"stsz": 8, b"stz2": 8, b"trun": 4}
    return _word(content, places[name]) if name in places else 0


def _read_track(track: memoryview, header: bytes) -> tuple[int, SampleTable]:
    """Return the number of a track, and its table."""
    parts = dict(_leaves(track))
    head = parts.get(b"tkhd", memoryview(b""))
    number = _word(head, 20 if head[:1] == b"\x01" else 12)
    num_samples = max(_num_samples(name, parts.get(name, memoryview(b""))) for name in (b"stsz", b"stz2"))
    is_whole = all(name != b"mvex" for name, _ in _boxes(header))
    stamps = _stamps(parts, num_samples) if is_whole and num_samples else None
    if stamps is not None and not _shows_all(parts, header, stamps):
        stamps = None
    return number, SampleTable(num_samples, stamps)


def _stamps(parts: dict[bytes, memoryview], num_samples: int) -> Int64[np.ndarray, " M"] | None:
    """Return the presentation times, or None for a table that contradicts itself."""
    if b"stts" not in parts:
        return None
    counts, steps = _runs(parts[b"stts"])
    if int(counts.sum()) != num_samples or (steps >= 1 << 31).any():
        return None
    stamps = np.concatenate([[0], np.cumsum(np.repeat(steps, counts))[:-1]])
    if b"ctts" in parts:
        counts, delays = _runs(parts[b"ctts"])
        if int(counts.sum()) != num_samples:
            return None
        stamps = stamps + np.repeat(delays.astype(np.uint32).view(np.int32).astype(np.int64), counts)
    return stamps


def _runs(content: memoryview) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Return lengths and values of the runs in a table."""
    length = min(8 * _word(content, 4), (len(content) - 8) // 8 * 8)
    pairs = np.frombuffer(content[8 : 8 + max(length, 0)], ">u4").reshape(-1, 2).astype(np.int64)
    return pairs[:, 0], pairs[:, 1]


def _shows_all(parts: dict[bytes, memoryview], header: bytes, stamps: Int64[np.ndarray, " M"]) -> bool:
    """Return whether the edit list of a track, if it has any, shows each frame once, at its usual speed."""
    if b"elst" not in parts:
        return True
    content = parts[b"elst"]
    form = ">QqI" if content[:1] == b"\x01" else ">IiI"
    step, count = struct.calcsize(form), _word(content, 4)
    if count > 2 or len(content) < 8 + count * step:
        return False
    edits = [struct.unpack_from(form, content, 8 + index * step) for index in range(count)]
    shown = [edit for edit in edits if edit[1] != -1]  # an edit of -1 is a pause
    if len(shown) != 1 or edits[-1] != shown[0] or shown[0][2] != 1 << 16:
        return False
    movie, media = dict(_boxes(header)).get(b"mvhd", memoryview(b"")), parts.get(b"mdhd", memoryview(b""))
    ticks, movie_ticks = (_word(part, 20 if part[:1] == b"\x01" else 12) for part in (media, movie))
    duration, first, _ = shown[0]
    if movie_ticks == 0:
        return False
    return first <= int(stamps.min()) and int(stamps.max()) < first + duration * ticks / movie_ticks
