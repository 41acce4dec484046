"""Videos in a chat: the world model reads the clip, and Gemma sees its last frame."""

from typing import Any

import numpy as np
import pytest
import torch

from fixtures_model import picture, user
from theworld import TheWorld, TheWorldProcessor

FRAMES = [picture(seed) for seed in range(5)]


def chat(frames: Any) -> list[dict[str, Any]]:
    content = [{"type": "video", "video": frames}, {"type": "text", "text": "What happens?"}]
    return [{"role": "user", "content": content}]


def rated(frames: Any, rate_hz: float) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "video", "video": frames, "frame_rate": rate_hz}]}]


def encoded(processor: TheWorldProcessor, conversation: Any, **options: Any) -> dict[str, Any]:
    return dict(
        processor.apply_chat_template(
            conversation,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"padding": True},
            **options,
        )
    )


def pixels(frames: Any) -> np.ndarray:
    return np.stack([np.asarray(frame) for frame in frames])


@pytest.mark.parametrize(
    "frames",
    [FRAMES, pixels(FRAMES), torch.from_numpy(pixels(FRAMES)).permute(0, 3, 1, 2)],
    ids=["pictures", "array", "tensor"],
)
def test_a_video_is_a_clip_beside_its_last_frame(processor: TheWorldProcessor, frames: Any) -> None:
    given = encoded(processor, chat(frames))
    by_hand = encoded(processor, [user("What happens?", FRAMES[-1])], world=[FRAMES])
    assert given.keys() == by_hand.keys()
    assert given["world_pixels"].shape == (1, 5, 3, 64, 64)
    assert all(np.array_equal(given[name], by_hand[name]) for name in given)


def test_rows_of_a_batch_have_a_video_each_and_the_model_answers(fused: TheWorld) -> None:
    inputs = encoded(fused.processor, [chat(FRAMES), chat(FRAMES[::-1])])
    assert inputs["world_pixels"].shape == (2, 5, 3, 64, 64)
    assert fused.generate(**inputs, max_new_tokens=2).shape[0] == 2


def test_without_the_world_gemma_sees_the_last_frame(world_off: TheWorld) -> None:
    given = encoded(world_off.processor, chat(FRAMES))
    assert torch.equal(given["pixel_values"], encoded(world_off.processor, [user("?", FRAMES[-1])])["pixel_values"])


@pytest.mark.parametrize(
    ("conversation", "options", "message"),
    [
        (chat("clip.mp4"), {}, "clip.mp4: no such file"),
        (chat([]), {}, "a video given as no frames"),
        (chat(None), {}, "a video given as a NoneType"),
        (chat(FRAMES), {"world": [FRAMES]}, "give one of them"),
        ([{"role": "user", "content": [*chat(FRAMES)[0]["content"], "What?"]}], {}, "the part 'What\\?': expected"),
        (rated(FRAMES, 1e-320), {}, "frame_rate=1e-320: expected 0.000001 to"),
        (rated(FRAMES, float("inf")), {}, "frame_rate=inf: expected 0.000001 to"),
        (rated("clip.mp4", 5), {}, "frame_rate beside a video file"),
        ([{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}], {}, "parts of type audio"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}], {}, "parts of type image_url"),
    ],
)
def test_a_part_that_cannot_be_shown_is_refused_in_one_line(
    processor: TheWorldProcessor, conversation: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        encoded(processor, conversation, **options)
    assert "\n" not in str(caught.value)
