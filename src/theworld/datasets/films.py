"""Video files through PyAV: the times of all frames without decoding, and the pixels of a few."""

import io
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int64
from PIL import Image

from theworld.datasets.errors import VideoError
from theworld.datasets.film_colours import to_picture
from theworld.datasets.film_index import sample_tables
from theworld.datasets.video_ends import is_cut
from theworld.datasets.video_limits import LimitCheck, VideoLimits, VideoSizeError, VideoTimeError, one_line

VIDEO_FORMATS: Final = "MP4, MOV, WebM, MKV or AVI"

_ALONE: Final = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "none"}
"""Options of FFmpeg: some formats are lists of addresses and paths, which FFmpeg would otherwise open."""
_BUFFER_BYTES: Final = 1 << 18
_CUT: Final = "it may be cut short or damaged"
_ATTEMPTS: Final = ((0.0, True), (0.0, False), (5.0, False))
"""Seconds before the first wanted frame to jump to, and whether frames that no other refers to are left out."""
_MAX_LATE_FRAMES: Final = 32
"""Frames after the last wanted one that are decoded in search of a missing one: more than any decoder reorders."""
_MARGIN_PIXELS: Final = 1 << 20
_MAX_STAMP: Final = 1 << 60
_NO_STAMP: Final = -(1 << 63)
_USUAL_RATE_HZ: Final = 25

