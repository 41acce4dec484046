"""Arguments by the names that other code uses: taken, or refused in one line before anything loads."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures_hub import HubStandIn, hub  # noqa: F401
from fixtures_model import encode, picture, user
from theworld import TheWorld, TheWorldProcessor
from theworld.modeling.model import TheWorld as Model

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "8 bits": ({"load_in_8bit": True}, r"quantization_config=BitsAndBytesConfig\(load_in_8bit=True\)"),
    "4 bits": ({"load_in_4bit": True}, r"quantization_config=BitsAndBytesConfig\(load_in_4bit=True\)"),
    "flash": ({"use_flash_attention_2": True}, 'use attn_implementation="flash_attention_2"'),
    "private attention": ({"_attn_implementation": "sdpa"}, "did you mean attn_implementation"),
    "precision": ({"precision": "bf16"}, "use dtype="),
    "a setting of Gemma": ({"output_attentions": True}, "no setting of TheWorld, and none of transformers'"),
    "no quantization": ({"quantization_config": "int8"}, "quantization_config=str: expected a quantization config"),
    "two names": ({"hf_token": "a", "token": "b"}, "both hf_token and token"),
    "two devices": ({"device": "cpu", "device_map": "auto"}, "both device and device_map"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_argument_that_nobody_takes_is_refused_in_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "_load_base", None)  # nothing loads
    arguments, message = REFUSED[case]
    with pytest.raises(TypeError, match=message) as caught:
        TheWorld.from_pretrained("tiny", **arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_former_names_are_taken_with_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="theworld"):
        model = TheWorld.from_pretrained("tiny", device="cpu", hf_token=None, attn_implementation="eager")
    assert model.device == torch.device("cpu")
    assert model.config._attn_implementation == "eager"
    assert "device is now device_map" in caplog.text or caplog.text == ""  # announced once per process


def test_the_whole_cosmos_pipeline_means_the_tap_that_needs_it() -> None:
    for given, tap in ((True, "rollout"), (False, "vae")):
        processor = TheWorldProcessor.from_pretrained("tiny", load_full_cosmos_pipeline=given)
        assert processor.world_tap == tap
    assert TheWorldProcessor.from_pretrained("tiny", load_full_cosmos_pipeline=True, world_tap="dit").world_tap == "dit"


@pytest.mark.parametrize("arguments", [("google/gemma-3-4b-it",), ("google/gemma-3-4b-it", 2), (None,)])
def test_the_constructor_names_from_pretrained(arguments: tuple[Any, ...]) -> None:
    name, *steps = arguments
    with pytest.raises(TypeError, match=r"use TheWorld.from_pretrained\(") as caught:
        TheWorld(name, **({"num_world_steps": steps[0]} if steps else {}))
    assert "\n" not in str(caught.value)


def test_k_without_a_tap_means_rollout_and_equals_vae_at_zero() -> None:
    ahead = TheWorld.from_pretrained("tiny", num_world_steps=2, num_inference_steps=2).eval()
    assert (ahead.config.world_tap, ahead.config.num_world_steps) == ("rollout", 2)
    vae = TheWorld.from_pretrained("tiny").eval()
    assert vae.config.world_tap == "vae"
    frames = vae.processor.world_frames([[picture(1)], [picture(2)]])
    assert frames is not None
    assert torch.equal(ahead.read_world(frames, 0), vae.read_world(frames, 0))
    assert ahead.read_world(frames, 2).shape == (2, 16, 3, 8, 8)
    assert TheWorld.from_pretrained("tiny", num_world_steps=2, world_repeat_current=True).config.world_tap == "vae"
    assert TheWorldProcessor.from_pretrained("tiny", num_world_steps=2).world_tap == "rollout"
    with pytest.raises(ValueError, match=r'needs a tap that looks ahead \(world_tap="rollout"'):
        vae.generate(picture(), "Which bin?", num_world_steps=2)


def test_a_checkpoint_of_the_tap_vae_is_loaded_with_k_through_rollout(checkpoint: Path) -> None:
    model = TheWorld.from_pretrained(checkpoint, num_world_steps=2)
    plain = TheWorld.from_pretrained(checkpoint)
    assert (model.config.world_tap, plain.config.world_tap) == ("rollout", "vae")
    assert torch.equal(model.world.markers, plain.world.markers)
    assert isinstance(model.generate(picture(), "Which bin?", max_new_tokens=2), str)


def test_k_given_twice_is_refused_without_the_layers_of_the_model(fused: TheWorld) -> None:
    batch = encode(fused.processor, [[user("Which bin?", picture(1))]])
    with pytest.raises(TypeError, match=r"TheWorld\(\) got multiple values for .*num_world_steps") as caught:
        fused(**batch, num_world_steps=2)
    assert "\n" not in str(caught.value)


def test_a_new_world_follows_weights_that_are_asked_for_in_bfloat16(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"cosmos_model_name": str(stack / "cosmos"), "world_image_size": 64, "frame_rate_hz": 6.0}

    def load(name: Any = stack / "gemma", **options: Any) -> TheWorld:
        return TheWorld.from_pretrained(name, **({} if name in ("tiny", tmp_path) else world), **options)

    monkeypatch.setattr("theworld.modeling.loading.is_emulated", lambda dtype, device=None: False)
    model: Any = load(dtype=torch.bfloat16)
    assert (model.config.world_dtype, model.tap.vae.dtype) == ("bfloat16", torch.bfloat16)
    assert load(dtype="bfloat16", world_dtype="float32").config.world_dtype == "float32"
    assert load(torch_dtype=torch.float16).config.world_dtype == "float32"
    assert load().config.world_dtype == "float32"
    assert load("tiny", dtype=torch.bfloat16).config.world_dtype == "float32"  # the same features everywhere
    load(world_dtype="float32").save_pretrained(tmp_path)
    assert load(tmp_path, dtype=torch.bfloat16).config.world_dtype == "float32"  # the checkpoint's own rules

    monkeypatch.setattr("theworld.modeling.loading.is_emulated", lambda dtype, device=None: dtype == "bfloat16")
    assert load(dtype=torch.bfloat16).config.world_dtype == "float32"


@pytest.mark.parametrize(
    "place", ["checkpoint-10", "checkpoint-10/pytorch_model.bin", "checkpoint-10/model.safetensors"]
)
def test_a_file_of_weights_names_its_folder_on_the_hub(hub: HubStandIn, checkpoint: Path, place: str) -> None:  # noqa: F811
    files = {f"checkpoint-10/{path.name}": path.read_bytes() for path in checkpoint.iterdir()}
    hub.repositories["some-one/theworld"], hub.private["some-one/theworld"], hub.num_commits = files, False, 3
    model = TheWorld.from_checkpoint_hub("some-one/theworld", checkpoint_name=place, hf_token=hub.token)
    assert model.config.world_grid == 4
    assert Path(str(model.config.name_or_path)).name == "checkpoint-10"
