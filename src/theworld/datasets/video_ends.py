"""Ends of AVI, MKV, WebM and GIF files by their own structure: FFmpeg and Pillow read a cut one without a word.

An MP4 lists its frames (`film_index`). AVI, MKV and WebM give the length of the part that holds the frames instead. A
file that was written to a pipe has no such length, and counts as whole; so does a GIF that ends after a whole frame.
"""

import io
from typing import IO, Final

from theworld.datasets.video_limits import LimitCheck

_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
"""Elements of Matroska and WebM: all of the film, and some seconds of frames."""
_AFTER_FRAMES: Final = (b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67")
"""Numbers of the index and of the tags."""
_GIF_PICTURE: Final = b"\x2c"
_GIF_EXTENSION: Final = b"\x21"
_GIF_TRAILER: Final = b"\x3b"
_SLOPPY_BYTES: Final = 8
"""Some writers of AVI count a header of 8 bytes twice."""
_UNKNOWN_SIZES: Final = (0, 0xFFFF_FFFF)


def is_cut(stream: io.BufferedIOBase, num_bytes: int, check: LimitCheck) -> bool:
    """Return True for an AVI, MKV or WebM whose header promises frames after the end of the file.

    Args:
        stream: the file; its place moves.
        num_bytes: length of the file.
        check: its clock ends a long search.
    """
    stream.seek(0)
    head = stream.read(4)
    if head == b"RIFF":
        return _is_cut_avi(stream, num_bytes, check)
    return head == b"\x1a\x45\xdf\xa3" and _is_cut_matroska(stream, num_bytes, check)


def is_cut_gif(stream: IO[bytes], check: LimitCheck) -> bool:
    """Return True for a GIF that ends within a block; the place of the stream moves.

    A last block without its end, and a file without a trailer, are left to Pillow: some writers forget them.
    """
    num_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(6)
    head = stream.read(7)
    stream.seek(_palette_bytes(head[4:5]), io.SEEK_CUR)
    while (kind := stream.read(1)) not in (b"", _GIF_TRAILER):
        check.clock()
        if kind == _GIF_PICTURE:
            head = stream.read(9)
            stream.seek(_palette_bytes(head[8:9]) + 1, io.SEEK_CUR)
        elif kind == _GIF_EXTENSION:
            stream.seek(1, io.SEEK_CUR)
        else:
            continue  # Pillow reads over it, too
        while (size := stream.read(1)) not in (b"", b"\0"):
            check.clock()
            if size == _GIF_TRAILER and stream.tell() == num_bytes:
                return False
            stream.seek(size[0], io.SEEK_CUR)
    return stream.tell() > num_bytes


def _palette_bytes(flags: bytes) -> int:
    """Return the length of the palette that follows these flags."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _is_cut_avi(stream: io.BufferedIOBase, num_bytes: int, check: LimitCheck) -> bool:
    """Look for a list of frames (`movi`) beyond the end; a long AVI has several, each in a RIFF of its own."""
    place = 0
    while place + 12 <= num_bytes:
        check.clock()
        stream.seek(place)
        head = stream.read(12)
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if kind == b"RIFF":
            place += 12
            continue
        if kind == b"LIST" and head[8:] == b"movi":
            if size in _UNKNOWN_SIZES:
                return False
            if place + 8 + size > num_bytes + _SLOPPY_BYTES:
                return True
        place += 8 + size + size % 2
    return False


def _is_cut_matroska(stream: io.BufferedIOBase, num_bytes: int, check: LimitCheck) -> bool:
    """Look whether the film is longer than the file, and the file ends with frames rather than with their index."""
    kind, place, size = _element(stream, 0)
    while kind != _SEGMENT:
        check.clock()
        if size is None or place + size >= num_bytes:
            return False
        kind, place, size = _element(stream, place + size)
    if size is None or place + size <= num_bytes:
        return False
    while place < num_bytes:
        check.clock()
        kind, start, size = _element(stream, place)
        if size is None:
            return False
        place = start + size
    return kind == _CLUSTER


def _element(stream: io.BufferedIOBase, place: int) -> tuple[int, int, int | None]:
    """Return the number of the element at a place, where its content begins, and its size; None: not told."""
    stream.seek(place)
    head = stream.read(12)
    if len(head) < 12:  # the file ends within a head
        return 0 if head.startswith(_AFTER_FRAMES) else _CLUSTER, place + 12, 0
    id_bytes = 9 - head[0].bit_length()
    if id_bytes > 4 or head[id_bytes] == 0:
        return 0, place + 12, None
    size_bytes = 9 - head[id_bytes].bit_length()
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") - (1 << (7 * size_bytes))
    is_told = size != (1 << (7 * size_bytes)) - 1
    return int.from_bytes(head[:id_bytes], "big"), place + id_bytes + size_bytes, size if is_told else None