_TRANSPARENT: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read transparency."""

_STILL_BRANDS: Final = (b"avif", b"heic", b"heix", b"mif1", b"msf1")
"""Pictures in the container of MP4."""
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def is_film(head: bytes) -> bool:
    """Return whether the first 12 bytes of a file are those of MP4, MOV, WebM, MKV or AVI."""
    is_mp4 = head[4:8] in _FIRST_BOXES and head[8:12] not in _STILL_BRANDS
    return is_mp4 or head[:4] == b"\x1a\x45\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


@contextmanager
def open_film(stream: io.BufferedIOBase, limits: VideoLimits, name: str) -> Iterator["Film"]:
    """Open a video file.

    Args:
        stream: the file; it stays open.
        limits: largest video.
        name: of the file, for messages.

    Raises:
        VideoError: for a file that cannot be read, or one beyond the limits.
    """
    film = Film(stream, limits, name)
    with closing(film):
        with one_line(name, _CUT):
            film.read_times()
        yield film


class Film:
    """An opened video file.

    The times come from the header or from the packets, so that only frames that are asked for need decoding. It
    decodes on one thread: loaders have a process for each core.

    Args:
        stream: the file.
        limits: largest video.
        name: of the file, for messages.
    """

    def __init__(self, stream: io.BufferedIOBase, limits: VideoLimits, name: str) -> None:
        from av.video.reformatter import VideoReformatter

        self.stream, self.limits, self.name = stream, limits, name
        self._check = LimitCheck(limits, name)
        self._reformatter = VideoReformatter()
        self._container: Any = None
        self._is_scanned = False
        self.times_s = np.zeros(0)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.times_s)

    def read_times(self) -> None:
        """Open the file, and read the times of its frames into `times_s`, seconds from the first."""
        self._num_bytes = self.stream.seek(0, io.SEEK_END)
        if is_cut(self.stream, self._num_bytes, self._check):
            raise VideoError(f"{self.name}: cut short: its header promises frames after its end")
        tables = sample_tables(self.stream, self._num_bytes, self._check) if _is_mp4(self.stream) else {}
        self._open()
        self.times_s = self._listed_times(tables.get(self._track.id)) if tables else self._scanned_times()

    def close(self) -> None:
        """Close the container; the stream stays open."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> None:
        """Open the container at its beginning."""
        import av

        self.close()
        self.stream.seek(0)
        # FFmpeg counts the rounded sides of its buffers; the frames are checked exactly when they come.
        size = {"max_pixels": str(2 * self.limits.max_pixels + _MARGIN_PIXELS)}
        self._container = av.open(
            self.stream, "r", options={**_ALONE, **size}, buffer_size=_BUFFER_BYTES, metadata_errors="ignore"
        )
        tracks = self._container.streams.video
        if not tracks:
            raise VideoError(f"{self.name}: a file without pictures: expected {VIDEO_FORMATS}")
        self._track = _shown_track(tracks)
        context = self._track.codec_context
        if context is None:
            raise VideoError(f"{self.name}: a video of an unknown codec: convert it to H.264")
        self._check.size(context.width, context.height)
        self._decoder = _decoder_of(self._track)
        self._decoder.options = size
        self._decoder.thread_count = 1
        ratio = self._track.sample_aspect_ratio
        self._pixel_ratio = float(ratio) if ratio else 0.0
        self._is_fresh = True

    def _packets(self) -> Iterator[Any]:
        self._is_fresh = False
        with closing(self._container.demux(self._track)) as packets:  # PyAV leaks a packet of an iterator left open
            for packet in packets:
                self._check.clock()
                if packet.size:
                    yield packet

    def _listed_times(self, table: Any) -> Float[np.ndarray, " M"]:
        """Return the times of an MP4 by its table; by its packets if the table does not tell them all."""
        if table is None or table.stamps is None:
            return self._scanned_times(0 if table is None else table.num_samples)
        entries = self._track.index_entries
        first = next(self._packets(), None)
        last = entries[len(entries) - 1] if len(entries) == table.num_samples else None
        if first is None or first.pts is None or last is None or last.pos + last.size > self._num_bytes:
            return self._scanned_times(table.num_samples)
        return self._timed(table.stamps + (first.pts - int(table.stamps[0])))

    def _scanned_times(self, num_promised: int = 0) -> Float[np.ndarray, " M"]:
        """Return the times by the packets."""
        self._is_scanned = True
        if not self._is_fresh:
            self._open()
        stamps, orders = array("q"), array("q")
        base = float(self._track.time_base)
        num_packets = 0
        for packet in self._packets():
            num_packets += 1
            if packet.is_discard:
                continue
            stamps.append(_NO_STAMP if packet.pts is None else packet.pts)
            orders.append(_NO_STAMP if packet.dts is None else packet.dts)
            seconds = (stamps[-1] - stamps[0]) * base
            self._check.length(len(stamps), seconds if abs(seconds) < _MAX_STAMP else 0.0)
        if num_packets < num_promised:
            raise VideoError(f"{self.name}: cut short: {num_packets} of {num_promised} frames are there")
        if not stamps:
            raise VideoError(f"{self.name}: a video without a frame")
        is_guessed = self._container.format.name == "avi" and self._track.codec_context.has_b_frames
        if _NO_STAMP in stamps or is_guessed:
            return self._counted_times(np.frombuffer(orders, np.int64))
        return self._timed(np.frombuffer(stamps, np.int64))

    def _counted_times(self, orders: Int64[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
        """Return the times of a file whose packets do not tell when they are shown, as those of AVI with B-frames.

        Its frames are shown in the order in which the decoder returns them, at the times of decoding, one by one.
        """
        self._stamps, self._is_counted = np.arange(len(orders)), True
        known = np.unique(orders)
        if len(known) == len(orders) and int(known[-1]) < _MAX_STAMP and int(known[0]) > -_MAX_STAMP:
            return (known - known[0]) * float(self._track.time_base)
        rate = self._track.average_rate
        return np.arange(len(orders)) / float(rate if rate else _USUAL_RATE_HZ)

    def _timed(self, stamps: Int64[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
        """Return the times of stamps in any order; equal ones are one frame."""
        ordered = np.sort(stamps)
        self._stamps, self._is_counted = ordered[np.diff(ordered, prepend=ordered[:1] - 1) > 0], False
        if abs(int(self._stamps[0])) > _MAX_STAMP or abs(int(self._stamps[-1])) > _MAX_STAMP:
            raise VideoError(f"{self.name}: damaged: frames at impossible times")
        times_s = (self._stamps - self._stamps[0]) * float(self._track.time_base)
        self._check.length(len(times_s), float(times_s[-1]))
        return times_s

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the frames of these numbers."""
        stamps = [int(self._stamps[index]) for index in indices]
        if not stamps:
            return []
        with one_line(self.name, _CUT):
            kept = self._decoded(sorted(set(stamps)))
        return [kept[stamp] for stamp in stamps]

    def _decoded(self, wanted: list[int]) -> dict[int, Image.Image]:
        """Decode the frames of ascending stamps: as fast as possible first, and with more care where that fails."""
        from av.error import FFmpegError

        for lead_s, skips in () if self._is_counted else _ATTEMPTS:
            try:
                pictures = self._attempt(wanted, lead_s, skips)
            except (VideoSizeError, VideoTimeError):
                raise
            except (FFmpegError, VideoError):  # a jump into a file without an index may miss the key frame
                continue
            if len(pictures) == len(wanted):
                return pictures
        pictures = self._attempt(wanted, None, skips=False)
        if len(pictures) < len(wanted):
            raise VideoError(f"{self.name}: a video without a frame")
        return pictures

    def _attempt(self, wanted: list[int], lead_s: float | None, skips: bool) -> dict[int, Image.Image]:
        """Decode from a key frame on; see `_decoded`.

        Args:
            wanted: ascending stamps.
            lead_s: seconds before the first of them to jump to; None: decode from the beginning.
            skips: leave out frames that no other refers to.

        Returns:
            The pictures that were met, by stamp. A stamp without a frame of its own gets, in an attempt without a jump,
            the picture that is shown then.
        """
        if not self._go(None if lead_s is None else wanted[0] - round(lead_s / self._track.time_base)):
            return {}
        kept: dict[int, Image.Image] = {}
        missing = set(wanted)
        shown: Any = None
        num_late, is_damaged = 0, False
        for stamp, frame in self._frames(missing if skips else None):
            self._check.size(frame.width, frame.height)
            # Later frames refer to a damaged one, until the next key frame.
            is_damaged = frame.is_corrupt or (is_damaged and not _is_key(frame))
            if is_damaged and stamp >= wanted[0]:
                raise VideoError(f"{self.name}: a damaged frame {self._time_of(stamp):.2f} s after the first: {_CUT}")
            if stamp in missing:
                missing.discard(stamp)
                kept[stamp] = self._picture(frame)
                if not missing:
                    return kept
            elif lead_s is None and not skips:
                for late in [other for other in missing if other < stamp and other not in kept]:
                    kept[late] = self._picture(frame if shown is None else shown)
            shown = frame
            num_late = num_late + 1 if stamp > wanted[-1] else 0
            if num_late > _MAX_LATE_FRAMES:
                break
        if lead_s is None and not skips and shown is not None:
            for stamp in missing - kept.keys():
                kept[stamp] = self._picture(shown)
        return kept

    def _go(self, stamp: int | None) -> bool:
        """Go to the key frame before a stamp, or to the beginning; return False if the file cannot be searched."""
        from av.error import FFmpegError

        if stamp is None:
            if not self._is_fresh:
                self._open()
            return True
        if self._is_scanned and not self._is_fresh:  # FFmpeg may jump to any frame that it has read, also between keys
            self._open()
        self._is_fresh = False
        try:
            self._container.seek(stamp, stream=self._track, backward=True)
            self._decoder.flush_buffers()
        except FFmpegError:
            return False
        return True

    def _frames(self, wanted: set[int] | None) -> Iterator[tuple[int, Any]]:
        """Decode from the current place, with the stamps of the frames.

        Args:
            wanted: stamps of frames to decode; others may be left out. None: all of them.
        """
        stamp = -1
        for packet in chain(self._packets(), [None]):  # at the end, the decoder returns the frames that it holds
            if packet is not None:
                is_wanted = wanted is None or packet.pts in wanted
                self._decoder.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            for frame in self._decoder.decode(packet):
                stamp = stamp + 1 if self._is_counted or frame.pts is None else frame.pts
                yield stamp, frame

    def _time_of(self, stamp: int) -> float:
        return float(np.interp(stamp, self._stamps, self.times_s))

    def _picture(self, frame: Any) -> Image.Image:
        return to_picture(frame, self._reformatter, self._pixel_ratio, self.limits.max_side_px)


def _decoder_of(track: Any) -> Any:
    """Return the decoder of a track; the usual ones of VP8 and VP9 leave transparency out."""
    from av import CodecContext

    usual = track.codec_context
    if track.metadata.get("alpha_mode") != "1" or usual.name not in _TRANSPARENT:
        return usual
    decoder = CodecContext.create(_TRANSPARENT[usual.name], "r")
    decoder.extradata = usual.extradata
    return decoder


def _is_key(frame: Any) -> bool:
    return frame.key_frame and frame.pict_type == 1  # I; decoders of MPEG-4 call each frame a key frame


def _is_mp4(stream: io.BufferedIOBase) -> bool:
    stream.seek(0)
    return stream.read(8)[4:8] in _FIRST_BOXES


def _shown_track(tracks: Sequence[Any]) -> Any:
    """Return the track that a player shows: the default one, and no cover picture unless there is nothing else."""
    from av.stream import Disposition

    films = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    marked = [track for track in films if track.disposition & Disposition.default]
    return [*marked, *films, *tracks][0]
