"""Every mode of Pillow has a rule, hidden colours do not show, and damaged metadata costs no picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fixtures_model import picture
from theworld.datasets.images import ImageError, to_frames, to_image, to_pictures
from theworld.datasets.rgb import without_metadata

RAMP = np.linspace(0, 65_535, 64).round().astype(np.uint16).reshape(8, 8)
PIXELS = np.asarray(picture(1, 6, 4))
SOLID = (200, 100, 40)


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2)


def deep(mode: str) -> Image.Image:
    if mode == "I":
        return Image.fromarray(RAMP.astype(np.int32))
    order = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, (8, 8), RAMP.astype(order).tobytes())


def file_of(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_become_their_upper_eight(mode):
    assert (np.asarray(to_image(deep(mode))) == grey(RAMP >> 8)).all()


@pytest.mark.parametrize(("format", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B"), ("TIFF", "I")])
def test_a_file_of_sixteen_bits_keeps_its_ramp(tmp_path, format, mode):
    content = file_of(deep(mode), format)
    (tmp_path / "ramp").write_bytes(content)

    for source in (content, tmp_path / "ramp", Image.open(io.BytesIO(content))):
        assert (np.asarray(to_image(source)) == grey(RAMP >> 8)).all()
    assert (to_frames([content], 8)[0].permute(1, 2, 0).numpy() == grey(RAMP >> 8)).all()


def test_a_float_picture_in_0_to_1_is_scaled(tmp_path):
    levels = (RAMP / 65_535).astype(np.float32)
    image = Image.fromarray(levels)
    image.save(tmp_path / "float.tiff")

    for source in (image, tmp_path / "float.tiff"):
        assert (np.asarray(to_image(source)) == grey((levels * 255).round())).all()


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 70_000]] * 2, np.int32),
        np.array([[-1, 5]] * 2, np.int32),
        np.array([[0.0, 255.0]] * 2, np.float32),
        np.array([[-0.1, 1.0]] * 2, np.float32),
        np.array([[np.nan, 1.0]] * 2, np.float32),
        np.array([[np.inf, 1.0]] * 2, np.float32),
    ],
)
def test_values_without_a_rule_are_refused(values):
    image = Image.fromarray(values)
    for source in (image, file_of(image, "TIFF")):
        with pytest.raises(ImageError, match=r"with values in \[.*\]: expected .*; scale it first"):
            to_image(source)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "RGBA", "RGBa", "LA", "PA", "La"]
)
def test_an_opaque_mode_keeps_its_colour(mode):
    if mode in ("1", "L", "LA", "La"):
        image, expected = Image.new("L", (4, 4), 255), (255, 255, 255)
        image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    else:
        image, expected = Image.new("RGB", (4, 4), SOLID), SOLID
        image = image.convert("P" if mode == "PA" else "RGBA" if mode == "RGBa" else mode).convert(mode)
    assert image.mode == mode
    tolerance = 6 if mode in ("HSV", "YCbCr", "P", "PA") else 0
    tolerance = 60 if mode in ("P", "PA") else tolerance  # the web palette
    assert np.abs(np.asarray(to_image(image)).astype(int) - np.array(expected)).max() <= tolerance


def test_lab_is_converted_by_its_profile():
    white = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (255, 128, 128)])
    assert np.asarray(to_image(white)).min() >= 250


def rgba(alpha: int) -> Image.Image:
    return Image.new("RGBA", (4, 4), (*SOLID, alpha))


@pytest.mark.parametrize("alpha", [0, 1, 64, 128, 254, 255])
@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_alpha_is_composited_on_white(mode, alpha):
    if mode in ("RGBA", "RGBa"):
        image, colour = rgba(alpha).convert(mode), np.array(SOLID)
    elif mode == "PA":
        image = Image.merge("LA", [Image.new("L", (4, 4), 3), Image.new("L", (4, 4), alpha)])
        image = Image.frombytes("PA", (4, 4), image.tobytes())
        image.putpalette([0] * 9 + list(SOLID))
        colour = np.array(SOLID)
    else:
        image, colour = Image.new("LA", (4, 4), (100, alpha)).convert(mode), np.array([100] * 3)
    expected = (colour * alpha + 255 * (255 - alpha)) / 255

    assert image.mode == mode
    assert np.abs(np.asarray(to_image(image)) - expected).max() <= (1 if mode in ("RGBA", "LA", "PA") else 2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_a_transparent_colour_of_a_file_is_white(mode):
    image = Image.new("L", (4, 4), 0)
    image.paste(255, (0, 0, 2, 4))
    sixteen = Image.fromarray(np.asarray(image).astype(np.uint16) << 8)
    image = sixteen if mode == "I;16" else image.convert(mode)
    clear: dict[str, object] = {"RGB": (0, 0, 0)}
    given_as = clear.get(mode, image.getpixel((3, 0)))
    opened = Image.open(io.BytesIO(file_of(image, transparency=given_as)))

    converted = to_image(opened)

    assert opened.mode in (mode, "L", "P")
    assert np.asarray(converted).min() == 255
    assert "transparency" not in converted.info


def test_a_palette_of_several_alphas_is_composited():
    image = Image.frombytes("P", (4, 2), bytes([0, 1, 2, 3] * 2))
    image.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90])

    pixels = np.asarray(to_image(file_of(image, transparency=bytes([0, 128, 255]))))

    assert pixels[0].tolist() == [[255, 255, 255], [132, 137, 142], [40, 50, 60], [70, 80, 90]]


def test_a_transparent_colour_of_a_wrong_form_is_dropped():
    for mode, wrong in (("L", b"ab"), ("RGB", "red"), ("I;16", (1, 2)), ("1", None)):
        image = Image.new(mode, (4, 4))
        image.info["transparency"] = wrong
        assert np.asarray(to_image(image)).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright_from_path_bytes_and_pillow(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(picture(1, 6, 4), exif=exif)
    (tmp_path / "turned.png").write_bytes(content)
    opened = Image.open(io.BytesIO(content))

    converted = [np.asarray(to_image(source)) for source in (tmp_path / "turned.png", content, opened)]

    assert converted[0].shape == ((4, 6, 3) if orientation < 5 else (6, 4, 3))
    assert np.array_equal(converted[0], PIXELS) == (orientation == 1)
    assert all(np.array_equal(converted[0], other) for other in converted)
    assert (np.asarray(to_pictures([opened])[0]) == converted[0]).all()
    again = to_image(to_image(opened))
    assert (np.asarray(again) == converted[0]).all()


def test_an_upright_rgb_picture_stays_itself():
    image = picture(1, 6, 4)
    for orientation in (0, 1, 9, "6"):
        image.getexif()[0x0112] = orientation
        assert to_image(image) is image


def png_with(*chunks: tuple[bytes, bytes], bad_sum: bool = False) -> bytes:
    content = file_of(picture(1, 6, 4))
    extra = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ bad_sum)
        for name, data in chunks
    )
    return content[:33] + extra + content[33:]  # after IHDR


def jpeg_with(marker: int, data: bytes) -> bytes:
    content = file_of(picture(1, 6, 4), "JPEG")
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + content[2:]


BIG = zlib.compress(bytes(80_000_000))
HEADS = [b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"ICC_PROFILE\0\x01", b"MPF\0II*\0", b"Photoshop 3.0\0"]


@pytest.mark.parametrize("bad_sum", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"a\0\0" + BIG),
        (b"iTXt", b"a\0\1\0\0\0" + BIG),
        (b"iCCP", b"a\0\0" + BIG),
        (b"iCCP", b"a\0\7zz"),
        (b"zTXt", b"a\0\\9"),
        (b"tEXt", b""),
        (b"eXIf", b"II*\0nonsense"),
        (b"gAMA", b"1"),
        (b"cHRM", b"1"),
        (b"pHYs", b"1"),
        (b"sRGB", b""),
        (b"tIME", b""),
    ],
)
def test_damaged_chunks_cost_no_picture(chunk, bad_sum):
    assert (np.asarray(to_image(png_with(chunk, bad_sum=bad_sum))) == PIXELS).all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*range(0xE1, 0xEE), 0xEF, 0xFE]), st.sampled_from(HEADS), st.binary(max_size=40))
def test_damaged_segments_cost_no_photograph(marker, head, data):
    expected = np.asarray(to_image(file_of(picture(1, 6, 4), "JPEG")))
    converted = np.asarray(to_image(jpeg_with(marker, head + data)))
    assert converted.size == expected.size  # bytes of chance may name an orientation


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["exif", "xmp", "icc_profile", "Raw profile type exif", "gamma"]))
def test_damaged_info_costs_no_opened_picture(data, name):
    image = picture(1, 6, 4)
    image.info[name] = data
    assert to_image(image).mode == "RGB"


def test_a_damaged_text_keeps_the_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"a\0\0" + BIG)
    content = file_of(picture(1, 6, 4), exif=exif, pnginfo=info)
    assert to_image(content).size == (4, 6)


def test_files_without_metadata_have_nothing_to_drop():
    for format in ("PNG", "GIF", "BMP"):
        assert without_metadata(file_of(picture(1, 6, 4), format)) is None
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0"):
        without_metadata(content)


def test_an_opened_file_that_was_cut_off_is_refused(tmp_path):
    (tmp_path / "cut.png").write_bytes(file_of(picture(1, 200, 200))[:5000])
    with Image.open(tmp_path / "cut.png") as opened, pytest.raises(ImageError, match="200 x 200 px: not readable"):
        to_image(opened)
