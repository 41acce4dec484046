"""Odd and damaged files of video are decoded rightly, or refused in one line."""

import io
import struct
import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from fixtures_video import (
    HEIGHT,
    WIDTH,
    add_track,
    animation,
    box,
    damaged,
    encode,
    film,
    header_first,
    is_near,
    number_of,
    numbered,
    numbers_of,
    patched,
    rebuilt,
    turned,
)
from theworld.datasets.errors import VideoError
from theworld.datasets.film_index import sample_tables
from theworld.datasets.video import open_video
from theworld.datasets.video_limits import LimitCheck, VideoLimits

B_FRAMES = {"bf": "2", "preset": "veryfast"}


def with_audio() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        track = add_track(container)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        wave.sample_rate = 8000
        container.mux(sound.encode(wave))
        container.mux(sound.encode(None))
        encode(container, track, [numbered(number) for number in range(12)])
    return file.getvalue()


def with_cover(format: str) -> bytes:
    """Return a file whose first track is a picture of its cover."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 200, 100, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        track = add_track(container)
        encode(container, cover, [Image.new("RGB", (200, 100), "blue")])
        encode(container, track, [numbered(number) for number in range(12)])
    return file.getvalue()


def of_two_tracks() -> bytes:
    """Return a file whose second track is the default one."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        other, track = add_track(container), add_track(container)
        other.disposition, track.disposition = av.stream.Disposition(0), av.stream.Disposition.default
        encode(container, other, [numbered(50)] * 12)
        encode(container, track, [numbered(number) for number in range(12)])
    return file.getvalue()


def shuffled() -> bytes:
    """Return a file whose decoder returns frames 4 and 5 in the wrong order."""
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        track = container.add_stream("mjpeg", rate=10)
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        packets = []
        for number in order:
            frame = av.VideoFrame.from_image(numbered(number))
            frame.pts, frame.time_base = len(packets), Fraction(1, 10)
            packets += track.encode(frame)
        packets += track.encode(None)
        for place, (packet, number) in enumerate(zip(packets, order, strict=True)):
            packet.pts, packet.dts, packet.time_base = number, place - 2, Fraction(1, 10)
            container.mux(packet)
    return file.getvalue()


