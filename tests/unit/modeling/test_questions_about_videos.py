"""Questions about videos: beside pictures, in batches, cut, with several frames for Gemma, and refused ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures_clips import RATE_HZ, Decoder, animation, film, moving_square
from fixtures_model import picture
from theworld import TheWorld, TheWorldProcessor
from theworld.datasets.video import ClipRule, read_clip
from theworld.modeling import chats
from theworld.modeling.introspection import imagine

SHORT: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
FRAMES = moving_square()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "clip.mp4")


def encoded(processor: TheWorldProcessor, *parts: Any, **options: Any) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "What happens?"}]
    encode = processor.apply_chat_template
    chat = [{"role": "user", "content": content}]
    return dict(encode(chat, tokenize=True, return_dict=True, return_tensors="pt", **options))


def video(source: Any, **cut: Any) -> dict[str, Any]:
    return {"type": "video", "video": source, **cut}


# --- beside pictures, and in batches ---------------------------------------------------------------------------


def test_a_picture_beside_a_video_is_a_video_of_one_frame(processor: TheWorldProcessor, clip: Path) -> None:
    inputs = encoded(processor, {"type": "image", "image": picture(1)}, video(clip), video(clip, end=1.0))
    frames = inputs["world_pixels"]
    assert frames.shape == (3, 5, 3, 64, 64)
    assert torch.equal(frames[0], torch.from_numpy(np.asarray(picture(1))).permute(2, 0, 1).expand(5, -1, -1, -1))
    assert not torch.equal(frames[1], frames[2])
    assert len(inputs["pixel_values"]) == 3


@pytest.mark.parametrize("fusion", ["fused", "residual"])
def test_videos_and_pictures_belong_to_one_question(fusion: str, clip: Path, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(fusion)
    assert isinstance(model.generate([clip, picture(1), clip.read_bytes()], "Which?", **SHORT), str)
    assert isinstance(model.look([picture(1), clip]).ask("Which?", **SHORT), str)


def test_a_batch_of_videos_pictures_and_texts_is_answered_as_one_by_one(fused: TheWorld, clip: Path) -> None:
    media = [clip, picture(1), None, [picture(2), {"type": "video", "video": FRAMES, "frame_rate": RATE_HZ}]]
    questions = ["What happens?", "Which bin is it?", "Why?", "Is it the same, and where does it go?"]
    alone = [
        fused.generate(shown, question, output_logits=True, return_dict_in_generate=True, **SHORT)
        for shown, question in zip(media, questions, strict=True)
    ]
    assert fused.generate(media, questions, **SHORT) == alone
    assert len(set(alone)) > 1


def test_beams_keep_the_clips_of_their_row(fused: TheWorld, clip: Path, tmp_path: Path) -> None:
    other = film(tmp_path / "other.mp4", moving_square(seed=3))
    options = {**SHORT, "num_beams": 3}
    alone = [fused.generate(path, "What happens?", **options) for path in (clip, other)]
    assert fused.generate([clip, other], ["What happens?"] * 2, **options) == alone


@pytest.mark.parametrize("fusion", ["fused", "residual"])
def test_without_the_world_gemma_sees_the_last_frame(
    fusion: str, world_off: TheWorld, clip: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(fusion)
    last = read_clip(clip, model.config.clip_rule).frames[-1]
    expected = world_off.generate(last, "What happens?", **SHORT)
    assert world_off.generate(clip, "What happens?", **SHORT) == expected
    with model.without_world():
        assert model.generate(clip, "What happens?", **SHORT) == expected
        assert model.generate([clip, picture(1)], ["What happens?"] * 2, **SHORT)[0] == expected


# --- numbers of frames -----------------------------------------------------------------------------------------


def test_gemma_sees_several_frames_and_the_world_the_clip_once(clip: Path) -> None:
    model = TheWorld.from_pretrained("tiny", num_clip_frames=9, num_gemma_frames=3).eval()
    inputs = encoded(model.processor, video(clip))
    frames = read_clip(clip, ClipRule(6.0, 9)).frames
    assert inputs["world_pixels"].shape == (1, 9, 3, 64, 64)
    assert torch.equal(inputs["pixel_values"], model.processor.gemma_pixels([frames[0], frames[4], frames[8]]))
    assert isinstance(model.generate([clip, picture(1)], "What happens?", **SHORT), str)
    assert isinstance(model.look(clip).ask("What happens?", **SHORT), str)
    with model.without_world():
        assert len(encoded(model.processor, video(clip))["pixel_values"]) == 3


def test_residual_fusion_adds_the_clip_to_one_picture() -> None:
    with pytest.raises(ValueError, match="num_gemma_frames=2: residual fusion adds a clip to one picture"):
        TheWorld.from_pretrained("tiny", world_fusion="residual", num_gemma_frames=2)


@pytest.mark.parametrize(("past", "num_frames"), [(0, 1), (1, 5)])
def test_residual_fusion_sees_the_slots_that_it_was_built_for(past: int, num_frames: int, clip: Path) -> None:
    model = TheWorld.from_pretrained("tiny", world_fusion="residual", num_past_steps=past).eval()
    assert encoded(model.processor, video(clip))["world_pixels"].shape[1] == num_frames
    assert isinstance(model.generate(clip, "What happens?", **SHORT), str)


def test_the_number_of_frames_is_saved_and_can_change_at_loading(tmp_path: Path, clip: Path) -> None:
    TheWorld.from_pretrained("tiny", num_clip_frames=9, num_gemma_frames=2).save_pretrained(tmp_path / "model")
    again = TheWorld.from_pretrained(tmp_path / "model")
    assert (again.config.num_clip_frames, again.config.num_gemma_frames) == (9, 2)
    changed = TheWorld.from_pretrained(tmp_path / "model", num_clip_frames=1, num_gemma_frames=1)
    assert encoded(changed.processor, video(clip))["world_pixels"].shape[1] == 1

    again.processor.save_pretrained(tmp_path / "processor")
    saved = TheWorldProcessor.from_pretrained(tmp_path / "processor")
    assert saved.clip_rule == again.config.clip_rule == ClipRule(6.0, 9, 2)
    anew = TheWorldProcessor.from_pretrained(tmp_path / "processor", num_clip_frames=5, num_gemma_frames=1)
    assert anew.clip_rule == ClipRule(6.0, 5, 1)


def test_a_model_without_room_for_past_slots_has_clips_of_one_frame() -> None:
    assert TheWorld.from_pretrained("tiny", max_past_steps=0, load_world=False).config.num_clip_frames == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_clip_frames": 3}, r"num_clip_frames=3: expected 1 \+ 4j"),
        ({"num_clip_frames": 0}, "num_clip_frames=0"),
        ({"num_clip_frames": 9, "max_past_steps": 1}, "num_clip_frames=9: max_past_steps=1 allows 5"),
        ({"num_gemma_frames": 6}, "num_gemma_frames=6: expected 1 to 5"),
        ({"num_clip_frames": 3, "enable_world": False}, r"num_clip_frames=3: expected 1 \+ 4j"),
    ],
)
def test_numbers_that_no_clip_has_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TheWorld.from_pretrained("tiny", load_world=False, **settings)


# --- cut, and refused ------------------------------------------------------------------------------------------


def test_a_video_is_cut_by_seconds(processor: TheWorldProcessor) -> None:
    inputs = encoded(processor, video(FRAMES, frame_rate=RATE_HZ, start=0.5, end=1.0))
    expected = [FRAMES[number] for number in (6, 6, 8, 10, 12)]  # four frames at 6 a second; the first is repeated
    assert np.array_equal(inputs["world_pixels"][0].permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_a_note_is_said_once(processor: TheWorldProcessor, clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    chats.say_once.cache_clear()
    for _ in range(3):
        encoded(processor, video(clip))
    notes = [record.getMessage() for record in caplog.records if record.name == chats.logger.name]
    assert notes == ["The models see the last 5 of 12 frames at 6 a second."]


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a missing file": (video("none.mp4"), {}, "none.mp4: no such file"),
    "an address": ({"type": "video", "url": "https://example.com/a.mp4"}, {}, "addresses are not opened"),
    "a data URL": (video("data:video/mp4;base64,AAAA"), {}, "data URLs are not opened"),
    "no video": (video(b"no video at all"), {}, "expected MP4"),
    "another type": (video(3), {}, "a video given as a int"),
    "another library's key": (video(FRAMES, fps=2), {}, "fps: use frame_rate"),
    "an unknown key": (video(FRAMES, ends=2), {}, "ends: expected start, end, frame_rate"),
    "two sources": (video(FRAMES, path="a.mp4"), {}, "2 sources"),
    "a text as a time": (video(FRAMES, frame_rate=RATE_HZ, start="1"), {}, "start='1': expected a number"),
    "a start after the end": (video(FRAMES, frame_rate=RATE_HZ, start=2, end=1), {}, "end=1.0: expected 2 s"),
    "a start without a rate": (video(FRAMES, start=1), {}, "needs their frame rate"),
    "options of transformers": (video(FRAMES), {"num_frames": 8}, "num_frames: frames are chosen by the model's"),
    "sound of the video": (video(FRAMES), {"load_audio_from_video": True}, "load_audio_from_video: frames are chosen"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_video_that_cannot_be_shown_is_refused_in_one_line(processor: TheWorldProcessor, case: str) -> None:
    part, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=r".") as refused:
        encoded(processor, part, **options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_processor_takes_videos_in_chats_alone(processor: TheWorldProcessor, clip: Path) -> None:
    with pytest.raises(ValueError, match=r"no videos=: give each in its chat"):
        processor(text="What happens?", videos=[clip])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video": "a.mp4"}, r"no video: .* it is image here, which takes a video, too"),
        ({"videos": ["a.mp4"]}, r"no videos: .* it is image here, which takes a video, too"),
        ({"inputs": "a.mp4", "start": 1.0}, r"no start: give the video as a part of a chat"),
        ({"inputs": "a.mp4", "fps": 1.0}, r"no fps: give the video as a part of a chat"),
    ],
)
def test_generate_names_the_argument_that_was_meant(fused: TheWorld, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fused.generate(question="What happens?", **options)


def test_an_array_of_frames_is_pictures_unless_it_is_given_as_a_video(fused: TheWorld) -> None:
    with pytest.raises(ValueError, match="a part of type None in the place of a picture"):
        fused.generate({"array": FRAMES}, "What happens?")
    pictures = fused.generate(FRAMES[:3], "What happens?", **SHORT)
    assert pictures == fused.generate([Image.fromarray(frame) for frame in FRAMES[:3]], "What happens?", **SHORT)


# --- imagined futures ------------------------------------------------------------------------------------------


def test_the_future_of_every_form_of_a_video_is_imagined(clip: Path) -> None:
    model = TheWorld.from_pretrained("tiny", world_tap="rollout", num_inference_steps=2, num_world_steps=1).eval()
    frames = read_clip(clip, model.config.clip_rule)
    expected = imagine(model, list(frames.frames), 1)
    assert expected.shape[0] == 5 + 4
    for form in (clip, str(clip), clip.read_bytes(), frames, video(clip)):
        assert torch.equal(imagine(model, form, 1), expected)
    moving = [Image.fromarray(pixels) for pixels in FRAMES]
    given = animation(moving, "PNG")
    assert torch.equal(imagine(model, given, 1), imagine(model, Decoder(FRAMES), 1))
    assert len(imagine(model, moving[0], 1)) == 1 + 4
