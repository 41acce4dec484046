"""One way from every accepted form of a picture or clip to RGB pixels, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_model import picture
from theworld.datasets.images import ImageError, to_frames, to_image, to_pictures

PIXELS = np.array(picture(1, 6, 4))  # 4 rows of 6
CHANNELS_FIRST = torch.from_numpy(PIXELS).permute(2, 0, 1)


@pytest.mark.parametrize(
    "form",
    [picture(1, 6, 4), PIXELS, CHANNELS_FIRST, CHANNELS_FIRST[None], CHANNELS_FIRST / 255],
    ids=["PIL", "array", "tensor", "batch of one", "float"],
)
def test_every_form_gives_the_same_pixels(form):
    assert (np.array(to_image(form)) == PIXELS).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_mode_of_a_file_becomes_rgb(tmp_path, mode):
    path = tmp_path / "picture.tiff"
    picture(1, 8, 8).convert(mode).save(path)
    assert to_image(path).mode == "RGB"
    assert to_image(str(path)).size == (8, 8)


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, 6, 4).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert (np.array(to_image(tmp_path / "turned.png")) == PIXELS).all()


REFUSED = [
    (CHANNELS_FIRST.float(), r"values in \[\d+, 2\d\d\]: expected \[0, 1\]"),
    (CHANNELS_FIRST / 127.5 - 1, r"expected \[0, 1\]"),
    (torch.full((3, 4, 4), float("nan")), r"values in \[nan, nan\]: expected \[0, 1\]"),
    (CHANNELS_FIRST.int(), "torch.int32: expected uint8, or float"),
    (CHANNELS_FIRST[:1], r"shape \(1, 4, 6\): expected \(3, H, W\)"),
    (CHANNELS_FIRST[None].expand(2, -1, -1, -1), r"shape \(2, 3, 4, 6\)"),
    (PIXELS / 255, r"float64: expected \(H, W, 3\), uint8"),
    (PIXELS.transpose(2, 0, 1), r"shape \(3, 4, 6\), uint8: expected \(H, W, 3\)"),
    (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
    (np.zeros((0, 4, 3), np.uint8), "a picture of 4 x 0 px|array"),
    (Image.new("RGB", (1, 1)), "a picture of 1 x 1 px: expected 2 x 2 or more"),
    (Image.new("RGB", (2000, 10)), "a picture of 2000 x 10 px.*at most 1:100"),
    (None, "a picture of type NoneType"),
    (b"bytes", r"5 bytes: not a readable picture \(of no known format\)"),
]


@pytest.mark.parametrize(("form", "message"), REFUSED)
def test_anything_else_is_refused(form, message):
    with pytest.raises(ImageError, match=message):
        to_image(form)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.png: not a readable picture"):
        to_image(path)


def test_a_picture_whose_file_was_cut_off_is_refused(tmp_path):
    picture(1, 200, 200).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:5000])
    with pytest.raises(ImageError, match=r"cut\.png: not a readable picture"):
        to_image(tmp_path / "cut.png")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        to_image(tmp_path / "absent.png")


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_an_array_and_a_tensor_with_alpha_are_composited_as_pil_is(alpha):
    rgba = np.dstack([PIXELS, np.full(PIXELS.shape[:2], alpha, np.uint8)])
    expected = np.array(to_image(Image.fromarray(rgba)))
    for form in (rgba, torch.from_numpy(rgba).permute(2, 0, 1), torch.from_numpy(rgba).permute(2, 0, 1)[None]):
        assert (np.array(to_image(form)) == expected).all()


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("HTTP://example.com:80/a.png?b=c", "HTTP://example.com:80/a.png?b=c"),
        ("s3://bucket/a.png", "s3://bucket/a.png"),
        ("hf://datasets/x/a.png", "hf://datasets/x/a.png"),
    ],
)
def test_an_address_is_refused_as_one_with_both_slashes(kind, address, shown):
    with pytest.raises(ImageError) as refused:
        to_image(kind(address))
    assert str(refused.value) == f"{shown}: addresses are not opened; download it, and give its path"


def test_an_address_in_a_text_is_shown_as_it_is():
    with pytest.raises(ImageError, match=r"^file:///home/me//a\.png: addresses are not opened"):
        to_image("file:///home/me//a.png")


def test_a_data_url_is_refused_as_one():
    with pytest.raises(ImageError, match="data URLs are not opened; decode it, and give its bytes"):
        to_image("data:image/png;base64," + "iVBORw0KGgo" * 100)


def test_a_file_in_a_folder_with_a_colon_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("at:").mkdir()
    picture(1, 6, 4).save("at:/a.png")
    assert to_image("at:/a.png").size == (6, 4)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_are_one_picture_and_not_a_list_of_numbers(tmp_path, kind):
    picture(1, 6, 4).save(tmp_path / "a.png")
    content = kind((tmp_path / "a.png").read_bytes())
    assert [image.size for image in to_pictures(content)] == [(6, 4)]
    assert to_frames(content, 16).shape == to_frames([content], 16).shape == (1, 3, 16, 16)


def animation(folder, suffix, num_frames=3):
    path = folder / f"clip.{suffix}"
    first, *rest = [Image.new("RGB", (16, 16), (80 * k, 0, 255 - 80 * k)) for k in range(num_frames)]
    first.save(path, save_all=True, append_images=rest, duration=100)
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, Image.open])
def test_an_animation_in_the_place_of_a_frame_is_refused(tmp_path, suffix, form):
    frame = form(animation(tmp_path, suffix))
    for clip in (frame, [frame], [picture(1, 16, 16), frame]):
        with pytest.raises(
            ImageError, match="an animation of 3 frames, in the place of one: give a list of its frames"
        ):
            to_frames(clip, 16)
    assert to_image(frame).size == (16, 16)  # as a picture it is its first frame


def test_a_file_of_one_frame_and_a_photo_with_its_preview_are_frames(tmp_path):
    picture(1, 16, 16).save(tmp_path / "one.gif")
    assert to_frames([tmp_path / "one.gif"], 16).shape == (1, 3, 16, 16)
    picture(1, 16, 16).save(tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[picture(2, 8, 8)])
    assert to_frames([tmp_path / "two.jpg"], 16).shape == (1, 3, 16, 16)


def test_a_list_and_a_batch_are_several_pictures():
    batch = torch.stack([CHANNELS_FIRST, CHANNELS_FIRST.flip(1)])
    for form in (
        batch,
        list(batch),
        batch.permute(0, 2, 3, 1).numpy(),
        [PIXELS, PIXELS[::-1]],
        (picture(1, 6, 4), Image.fromarray(PIXELS[::-1].copy())),
    ):
        first, second = to_pictures(form)
        assert (np.array(first) == PIXELS).all()
        assert (np.array(second) == PIXELS[::-1]).all()
    assert len(to_pictures(PIXELS)) == 1


def test_a_clip_keeps_its_frames_in_order_whatever_its_form():
    frames = [np.full((16, 16, 3), value, np.uint8) for value in (0, 50, 100, 150, 200)]
    stacked = np.stack(frames)
    for form in (frames, stacked, torch.from_numpy(stacked).permute(0, 3, 1, 2), [Image.fromarray(f) for f in frames]):
        clip = to_frames(form, 16)
        assert (clip.shape, clip.dtype) == ((5, 3, 16, 16), torch.uint8)
        assert clip[:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]


def test_one_picture_is_a_clip_of_one_frame_squashed_to_a_square():
    left_half_white = np.zeros((20, 40, 3), np.uint8)
    left_half_white[:, :20] = 255
    clip = to_frames(left_half_white, 16)
    assert clip.shape == (1, 3, 16, 16)
    assert clip[0, 0, :, 1].tolist() == [255] * 16
    assert clip[0, 0, :, 14].tolist() == [0] * 16


def test_a_picture_of_the_right_size_is_not_resampled():
    assert (to_frames(picture(1, 16, 16), 16)[0].permute(1, 2, 0).numpy() == np.array(picture(1, 16, 16))).all()


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ImageError, match="a clip without frames"):
        to_frames([], 16)


def test_the_bytes_of_a_picture_file_are_a_picture(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")

    assert to_image((tmp_path / "a.png").read_bytes()).size == (4, 3)


def test_an_error_in_the_place_of_a_picture_is_raised_when_it_is_looked_at():
    with pytest.raises(ImageError, match="no box"):
        to_image(ImageError("no box"))


def test_a_picture_that_is_rgb_stays_itself():
    given = picture(0)
    assert to_image(given) is given
    grey = Image.new("L", (4, 3))
    assert to_image(grey).mode == "RGB"
    assert grey.mode == "L"


def test_a_picture_of_an_open_file_outlives_it(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as file:
        image = to_image(file)
    assert (np.array(image) == PIXELS).all()