def of_two_sizes() -> bytes:
    """Return a file whose frames become larger."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        track = container.add_stream("mjpeg", rate=10)
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(12):
            size = (WIDTH, HEIGHT) if number < 6 else (2 * WIDTH, 2 * HEIGHT)
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = *size, "yuvj420p", Fraction(1, 10)
            frame = av.VideoFrame.from_image(numbered(number, *size)).reformat(format="yuvj420p")
            for packet in [*codec.encode(frame), *codec.encode(None)]:
                packet.stream, packet.pts, packet.dts, packet.time_base = track, number, number, Fraction(1, 10)
                container.mux(packet)
    return file.getvalue()


def cut_in_front() -> bytes:
    """Return a file whose edit list begins at its fourth frame."""
    content = film()
    with av.open(io.BytesIO(content)) as container:
        ticks = round(0.3 / container.streams.video[0].time_base)
    content = patched(content, b"elst", 8, struct.pack(">I", 900))
    return patched(content, b"elst", 12, struct.pack(">i", ticks))


def late(format: str) -> bytes:
    return film(format=format, ticks=[10_000 + 100 * number for number in range(12)])


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
PRORES = {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}
MPEG4 = {"codec": "mpeg4", "options": {"q:v": "2"}}

WHOLE: dict[str, Callable[[], bytes]] = {
    "mp4": film,
    "mp4, header first": lambda: header_first(film()),
    "mp4 in fragments": lambda: film(container_options=FRAGMENTED, options={"g": "4"}),
    "mp4, B-frames": lambda: film(options=B_FRAMES),
    "mp4, many key frames": lambda: film(options={"g": "3", **B_FRAMES}),
    "mp4, H.265": lambda: film(codec="libx265"),
    "mp4, MPEG-4": lambda: film(**MPEG4),
    "mp4, late": lambda: late("mp4"),
    "mp4, sound first": with_audio,
    "mp4, cover": lambda: with_cover("mp4"),
    "mp4, ten bits": lambda: film(pix_fmt="yuv420p10le", options={"profile": "high10"}),
    "mp4, interlaced": lambda: film(options={"x264-params": "tff=1", "preset": "ultrafast"}),
    "mov": lambda: film(format="mov"),
    "mov, ProRes": lambda: film(format="mov", **PRORES),
    "mov, animation codec": lambda: film(format="mov", codec="qtrle", pix_fmt="rgb24"),
    "mkv": lambda: film(format="matroska"),
    "mkv, B-frames": lambda: film(format="matroska", options=B_FRAMES),
    "mkv, live": lambda: film(format="matroska", container_options={"live": "1"}),
    "mkv, late": lambda: late("matroska"),
    "mkv, FFV1": lambda: film(format="matroska", codec="ffv1", pix_fmt="yuv444p"),
    "mkv, grey": lambda: film(format="matroska", codec="ffv1", pix_fmt="gray"),
    "mov, PNG": lambda: film(format="mov", codec="png", pix_fmt="rgb24"),
    "mov, MJPEG of full range": lambda: film(format="mov", codec="mjpeg", pix_fmt="yuvj444p"),
    "mkv, two tracks": of_two_tracks,
    "mkv, frames out of order": shuffled,
    "mkv, two sizes": of_two_sizes,
    "webm, VP8": lambda: film(format="webm", codec="libvpx"),
    "webm, VP8 with hidden frames": lambda: film(
        format="webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "8", "deadline": "good"}
    ),
    "webm, VP9": lambda: film(format="webm", codec="libvpx-vp9"),
    "webm, AV1": lambda: film(format="webm", codec="libsvtav1", options={"preset": "12", "crf": "20"}),
    "avi, MPEG-4": lambda: film(format="avi", **MPEG4),
    "avi, MPEG-4 with B-frames": lambda: film(format="avi", codec="mpeg4", options={"q:v": "2", "bf": "2"}),
    "avi, H.264 with B-frames": lambda: film(format="avi", options=B_FRAMES),
    "avi, MJPEG": lambda: film(format="avi", codec="mjpeg", pix_fmt="yuvj420p"),
    "avi, lossless": lambda: film(format="avi", codec="huffyuv", pix_fmt="rgb24"),
    "gif": animation,
    "webp": lambda: animation(format="WEBP", lossless=True),
    "png": lambda: animation(format="PNG"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_of_any_form_gives_all_its_frames_at_their_times(name, capfd):
    content = WHOLE[name]()
    capfd.readouterr()  # encoders talk
    with open_video(content) as video:
        assert numbers_of(video.pictures(range(video.num_frames))) == list(range(12))
        assert video.times_s == pytest.approx(np.arange(12) / 10, abs=2e-3)
        assert numbers_of(video.pictures([9, 10, 10])) == [9, 10, 10]
        assert numbers_of(video.pictures([2])) == [2]  # back again
    assert capfd.readouterr().err == ""


TICKS = [0, 40, 80, 300, 310, 320, 700, 1500, 1510, 1520, 1530, 2000]


@pytest.mark.parametrize(
    "content",
    [
        lambda: film(ticks=TICKS),
        lambda: film(ticks=TICKS, options=B_FRAMES),
        lambda: film(ticks=TICKS, format="matroska"),
        lambda: film(ticks=TICKS, format="webm", codec="libvpx"),
        lambda: animation(duration_ms=[*np.diff(TICKS).tolist(), 500]),
        lambda: animation(duration_ms=[*np.diff(TICKS).tolist(), 500], format="WEBP", lossless=True),
        lambda: animation(duration_ms=[*np.diff(TICKS).tolist(), 500], format="PNG"),
    ],
    ids=["mp4", "mp4, B-frames", "mkv", "webm", "gif", "webp", "png"],
)
def test_a_variable_frame_rate_keeps_its_times(content):
    with open_video(content()) as video:
        assert video.times_s == pytest.approx(np.asarray(TICKS) / 1000, abs=1e-3)
        assert numbers_of(video.pictures(range(12))) == list(range(12))


def test_an_edit_list_leaves_the_first_frames_out():
    with open_video(cut_in_front()) as video:
        assert numbers_of(video.pictures(range(video.num_frames))) == list(range(3, 12))
        assert video.times_s == pytest.approx(np.arange(9) / 10, abs=1e-3)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
        ((1, 0, 0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
        ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
        ((0, -1, -1, 0), Image.Transpose.TRANSVERSE),
    ],
)
def test_a_turned_or_mirrored_video_is_set_upright(matrix, turn):
    with open_video(turned(film(), matrix)) as video:
        assert is_near(video.pictures([5])[0], numbered(5).transpose(turn))


def test_ffmpeg_turns_a_rotated_video_by_the_same_angle():
    frame = next(av.open(io.BytesIO(turned(film(), (0, 1, -1, 0)))).decode(video=0))
    assert frame.rotation % 360 == 270  # counterclockwise, as Pillow counts


@pytest.mark.parametrize("size", [(95, 63), (97, 64), (64, 33), (2, 2), (16, 400)])
def test_odd_sizes_stay(size):
    content = film(4, "matroska", "ffv1", pix_fmt="yuv444p", size=size)
    with open_video(content) as video:
        assert video.pictures([3])[0].size == size


@pytest.mark.parametrize(("ratio", "width"), [(Fraction(2, 1), 192), (Fraction(1, 2), 48), (Fraction(10**6, 1), 96)])
def test_pixels_that_are_not_square_become_square(ratio, width):
    with open_video(film(4, "matroska", sample_aspect_ratio=ratio)) as video:
        picture = video.pictures([3])[0]
        assert picture.size == (width, HEIGHT)
        assert number_of(picture) == 3


COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128))


def coloured(size: tuple[int, int] = (96, 64)) -> Image.Image:
    return Image.fromarray(np.asarray([COLOURS], np.uint8)).resize(size, Image.Resampling.NEAREST)


def colours_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(
        [picture.getpixel(((2 * index + 1) * picture.width // 8, picture.height // 2)) for index in range(4)]
    )


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("matrix", "name", "size"),
    [
        (1, "ITU709", (96, 64)),
        (5, "ITU601", (96, 64)),
        (6, "ITU601", (96, 64)),
        (9, "BT2020", (96, 64)),
        (2, "ITU601", (96, 64)),  # without a tag
        (2, "ITU709", (1280, 720)),
        (6, "ITU601", (1280, 720)),
    ],
)
def test_colours_follow_the_matrix_and_the_range_of_the_file(matrix, name, size, full):
    frame = av.VideoFrame.from_image(coloured(size))
    frame = frame.reformat(format="yuv444p", dst_colorspace=name, dst_color_range=2 if full else 1)
    content = film([frame], "mp4", pix_fmt="yuv444p", size=size, colorspace=matrix, color_range=2 if full else 1)
    with open_video(content) as video:
        assert np.abs(colours_of(video.pictures([0])[0]).astype(int) - COLOURS).max() <= 4


def deep(codes: list[float]) -> av.VideoFrame:
    """Return a grey frame of ten bits of limited range, with bars of these signals in [0, 1]."""
    frame = av.VideoFrame(96, 64, "yuv420p10le")
    for index, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size // 2), 512, "<u2")
        if index == 0:
            rows[:] = np.repeat([round(64 + 876 * code) for code in codes], -(-rows.shape[1] // len(codes)))[
                : rows.shape[1]
            ]
            rows[:, :96] = np.repeat([round(64 + 876 * code) for code in codes], 96 // len(codes))
        plane.update(rows.tobytes())
    return frame


def pq(nits: float) -> float:
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


@pytest.mark.parametrize(
    ("transfer", "codes"),
    [(16, [pq(nits) for nits in (0, 20.3, 101.5, 203, 1000, 10_000)]), (18, [0, 0.3, 0.58, 0.75, 0.9, 1.0])],
    ids=["PQ", "HLG"],
)
def test_high_dynamic_range_is_tone_mapped_to_srgb(transfer, codes):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    content = film([deep(codes) for _ in range(3)], "mp4", pix_fmt="yuv420p10le", options={"profile": "high10"}, **tags)
    with open_video(content) as video:
        picture = video.pictures([2])[0]
    levels = [picture.getpixel((8 + 16 * index, 32)) for index in range(6)]
    assert all(max(level) - min(level) <= 2 for level in levels)  # grey stays grey
    greys = [level[1] for level in levels]
    assert greys == sorted(greys)
    assert greys[0] == 0
    assert greys[-1] >= 250
    assert greys[3] == pytest.approx(233, abs=3)  # diffuse white: 0.5 + 0.5 (1 - 1/e) in linear light
    if transfer == 16:
        assert greys[1:3] == pytest.approx([89, 188], abs=3)  # a tenth and a half of white stay


def test_the_colours_of_bt2020_become_those_of_srgb():
    # A green of sRGB in the primaries of BT.2020 with a usual transfer.
    linear = np.asarray([0.6274, 0.3293, 0.0433]) * 0 + np.asarray([0.3293, 0.9195, 0.0880])
    code = np.power(linear, 1 / 2.4)
    frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), np.round(code * 65535), np.uint16), "rgb48le")
    frame = frame.reformat(format="yuv444p10le", dst_colorspace="BT2020", dst_color_range=1)
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    content = film([frame], "mp4", pix_fmt="yuv444p10le", options={"profile": "high444"}, **tags)
    with open_video(content) as video:
        red, green, blue = video.pictures([0])[0].getpixel((48, 32))
    assert green >= 250
    assert max(red, blue) <= 25


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_high_dynamic_range_in_the_primaries_of_bt709_keeps_its_colours(transfer):
    code = np.asarray([0.45, 0.4, 0.2])
    frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), np.round(code * 65535), np.uint16), "rgb48le")
    frame = frame.reformat(format="yuv444p10le", dst_colorspace="ITU709", dst_color_range=1)
    pixels = []
    for primaries in (1, 9, 2):
        tags = {"colorspace": 1, "color_primaries": primaries, "color_trc": transfer, "color_range": 1}
        content = film([frame], "mp4", pix_fmt="yuv444p10le", options={"profile": "high444"}, **tags)
        with open_video(content) as video:
            pixels.append(np.asarray(video.pictures([0])[0].getpixel((48, 32)), int))
    usual, wide, unknown = pixels
    assert np.ptp(usual) < np.ptp(wide)  # the same code values are a more vivid colour in BT.2020
    assert np.array_equal(wide, unknown)


@pytest.mark.parametrize(
    "form",
    [
        ("matroska", "ffv1", "bgra"),
        ("mov", "qtrle", "argb"),
        ("mov", "png", "rgba"),
        ("webm", "libvpx", "yuva420p"),
        ("webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_transparent_frames_are_composited_on_white(form):
    format, codec, pix_fmt = form
    clear = numbered(0).convert("RGBA")
    clear.putalpha(0)
    frames = [
        av.VideoFrame.from_ndarray(np.asarray(picture), "rgba") for picture in (clear, numbered(5).convert("RGBA"))
    ]
    options = {"auto-alt-ref": "0"} if format == "webm" else {}
    with open_video(film(frames, format, codec, pix_fmt=pix_fmt, options=options)) as video:
        first, second = video.pictures([0, 1])
    assert first.getextrema() == ((255, 255),) * 3
    assert number_of(second) == 5


def test_both_fields_of_an_interlaced_frame_stay():
    rows = np.zeros((64, 96, 3), np.uint8)
    rows[::2] = 255
    frame = av.VideoFrame.from_ndarray(rows, "rgb24").reformat(format="yuv444p")
    content = film([frame], pix_fmt="yuv444p", options={"x264-params": "tff=1", "preset": "ultrafast", "crf": "1"})
    with open_video(content) as video:
        pixels = np.asarray(video.pictures([0])[0])
    assert pixels[::2].mean() > 240
    assert pixels[1::2].mean() < 15


def test_large_frames_are_scaled_down():
    with open_video(film(2, codec="mpeg4", size=(400, 200)), limits=VideoLimits(max_side_px=100)) as video:
        assert video.pictures([1])[0].size == (100, 50)


@pytest.mark.parametrize("name", ["mkv, live", "mp4 in fragments"])
def test_a_cut_file_that_does_not_tell_its_length_gives_the_frames_that_are_there(name):
    content = WHOLE[name]()
    with open_video(content[:-200]) as video:
        assert 3 <= video.num_frames < 12
        assert numbers_of(video.pictures(range(video.num_frames - 1))) == list(range(video.num_frames - 1))


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_jump_lands_on_a_key_frame_after_all_packets_were_read(codec):
    content = film(60, format="webm", codec=codec, options={"g": "20"})
    with open_video(content) as video:
        scanned = video._container
        video._go(int(video._stamps[50]))
        # FFmpeg's index of a file of which it has read all packets may name any of them as a key frame.
        assert video._container is not scanned
        assert next(video._packets()).is_keyframe
        assert numbers_of(video.pictures([35, 59])) == [35, 59]


def test_an_absurd_duration_in_the_header_is_ignored():
    content = film(format="matroska")
    place = content.index(b"\x44\x89\x88") + 3
    content = content[:place] + struct.pack(">d", 1e18) + content[place + 8 :]
    with open_video(content) as video:
        assert video.times_s[-1] == pytest.approx(1.1, abs=1e-3)


def lying(count: int) -> bytes:
    """Return an MP4 of 1 KB whose header promises many frames of one size."""
    content = film(3, "mp4")
    tables = {
        b"stsz": struct.pack(">III", 0, 1, count),
        b"stts": struct.pack(">IIII", 0, 1, count, 100),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, count, 1),
    }
    return rebuilt(content, lambda name, part: tables.get(name, part))


def with_waves(seconds: float = 1.0) -> bytes:
    """Return a MOV of 12 frames with sound without compression, each value of whose wave counts as a sample."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        track = add_track(container)
        sound = container.add_stream("pcm_s16le", rate=8000)
        encode(container, track, [numbered(number) for number in range(12)])
        wave = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * seconds)), np.int16), "s16", "mono")
        wave.sample_rate = 8000
        container.mux([*sound.encode(wave), *sound.encode(None)])
    return file.getvalue()


