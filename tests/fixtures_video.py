"""Small videos whose frames show their numbers, and damage to their files."""

import io
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT, BITS = 96, 64, 6


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a picture that shows a number as six bars, the lowest bit on the left, and a red corner below the last."""
    grid = np.full((2, BITS, 3), 16, np.uint8)
    grid[:, [bit for bit in range(BITS) if number >> bit & 1]] = 235
    grid[1, -1] = 200, 30, 30
    return Image.fromarray(grid).resize((width, height), Image.Resampling.NEAREST)


def number_of(picture: Image.Image) -> int:
    """Read the number from an upright picture."""
    pixels = np.asarray(picture.convert("L"), np.int16)
    columns = [pixels[picture.height // 8, (2 * bit + 1) * picture.width // (2 * BITS)] for bit in range(BITS)]
    assert all(level < 70 or level > 180 for level in columns), columns
    return sum(1 << bit for bit, level in enumerate(columns) if level > 128)


def numbers_of(pictures: Iterable[Image.Image]) -> list[int]:
    return [number_of(picture) for picture in pictures]


def is_near(picture: Image.Image, expected: Image.Image, tolerance: float = 8.0) -> bool:
    """Return whether two pictures have one size, and nearly the same pixels but at edges."""
    if picture.size != expected.size:
        return False
    differences = np.abs(np.asarray(picture, np.int16) - np.asarray(expected.convert("RGB"), np.int16))
    return float(differences.mean()) < tolerance


def add_track(container: Any, codec: str = "libx264", **settings: Any) -> Any:
    """Add a track of video to a container of PyAV; the settings are attributes of its encoder."""
    rate = settings.pop("rate", 10)
    options = {"libx264": {"preset": "ultrafast", "crf": "12"}, "libx265": {"preset": "ultrafast", "crf": "12"}}
    defaults = options.get(codec, {})
    if codec == "libx265":
        defaults["x265-params"] = "log-level=none"
    if codec in ("libvpx", "libvpx-vp9"):
        defaults = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b:v": "2M"}
    track = container.add_stream(codec, rate=rate, options={**defaults, **settings.pop("options", {})})
    track.width, track.height = settings.pop("size", (WIDTH, HEIGHT))
    track.pix_fmt = settings.pop("pix_fmt", "yuv420p")
    for name, value in settings.items():
        setattr(track.codec_context, name, value)
    return track


def encode(container: Any, track: Any, frames: Sequence[Any], ticks: Sequence[int] | None = None) -> None:
    """Encode pictures or frames of PyAV.

    Args:
        container: for output.
        track: of it.
        frames: in time order.
        ticks: time of each, in 1/1000 s; None: one after another.
    """
    import av

    for index, frame in enumerate(frames):
        frame = av.VideoFrame.from_image(frame) if isinstance(frame, Image.Image) else frame
        if ticks is not None:
            frame.pts, frame.time_base = ticks[index], Fraction(1, 1000)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))


def film(num_frames: int | Sequence[Any] = 12, format: str = "mp4", codec: str = "libx264", **settings: Any) -> bytes:
    """Encode a video of numbered frames, or of given ones.

    Args:
        num_frames: their number, or the frames.
        format: container.
        codec: encoder.
        settings: `ticks` as `encode`; `container_options` of FFmpeg; others as `add_track`.
    """
    import av

    ticks = settings.pop("ticks", None)
    size = settings.get("size", (WIDTH, HEIGHT))
    frames = [numbered(number, *size) for number in range(num_frames)] if isinstance(num_frames, int) else num_frames
    file = io.BytesIO()
    with av.open(file, "w", format=format, container_options=settings.pop("container_options", {})) as container:
        track = add_track(container, codec, **settings)
        if ticks is not None:
            track.codec_context.time_base = Fraction(1, 1000)
        encode(container, track, frames, ticks)
    return file.getvalue()


def animation(num_frames: int = 12, format: str = "GIF", duration_ms: int | list[int] = 100, **options: Any) -> bytes:
    """Write a GIF, or an animated WebP or PNG, of numbered frames."""
    first, *rest = [numbered(number) for number in range(num_frames)]
    file = io.BytesIO()
    first.save(file, format, save_all=True, append_images=rest, duration=duration_ms, loop=0, **options)
    return file.getvalue()


def patched(content: bytes, name: bytes, offset: int, value: bytes, place: int = 0) -> bytes:
    """Overwrite bytes at an offset from the end of the name of a box, found after a place."""
    start = content.index(name, place) + len(name) + offset
    return content[:start] + value + content[start + len(value) :]


def turned(content: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Give the track of an MP4 a display matrix (a, b, c, d)."""
    a, b, c, d = (part << 16 for part in matrix)
    return patched(content, b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


def box(name: bytes, *parts: bytes) -> bytes:
    """Return a box of MP4."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and contents of the boxes in a box."""
    parts, place = [], 0
    while place < len(content):
        size, name = struct.unpack_from(">I4s", content, place)
        parts.append((name, content[place + 8 : place + size]))
        place += size
    return parts


def rebuilt(content: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """Change the boxes of an MP4 that hold no others."""
    nests = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
    return b"".join(
        box(name, rebuilt(part, change) if name in nests else change(name, part)) for name, part in boxes(content)
    )


def header_first(content: bytes) -> bytes:
    """Move the header of an MP4 before its data."""
    shift = next(8 + len(part) for name, part in boxes(content) if name == b"moov")

    def moved(name: bytes, part: bytes) -> bytes:
        if name != b"stco":
            return part
        places = np.frombuffer(part[8:], ">u4") + np.uint32(shift)
        return part[:8] + places.astype(">u4").tobytes()

    parts = dict(boxes(rebuilt(content, moved)))
    order = (b"ftyp", b"moov", *(name for name in parts if name not in (b"ftyp", b"moov")))
    return b"".join(box(name, parts[name]) for name in order)


def damaged(content: bytes, seed: int) -> bytes:
    """Damage a file at random: cut it, flip, zero, drop or repeat bytes."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(0, len(data)))
        length = int(rng.integers(1, 1 + min(200, len(data) - start)))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            del data[start:]
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start : start + length] = bytes(length)
        elif kind == 3:
            data[start : start + length] = data[start : start + length] * 2
        elif kind == 4:
            data[start : start + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
        else:
            for place in rng.integers(0, len(data), 8):
                data[int(place)] ^= 1 << int(rng.integers(0, 8))
        if len(data) < 2:
            break
    return bytes(data)


Builder = Callable[[], bytes]
