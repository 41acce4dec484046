"""The tap `v-jepa2` gives the states of transformers' own model and processor, on random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VJEPA2Model, VJEPA2VideoProcessor

from theworld import tiny
from theworld.config import WorldSettings
from theworld.world.factory import open_tap, tap_fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_world("v-jepa2", tmp_path_factory.mktemp("v-jepa2") / "checkpoint")


@pytest.fixture(scope="module")
def settings(folder: Path) -> Callable[..., WorldSettings]:
    def of(tap: Any = "v-jepa2", **changes: Any) -> WorldSettings:
        return WorldSettings(tap=tap, **{"cosmos_model_name": str(folder), "image_size_px": 64, **changes})

    return of


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.randint(0, 256, (2, 9, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def encode(model: Any, frames: Tensor) -> tuple[Tensor, Any]:
    """The video of transformers' processor, the first frame twice, and the model's output on it."""
    processor = VJEPA2VideoProcessor(do_resize=False, do_center_crop=False)
    video = processor(list(torch.cat([frames[:, :1], frames], dim=1)), return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        return video, model(video)


def test_given_slots_are_the_last_tubelets_of_the_encoder(
    settings: Callable[..., WorldSettings], folder: Path, clips: Tensor
) -> None:
    _, output = encode(VJEPA2Model.from_pretrained(folder), clips[:, :5])
    features = open_tap(settings()).read(clips[:, :5], 0, [1, 2])
    assert features.shape == (2, 48, 2, 4, 4)
    tubelets = output.last_hidden_state.unflatten(1, (3, 16))
    for slot, tubelet in ((0, 0), (1, 2)):
        assert torch.allclose(features[:, :, slot].flatten(2).mT, tubelets[:, tubelet], atol=1e-5)


def test_future_slots_are_the_predictors_states_of_masked_tubelets(
    settings: Callable[..., WorldSettings], folder: Path, clips: Tensor
) -> None:
    model: Any = VJEPA2Model.from_pretrained(folder)
    _, output = encode(model, clips[:, :5])
    positions = torch.arange(5 * 16).expand(2, -1)  # three tubelets are given, two are masked
    with torch.no_grad():
        predicted = model.predictor(output.last_hidden_state, [positions[:, :48]], [positions[:, 48:]])
    features = open_tap(settings()).read(clips[:, :5], 1, [1, 2])
    assert features.shape == (2, 48, 3, 4, 4)
    second = predicted.last_hidden_state.unflatten(1, (2, 16))[:, 1]
    assert torch.allclose(features[:, :, 2].flatten(2).mT, second, atol=1e-5)


def test_the_masked_predictor_of_a_whole_video_gives_the_same_states(
    settings: Callable[..., WorldSettings], folder: Path, clips: Tensor
) -> None:
    """`VJEPA2Model.forward` predicts patches of the video that it encodes: its second slot from its first."""
    model: Any = VJEPA2Model.from_pretrained(folder)
    video, _ = encode(model, clips[:, :5])
    first, rest = torch.arange(3 * 16).expand(2, -1).split([16, 32], dim=1)
    with torch.no_grad():
        alone = model.encoder(video[:, :2]).last_hidden_state
        output = model(video, context_mask=[first], target_mask=[rest])
        expected = model.predictor(torch.cat([alone, torch.zeros(2, 32, 48)], 1), [first], [rest]).last_hidden_state
    features = open_tap(settings()).read(clips[:, :1], 1, [1, 2])
    assert torch.allclose(features[:, :, 1].flatten(2).mT, expected[:, 16:], atol=1e-5)
    assert output.predictor_output.last_hidden_state.shape == expected.shape


def test_true_future_is_the_encoder_and_random_has_other_weights(
    settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    whole = open_tap(settings()).read(clips, 0, [1, 2])
    assert torch.equal(open_tap(settings("true-future", control_of="v-jepa2")).read(clips, 1, [1, 2]), whole)
    drawn, again = (open_tap(settings("random", control_of="v-jepa2")).read(clips, 0, [1, 2]) for _ in range(2))
    assert torch.equal(drawn, again)
    assert (drawn - whole).abs().max() > 0.1


def test_the_fingerprint_follows_weights_and_no_setting_of_a_denoiser(
    settings: Callable[..., WorldSettings], tmp_path: Path
) -> None:
    there = tiny.build_world("v-jepa2", tmp_path / "copy")
    place = {"cosmos_model_name": str(there)}
    assert tap_fingerprint(settings(**place)) == tap_fingerprint(settings())
    assert tap_fingerprint(settings(seed=5, dit_block=1, frame_rate_hz=4.0)) == tap_fingerprint(settings())
    file = there / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert tap_fingerprint(settings(**place)) != tap_fingerprint(settings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cosmos_model_name": "tiny"}, "reads a V-JEPA 2 checkpoint: name one, such as facebook/vjepa2"),
        ({"image_size_px": 224}, "image_size_px=224: V-JEPA 2 in .* sees 64 px"),
        ({"cosmos_revision": "abc"}, "drop it"),
    ],
    ids=str,
)
def test_what_it_cannot_read_is_refused_in_one_line(
    settings: Callable[..., WorldSettings], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        open_tap(settings(**changes))
    assert "\n" not in str(refusal.value)


def test_another_model_or_missing_weights_are_refused_in_one_line(
    settings: Callable[..., WorldSettings], tmp_path: Path, stack: Path
) -> None:
    with pytest.raises(ValueError, match=r"the model_type 'gemma3'; expected 'vjepa2'") as refusal:
        open_tap(settings(cosmos_model_name=str(stack / "gemma")))
    assert "\n" not in str(refusal.value)
    broken = tiny.build_world("v-jepa2", tmp_path / "broken")
    file = broken / "model.safetensors"
    tensors = load_file(file)
    del tensors["encoder.layernorm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 tensors \['encoder.layernorm.weight'\]") as refusal:
        open_tap(settings(cosmos_model_name=str(broken)))
    assert "\n" not in str(refusal.value)
    file.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="missing, damaged or half-downloaded weights") as refusal:
        open_tap(settings(cosmos_model_name=str(broken)))
    assert "\n" not in str(refusal.value)