def test_sounds_without_compression_do_not_count_as_frames():
    content = with_waves()
    with open_video(content, limits=VideoLimits(max_frames=100)) as video:
        assert numbers_of(video.pictures(range(video.num_frames))) == list(range(12))
    tables = sample_tables(io.BytesIO(content), len(content), LimitCheck(VideoLimits(), "a"))
    assert [table.num_samples for table in tables.values()] == [12]


def test_a_sound_that_ffmpeg_would_list_piece_by_piece_counts():
    step = struct.pack(">IIII", 0, 1, 8000, 2)
    content = rebuilt(with_waves(), lambda name, part: step if name == b"stts" and part[12:] == b"\0\0\0\1" else part)
    with (
        pytest.raises(VideoError, match="more than 100 frames"),
        open_video(content, limits=VideoLimits(max_frames=100)),
    ):
        pass


def lying_fragments() -> bytes:
    run = struct.pack(">III", 0, 10**9, 0)
    return rebuilt(film(3, container_options=FRAGMENTED), lambda name, part: run if name == b"trun" else part)


def of_audio() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        wave.sample_rate = 8000
        container.mux(sound.encode(wave))
        container.mux(sound.encode(None))
    return file.getvalue()


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def gif_of(side: int, num_frames: int) -> bytes:
    """Return a GIF with a large canvas and small frames."""
    file = io.BytesIO()
    Image.new("P", (1, 1)).save(file, "GIF", optimize=False)
    content = file.getvalue()
    end = 13 + 3 * (2 << (content[10] & 7))
    head = bytearray(content[:end])
    head[6:10] = struct.pack("<HH", side, side)
    return bytes(head) + content[end:-1] * num_frames + b";"


