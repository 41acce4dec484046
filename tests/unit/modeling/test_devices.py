"""A model is the same wherever its parts lie: on one device, on several, on the disk, its world on another."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures_devices import Placed
from fixtures_model import picture
from theworld import TheWorld
from theworld.modeling.cache_name import CACHE
from theworld.modeling.devices import keep_world_in_memory
from theworld.modeling.generation import conversation
from theworld.world.factory import open_tap

TEXT = "model.language_model"
LAYERS = [f"{TEXT}.layers.{number}" for number in range(6)]
TOWER = ["model.vision_tower", "model.multi_modal_projector"]
EMBEDDINGS = [f"{TEXT}.embed_tokens", "lm_head"]
END = [f"{TEXT}.norm", f"{TEXT}.rotary_emb"]


def everything(place: Any, **others: list[str]) -> dict[str, Any]:
    """Every part of Gemma on one device; the named ones on another: `everything("cpu", disk=LAYERS)`."""
    modules = [*TOWER, *EMBEDDINGS, *LAYERS, *END]
    return {**dict.fromkeys(modules, place), **{name: other for other, names in others.items() for name in names}}


TWO = {**everything("cuda:0"), **dict.fromkeys([*LAYERS[3:], *END], "cuda:1")}
"""As accelerate would spread Gemma over two devices."""


def load(**options: Any) -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny", **options).eval()


def plain(tensor: Any) -> Tensor:
    """An ordinary tensor of the same numbers."""
    return tensor.held if isinstance(tensor, Placed) else tensor


def said(model: TheWorld) -> list[Tensor]:
    """Logits of a forward pass over a picture and a question, and of each of three words of the answer."""
    if model.config.world_fusion == "residual":
        model.world.gate.data.fill_(0.5)  # closed, it would hide the world
    inputs = conversation(model, [picture(1)], "Which bin?")
    options: Any = {"max_new_tokens": 3, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    with torch.no_grad():
        logits = model(**inputs).logits
    return [plain(one) for one in (logits, *model.generate(**inputs, **options).logits)]


@pytest.fixture(scope="module")
def whole() -> dict[str, list[Tensor]]:
    """What a model says that lies on one device, by its fusion."""
    return {fusion: said(load(world_fusion=fusion)) for fusion in ("tokens", "residual")}


def farthest(some: list[Tensor], others: list[Tensor]) -> float:
    return max((one - other).abs().max().item() for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize(
    ("fusion", "on_disk"),
    [("tokens", TOWER), ("tokens", ["world"]), ("tokens", [*TOWER, *LAYERS, *END]), ("residual", [*TOWER, *LAYERS])],
    ids=["tower", "world", "all-layers", "residual"],
)
def test_what_lies_on_the_disk_changes_nothing(
    fusion: str, on_disk: list[str], whole: dict[str, list[Tensor]], tmp_path: Any
) -> None:
    model = load(device_map=everything("cpu", disk=on_disk), offload_folder=tmp_path, world_fusion=fusion)
    assert {weight.device.type for weight in model.world.parameters()} == {"cpu"}
    assert on_disk == ["world"] or any(weight.is_meta for weight in model.parameters())
    assert all(torch.equal(one, other) for one, other in zip(said(model), whole[fusion], strict=True))


def test_plain_gemma_is_spread_as_it_is(tmp_path: Any, accelerators: Any) -> None:
    ids = torch.tensor([[2, 5, 6, 7]])
    with torch.no_grad():
        expected = load(enable_world=False)(input_ids=ids).logits
        offloaded = load(enable_world=False, device_map=everything("cpu", disk=LAYERS), offload_folder=tmp_path)
        assert torch.equal(offloaded(input_ids=ids).logits, expected)
    with accelerators():
        spread = plain(load(enable_world=False, device_map=TWO)(input_ids=ids).logits)
    assert farthest([spread], [expected]) < 1e-5


def test_a_projector_is_drawn_to_the_size_of_embeddings_on_the_disk(
    whole: dict[str, list[Tensor]], tmp_path: Any
) -> None:
    model = load(device_map={"": "disk"}, offload_folder=tmp_path)
    assert model.get_input_embeddings().weight.is_meta
    assert str(model.device) == "cpu"
    assert model.world.scale[0].item() == pytest.approx(load().world.scale[0].item(), rel=1e-5)
    assert farthest(said(model), whole["tokens"]) < 1e-5


@pytest.mark.parametrize("most", ["1MB", "2MB"])
def test_auto_keeps_to_the_memory_that_it_is_given(most: str, whole: dict[str, list[Tensor]], tmp_path: Any) -> None:
    model = load(device_map="auto", max_memory={"cpu": most}, offload_folder=tmp_path)
    assert "disk" in model.hf_device_map.values()
    assert model.hf_device_map["world"] == "cpu"
    assert farthest(said(model), whole["tokens"]) < 1e-5


def test_a_device_map_that_is_given_stays_as_it_is(tmp_path: Any) -> None:
    given = everything("cpu", disk=LAYERS)
    load(device_map=given, offload_folder=tmp_path)
    assert given == everything("cpu", disk=LAYERS)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"": 0}, {"": 0}),
        ({"": "cpu"}, {"": "cpu"}),
        ({"": "disk"}, {"model": "disk", "lm_head": "disk", "world": "cpu"}),
        ({"model": 0, "lm_head": 1, "world": 1}, {"model": 0, "lm_head": 1, "world": 0}),
        ({"model": 0, "": "cpu"}, {"model": 0, "lm_head": "cpu", "world": 0}),
        ({"model": "cpu", "lm_head": 1}, {"model": "cpu", "lm_head": 1, "world": 1}),
        ({EMBEDDINGS[0]: "cuda:1", "lm_head": 0, "world.projector": "disk"}, {EMBEDDINGS[0]: "cuda:1", "lm_head": 0}),
    ],
)
def test_our_layers_are_put_beside_gemmas_embeddings(given: dict[str, Any], kept: dict[str, Any]) -> None:
    device_map = dict(given)
    keep_world_in_memory(device_map, ["model", "lm_head", "world"])
    assert device_map == ({**kept, "world": "cuda:1"} if EMBEDDINGS[0] in kept else kept)


@pytest.mark.parametrize("trained", [{"freeze_gemma_language": False}, {"lora": {"targets": ["language"]}}])
def test_what_trains_is_not_left_on_the_disk(trained: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"device_map leaves (language|adapters) on .* keeps them in memory"):
        load(device_map=everything("cpu", disk=LAYERS), offload_folder=tmp_path, **trained)


def test_trained_weights_are_not_lost_on_the_way_to_the_disk(tmp_path: Any) -> None:
    load(freeze_gemma_language=False).save_pretrained(tmp_path / "saved")
    options = {"device_map": everything("cpu", disk=LAYERS), "offload_folder": tmp_path / "disk"}
    with pytest.raises(ValueError, match="device_map leaves language on the CPU or the disk"):
        TheWorld.from_pretrained(tmp_path / "saved", **options)


def test_a_checkpoint_is_the_same_on_the_disk(tmp_path: Any) -> None:
    model = load(world_grid=4)
    model.world.markers.data.add_(1.0)
    model.save_pretrained(tmp_path / "saved")
    options = {"device_map": everything("cpu", disk=[*EMBEDDINGS, *LAYERS]), "offload_folder": tmp_path / "disk"}
    again = TheWorld.from_pretrained(tmp_path / "saved", **options).eval()
    assert farthest(said(again), said(model.eval())) == 0
    again.save_pretrained(tmp_path / "again")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("saved", "again")]
    assert files[0] == files[1]


# --- several accelerators: a CPU stands in ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "fusion", "inputs_at"),
    [
        ({"device_map": TWO, "world_device": "cuda:1"}, "tokens", "cuda:0"),
        ({"device_map": TWO, "world_device": "cpu"}, "residual", "cuda:0"),
        ({"device_map": {**TWO, EMBEDDINGS[0]: "cuda:1", "lm_head": "cuda:1"}}, "tokens", "cuda:1"),
        ({"device_map": "cuda:0", "world_device": "cpu"}, "tokens", "cuda:0"),
        ({"world_device": "cuda:1"}, "tokens", "cpu"),
    ],
    ids=["two", "two-and-the-cpu", "embeddings-last", "gemma-alone", "world-alone"],
)
def test_several_devices_say_what_one_says(
    places: dict[str, Any], fusion: str, inputs_at: str, whole: dict[str, list[Tensor]], accelerators: Any
) -> None:
    with accelerators():
        model = load(world_fusion=fusion, **places)
        spread = said(model)
    assert str(model.device) == inputs_at
    assert {str(weight.device) for weight in model.world.parameters()} == {inputs_at}
    assert str(model.tap.vae.device) == places.get("world_device", inputs_at)
    assert farthest(spread, whole[fusion]) < 1e-5


@pytest.mark.parametrize("tap", ["dit", "rollout", "siglip", "noise", "random"])
def test_every_tap_reads_on_the_device_that_it_is_given(tap: str, accelerators: Any) -> None:
    options = {"world_tap": tap, "num_world_steps": int(tap in ("dit", "rollout")), "num_inference_steps": 3}
    frames = torch.arange(64 * 64 * 3).remainder(251).to(torch.uint8).view(1, 1, 3, 64, 64)
    settings = load(load_world=False, **options).config.world_settings()
    expected = open_tap(settings).read(frames, options["num_world_steps"], [1])
    with accelerators():
        features = open_tap(settings, "cuda:1").read(frames, options["num_world_steps"], [1])
    assert str(features.device) == "cuda:1"
    assert farthest([plain(features)], [expected]) < 1e-4


def loss(model: TheWorld) -> Tensor:
    inputs = conversation(model, [picture(1)], "Which bin?")
    return plain(model(**inputs, labels=inputs["input_ids"]).loss)


def imitation(model: TheWorld) -> Tensor:
    inputs = conversation(model, [picture(1)], "Which bin?")
    pictures = inputs.pop("pixel_values")
    return plain(model(**inputs, slot_pixel_values=pictures[:, None]).loss)


def keys_of_a_question(model: TheWorld) -> Tensor:
    inputs = model.look(picture(1)).inputs("Which bin?")
    assert inputs["input_ids"].device == model.device
    return plain(inputs[CACHE].layers[5].keys)


@pytest.mark.parametrize("found", [loss, imitation, keys_of_a_question])
def test_what_is_computed_on_two_devices_is_the_same(found: Any, accelerators: Any) -> None:
    expected = found(load())
    with accelerators():
        spread = found(load(device_map={**TWO, TOWER[1]: "cuda:1"}))  # Gemma's image tokens come from elsewhere, too
    assert farthest([spread], [expected]) < 1e-5


def test_the_stand_in_refuses_what_an_accelerator_would(accelerators: Any) -> None:
    with accelerators():
        here, there = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:1")
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            here + torch.ones(2)
        assert (here + torch.tensor(1.0)).tolist() == [2.0, 2.0]  # a number may lie anywhere
        assert str((here.to("cuda:1") * there).device) == "cuda:1"
