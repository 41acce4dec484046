"""Video files through PyAV, and animations through Pillow: times of all frames, and the pixels of a few."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image, ImageSequence

from theworld.datasets.errors import ImageError, VideoError
from theworld.datasets.images import existing_file, is_animation, shown_path, to_image
from theworld.datasets.rgb import BROKEN

VIDEO_FORMATS: Final = "MP4, MOV, WebM, MKV or AVI"

_ALONE: Final = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "none"}
"""Options of FFmpeg: some formats are lists of addresses and paths, which FFmpeg would otherwise open."""
_SEEK_FROM_S: Final = 2.0
"""Earlier parts of a video are decoded without a jump."""

_STILL_BRANDS: Final = (b"avif", b"heic", b"heix", b"mif1", b"msf1")
"""Pictures in the container of MP4."""


@dataclass(frozen=True)
class VideoLimits:
    """Largest video that is read; each default is far above a usual one."""

    max_pixels: int = 36_000_000
    """Largest frame, pixels: 8K."""
    max_seconds: float = float("inf")
    """Longest video, seconds."""
    max_frames: int = 10_000_000
    """Most frames of a file."""
    max_decode_seconds: float = float("inf")
    """Longest time for decoding."""
    max_side_px: int = 1792
    """Longest side of a frame that is kept, twice the input size of Gemma 3: a larger one is scaled down."""


def is_film(head: bytes) -> bool:
    """Return whether the first 12 bytes of a file are those of MP4, MOV, WebM, MKV or AVI."""
    is_mp4 = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") and head[8:12] not in _STILL_BRANDS
    return is_mp4 or head[:4] == b"\x1a\x45\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


@contextmanager
def open_file(source: Any, limits: VideoLimits) -> Iterator["_Film | _Animation"]:
    """Open the path, the content or the opened picture of a video; see `open_video`."""
    if isinstance(source, Image.Image):
        yield _Animation(source, limits, "an animation")
        return
    if isinstance(source, str | Path):
        path = existing_file(Path(source), str(source))
        name, stream = shown_path(str(source)), path.open("rb")
    else:
        name, stream = f"{len(source):,} bytes", io.BytesIO(source)
    with stream:
        if is_film(stream.read(12)):
            stream.seek(0)
            with _reporting(name):
                yield _Film(stream, limits, name)
            return
        stream.seek(0)
        try:
            with Image.open(stream) as image:
                if not is_animation(image):
                    raise VideoError(f"{name}: one picture, and no video")
                yield _Animation(image, limits, name)
        except ImageError:
            raise
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise VideoError(f"{name}: not a readable video: expected {VIDEO_FORMATS}, GIF or animated WebP") from error


@contextmanager
def _reporting(name: str) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise VideoError(f"{name}: not a readable video ({error.strerror}): it may be cut short or damaged") from error


class _Film:
    """A video file. The times come from its packets, so that only frames that are asked for need decoding.

    Args:
        stream: the file, from its beginning.
        limits: largest video.
        name: of the file, for messages.
    """

    def __init__(self, stream: BinaryIO, limits: VideoLimits, name: str) -> None:
        self.stream, self.limits, self.name = stream, limits, name
        self._until = monotonic() + limits.max_decode_seconds
        self._may_jump = True
        self.times_s = self._scan()
        self.num_frames = len(self.times_s)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        import av

        self.stream.seek(0)
        with av.open(self.stream, "r", options=_ALONE, buffer_size=1 << 18) as container:
            if not container.streams.video:
                raise VideoError(f"{self.name}: a file without pictures: expected {VIDEO_FORMATS}")
            track = next((s for s in container.streams.video if not _is_cover(s)), container.streams.video[0])
            if track.codec_context is None:
                raise VideoError(f"{self.name}: a video of an unknown codec: convert it to H.264")
            self._check_size(track.codec_context.width, track.codec_context.height)
            yield container, track

    def _scan(self) -> np.ndarray:
        with self._opened() as (container, track):
            stamps: list[int] = []
            first = None
            base = float(track.time_base)
            for packet in container.demux(track):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    return self._decoded_times()
                stamps.append(packet.pts)
                first = packet.pts if first is None else min(first, packet.pts)
                self._check_length(len(stamps), (packet.pts - first) * base)
            if "mov" in container.format.name and len(stamps) < track.frames:
                raise VideoError(f"{self.name}: cut short: {len(stamps)} of {track.frames} frames are there")
        return self._times(stamps, base)

    def _decoded_times(self) -> np.ndarray:
        """Return the times of a file whose packets do not tell them all, as AVI's: every frame is decoded once."""
        self._may_jump = False
        with self._opened() as (container, track):
            stamps: list[int] = []
            base = float(track.time_base)
            for stamp, _ in _stamped(container, track):
                stamps.append(stamp)
                self._check_length(len(stamps), (stamps[-1] - stamps[0]) * base)
        return self._times(stamps, base)

    def _times(self, stamps: list[int], base: float) -> np.ndarray:
        self._stamps = np.unique(np.asarray(stamps, dtype=np.int64))
        if not len(self._stamps):
            raise VideoError(f"{self.name}: a video without a frame")
        return (self._stamps - self._stamps[0]) * base

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the frames of these numbers."""
        with _reporting(self.name):
            frames = self._frames([int(self._stamps[index]) for index in indices], jumps=self._jumps(indices[0]))
        return frames

    def _jumps(self, index: int) -> bool:
        return bool(self._may_jump and self.times_s[index] > _SEEK_FROM_S)

    def _frames(self, stamps: Sequence[int], jumps: bool) -> list[Image.Image]:
        pictures: list[Image.Image] = []
        shown, picture = None, None
        with self._opened() as (container, track):
            if jumps:
                container.seek(stamps[0], stream=track, backward=True)
            ratio = track.sample_aspect_ratio
            for stamp, frame in _stamped(container, track):
                while len(pictures) < len(stamps) and shown is not None and stamp > stamps[len(pictures)]:
                    picture = picture or self._picture(shown, ratio)
                    pictures.append(picture)
                if len(pictures) == len(stamps):
                    return pictures
                if jumps and shown is None and stamp > stamps[0]:
                    break  # the jump went too far
                self._check_size(frame.width, frame.height)
                self._check_clock()
                shown, picture = frame, None
            else:
                if shown is None:
                    raise VideoError(f"{self.name}: a video without a frame")
                return pictures + [picture or self._picture(shown, ratio)] * (len(stamps) - len(pictures))
        return self._frames(stamps, jumps=False)

    def _picture(self, frame: Any, ratio: Any) -> Image.Image:
        if frame.is_corrupt:
            raise VideoError(f"{self.name}: a damaged frame at {frame.time or 0:.2f} s")
        picture = frame.to_image()
        if ratio and ratio != 1:
            picture = picture.resize((max(2, round(picture.width * ratio)), picture.height), Image.Resampling.BICUBIC)
        if turn := round(frame.rotation or 0) % 360:
            picture = picture.rotate(turn, expand=True)
        return smaller(picture, self.limits.max_side_px)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels:
            raise VideoError(
                f"{self.name}: frames of {width} x {height} px: expected at most {self.limits.max_pixels:,} pixels"
            )

    def _check_length(self, num_frames: int, seconds: float) -> None:
        if seconds > self.limits.max_seconds:
            raise VideoError(f"{self.name}: a video of more than {self.limits.max_seconds:g} s: cut it")
        if num_frames > self.limits.max_frames:
            raise VideoError(f"{self.name}: a video of more than {self.limits.max_frames:,} frames: cut it")
        self._check_clock()

    def _check_clock(self) -> None:
        if monotonic() > self._until:
            raise VideoError(f"{self.name}: a video that takes too long to decode: give a smaller one")


def _stamped(container: Any, track: Any) -> Iterator[tuple[int, Any]]:
    """Yield the frames of a track with their times, in ticks; a frame without a time comes one tick after another."""
    stamp = -1
    for frame in container.decode(track):
        stamp = stamp + 1 if frame.pts is None else frame.pts
        yield stamp, frame


class _Animation:
    """A GIF, or a WebP or PNG of several frames.

    Args:
        image: opened, at any frame.
        limits: largest video.
        name: of the file, for messages.
    """

    def __init__(self, image: Image.Image, limits: VideoLimits, name: str) -> None:
        self.image, self.limits, self.name = image, limits, name
        until = monotonic() + limits.max_decode_seconds
        durations_ms: list[float] = []
        for frame in self._frames():
            # Browsers replace a duration of 0 in the same way.
            durations_ms.append(float(frame.info.get("duration", 0)) or 100.0)
            if monotonic() > until or len(durations_ms) > limits.max_frames:
                raise VideoError(f"{name}: an animation that is too long: give a smaller one")
            if sum(durations_ms[:-1]) > 1000 * limits.max_seconds:
                raise VideoError(f"{name}: a video of more than {limits.max_seconds:g} s: cut it")
        self.times_s = np.concatenate([[0.0], np.cumsum(durations_ms[:-1])]) / 1000
        self.num_frames = len(durations_ms)

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the frames of these numbers."""
        wanted = set(indices)
        kept = {
            number: smaller(to_image(frame.copy()), self.limits.max_side_px)
            for number, frame in zip(range(max(wanted) + 1), self._frames(), strict=False)
            if number in wanted
        }
        return [kept[index] for index in indices]

    def _frames(self) -> Iterator[Image.Image]:
        try:
            for frame in ImageSequence.Iterator(self.image):
                if frame.width * frame.height > self.limits.max_pixels:  # a later one may be larger than the first
                    raise VideoError(
                        f"{self.name}: frames of {frame.width} x {frame.height} px: expected at most"
                        f" {self.limits.max_pixels:,} pixels"
                    )
                yield frame
        except ImageError:
            raise
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise VideoError(f"{self.name}: not a readable animation: it may be cut short ({error})") from error


def _is_cover(track: Any) -> bool:
    """Return whether a track is the cover picture of a file."""
    from av.stream import Disposition

    return bool(track.disposition & Disposition.attached_pic)


def smaller(picture: Image.Image, max_side_px: int) -> Image.Image:
    """Scale a picture down to a longest side; a smaller one is returned itself."""
    if max(picture.size) > max_side_px:
        picture = picture.copy()
        picture.thumbnail((max_side_px, max_side_px), Image.Resampling.BICUBIC)
    return picture