def still_heic() -> bytes:
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(b"mdat", bytes(100))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
NOT_READABLE = "not a readable video"

PROMISED = "cut short: its header promises frames after its end"


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def before_index(avi: bytes) -> bytes:
    """Cut an AVI within its last frames."""
    return avi[: avi.rindex(b"idx1") - 20]


def within_last_head(gif: bytes) -> bytes:
    """Cut a GIF within the block that stands before its last frame."""
    return gif[: gif.rindex(b"\x21\xf9\x04") + 4]


@pytest.mark.parametrize(
    "content",
    [
        animation()[:-1],  # no trailer
        animation()[:-2] + b";",  # a last block without its end
        animation() + b"\0\0junk!,",
    ],
)
def test_a_gif_of_whole_frames_is_whole_however_it_ends(content):
    with open_video(content) as video:
        assert numbers_of(video.pictures(range(video.num_frames))) == list(range(12))


def test_an_mkv_that_is_cut_within_its_index_gives_all_frames():
    content = film(format="matroska")
    index = content.rindex(b"\x1c\x53\xbb\x6b")
    for num_bytes in (index + 4, index + 8, index + 14):
        with open_video(content[:num_bytes]) as video:
            assert video.num_frames == 12


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", NOT_READABLE),
    "one byte": (lambda: b"\0", NOT_READABLE),
    "text": (
        lambda: b"no video at all\n" * 50,
        "(of no known format): expected MP4, MOV, WebM, MKV or AVI, GIF or animated WebP",
    ),
    "playlist": (lambda: PLAYLIST, NOT_READABLE),
    "list of files": (lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", NOT_READABLE),
    "session description": (lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", NOT_READABLE),
    "transport stream": (lambda: film(format="mpegts"), NOT_READABLE),
    "picture": (png, "one picture, and no video"),
    "gif of one frame": (lambda: animation(1), "one picture, and no video"),
    "photo of a telephone": (still_heic, NOT_READABLE),
    "sound": (of_audio, "a file without pictures"),
    "unknown codec": (
        lambda: film(format="webm", codec="libvpx").replace(b"V_VP8", b"V_VPX"),
        "a video of an unknown codec: convert it to H.264",
    ),
    "mp4 without its header": (lambda: film()[:-300], NOT_READABLE),
    "mp4, header alone": (lambda: header_first(film())[:1200], "cut short"),
    "mp4, cut data": (lambda: header_first(film())[:-300], "cut short: 3 of 12 frames are there"),
    "mkv, cut header": (lambda: film(format="matroska")[:150], NOT_READABLE),
    "mkv, cut frames": (lambda: film(format="matroska")[:-300], PROMISED),
    "webm, half": (lambda: half(film(format="webm", codec="libvpx-vp9")), PROMISED),
    "avi, cut frames": (lambda: before_index(film(format="avi", **MPEG4)), PROMISED),
    "webm, first bytes": (lambda: film(format="webm", codec="libvpx")[:40], NOT_READABLE),
    "avi, cut header": (lambda: film(format="avi", **MPEG4)[:100], NOT_READABLE),
    "a billion frames": (lambda: lying(10**9), "a video of more than 10,000,000 frames: cut it"),
    "a million frames": (lambda: lying(10**6), "damaged: 1,000,000 frames in"),
    "a billion frames in a fragment": (lying_fragments, "a video of more than 10,000,000 frames: cut it"),
    "compressed header": (
        lambda: box(b"ftyp", b"isom", bytes(4)) + box(b"moov", box(b"cmov", bytes(100))),
        "a compressed header: convert it to a usual MP4",
    ),
    "huge gif": (lambda: gif_of(60_000, 3), "Image size (3600000000 pixels) exceeds limit"),
    "large gif": (lambda: gif_of(12_000, 3), "frames of 12000 x 12000 px: expected at most 36,000,000 pixels"),
    "gif of huge frames in all": (
        lambda: gif_of(5000, 900),
        "an animation of 900 frames of 5000 x 5000 px: expected at most 10,000,000,000 pixels in all",
    ),
    "gif of a thin frame": (
        lambda: animation().replace(struct.pack("<HH", 96, 64), struct.pack("<HH", 9700, 64), 1),
        "a picture of 9700 x 64 px: expected 2 x 2 or more, sides at most 1:100",
    ),
    "cut gif": (lambda: animation()[:-200], "cut short: its last part is missing"),
    "gif, cut in the head of a frame": (lambda: within_last_head(animation()), "cut short: its last part is missing"),
    "cut webp": (lambda: animation(format="WEBP")[:-200], NOT_READABLE),
    "cut png": (lambda: animation(format="PNG")[:-200], "not a readable animation ("),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_video_is_refused_in_one_line(name, tmp_path, capfd):
    build, sentence = REFUSED[name]
    path = tmp_path / "clip.mp4"
    path.write_bytes(build())
    start = time.process_time()
    with pytest.raises(VideoError) as refusal, open_video(path) as video:
        video.pictures([video.num_frames - 1])
    assert sentence in str(refusal.value)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr().err == ""
    assert time.process_time() - start < 8


def test_frames_that_are_larger_than_the_header_says_are_not_decoded():
    content = of_two_sizes()
    with open_video(content, limits=VideoLimits(max_pixels=WIDTH * HEIGHT)) as video:
        assert number_of(video.pictures([3])[0]) == 3
        with pytest.raises(VideoError, match=r"^[\d,]+ bytes: frames of 192 x 128 px: expected at most 6,144 pixels$"):
            video.pictures([8])


def noisy(number: int) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 128, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.asarray(numbered(number)) // 2 + noise).astype(np.uint8))


@pytest.mark.parametrize(
    "settings",
    [
        {"options": {"sc_threshold": "0"}},
        {"options": {"sc_threshold": "0", **B_FRAMES}},
        {"codec": "mpeg4", "options": {"sc_threshold": "1000000000", "q:v": "2"}},
    ],
    ids=["H.264", "H.264, B-frames", "MPEG-4"],
)
def test_a_damaged_frame_and_those_that_refer_to_it_are_refused(settings):
    content = film([noisy(number) for number in range(11)], **settings)
    with av.open(io.BytesIO(content)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0)][5]
    start = place + size // 2
    content = content[:start] + b"\xff" * (size // 3) + content[start + size // 3 :]
    with open_video(content) as video:
        video.pictures([0, 1])
        for index in (8, 10):
            with pytest.raises(VideoError, match=r"damaged"):
                video.pictures([index])


BASES = ("mp4", "mp4, B-frames", "mp4 in fragments", "mkv, B-frames", "webm, VP9", "avi, MPEG-4", "gif", "webp", "png")


@pytest.mark.parametrize("name", BASES)
def test_random_damage_ends_in_frames_or_in_one_line(name, capfd):
    content = WHOLE[name]()
    lines: list[str] = []
    num_refused = 0
    for seed in range(40):
        try:
            with open_video(damaged(content, seed), limits=VideoLimits(max_pixels=10**6)) as video:
                indices = [0, video.num_frames // 2, video.num_frames - 1]
                assert len(video.pictures(indices)) == 3
                assert np.all(np.diff(video.times_s) >= 0)
        except VideoError as error:
            lines += str(error).splitlines()
            num_refused += 1
    assert len(lines) == num_refused > 0
    assert capfd.readouterr().err == ""
