"""What trains under each setting, and what does not."""

import pytest
import torch

from fixtures_model import picture
from theworld import TheWorld
from theworld.datasets import Sample, Turn
from theworld.datasets.collator import Collator
from theworld.modeling.freezing import PARTS, part_of

SETTINGS = [
    {"world_fusion": fusion, "freeze_gemma_vision": vision, "freeze_gemma_language": language}
    for fusion in ("tokens", "residual")
    for vision in (True, False)
    for language in (True, False)
]
SETTINGS += [
    {"enable_world": False, "freeze_gemma_vision": vision, "freeze_gemma_language": language}
    for vision, language in ((False, True), (True, False), (False, False))
]
SETTINGS += [
    {"freeze_cosmos_vae": False},
    {"freeze_cosmos_vae": False, "freeze_gemma_vision": False, "freeze_gemma_language": False},
    {"freeze_cosmos_vae": False, "world_fusion": "residual", "num_past_steps": 1},
]


def name_of(settings):
    return ", ".join(f"{name.replace('freeze_', '')}={value}" for name, value in settings.items())


def parts_that_train(settings):
    parts = {"world"} if settings.get("enable_world", True) else set()
    names = {"vision": "freeze_gemma_vision", "language": "freeze_gemma_language", "cosmos_vae": "freeze_cosmos_vae"}
    return parts | {part for part, name in names.items() if not settings.get(name, True)}


def samples():
    """A clip of five frames, so that the layers of the VAE that look back have something to see."""
    answers = ("red", "left it is")
    return [
        Sample(
            str(index),
            (Turn("user", "Which bin?"), Turn("assistant", answer)),
            (picture(index),),
            clips=([picture(10 * index + frame) for frame in range(5)],),
        )
        for index, answer in enumerate(answers)
    ]


def two_steps(model):
    """Two steps of AdamW; which parameters moved."""
    batch = Collator(model.processor, supervise=True)(samples())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(**batch).loss.backward()
        optimizer.step()
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


def has_no_gradient_by_construction(name):
    """A key's bias shifts all scores of a softmax alike: its gradient is zero, up to rounding."""
    return name.startswith("model.vision_tower.") and name.endswith("k_proj.bias")


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_each_trainable_parameter_moves_in_two_steps_and_no_other_does(settings):
    fixed = {"num_past_steps": 1} if settings.get("world_fusion") == "residual" else {}
    model = TheWorld.from_pretrained("tiny", **{**settings, **fixed})
    parts = parts_that_train(settings)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in model.named_parameters() if part_of(name) in parts}
    assert {part_of(name) for name in trainable} == parts
    moved = two_steps(model)
    assert moved <= trainable
    assert {name for name in trainable - moved if not has_no_gradient_by_construction(name)} == set()


@pytest.mark.parametrize(("vision", "projector"), [(True, False), (False, True)])
def test_the_projector_of_image_tokens_trains_without_its_tower_and_the_tower_without_it(vision, projector):
    model = TheWorld.from_pretrained(
        "tiny", enable_world=False, freeze_gemma_vision=vision, freeze_gemma_projector=projector
    )

    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    part = "multi_modal_projector" if vision else "vision_tower"
    assert trainable == {name for name, _ in model.named_parameters() if name.startswith(f"model.{part}.")}
    moved = two_steps(model)
    assert moved <= trainable
    assert {name for name in trainable - moved if not has_no_gradient_by_construction(name)} == set()


def test_a_projector_of_image_tokens_that_trained_alone_is_saved_and_read_back(tmp_path):
    model = TheWorld.from_pretrained("tiny", enable_world=False, freeze_gemma_projector=False)
    weight = model.model.multi_modal_projector.mm_input_projection_weight
    with torch.no_grad():
        weight.add_(0.01)
    model.save_pretrained(tmp_path / "model")

    again = TheWorld.from_pretrained(tmp_path / "model")

    assert again.config.trained_parts == ["vision"]
    assert torch.equal(again.model.multi_modal_projector.mm_input_projection_weight, weight)


def test_the_gate_opens_first_and_lets_the_projector_train_from_the_second_step_on():
    model = TheWorld.from_pretrained("tiny", world_fusion="residual", num_past_steps=1)
    batch = Collator(model.processor, supervise=True)(samples())
    model.train()(**batch).loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert [name for name, gradient in gradients.items() if gradient.any()] == ["world.gate"]


def test_the_decoder_of_a_vae_that_trains_is_left_alone():
    model = TheWorld.from_pretrained("tiny", freeze_cosmos_vae=False)
    assert part_of("cosmos_vae.decoder.conv_in.weight") is None
    assert not any(parameter.requires_grad for parameter in model.cosmos_vae.decoder.parameters())
    assert all(parameter.requires_grad for parameter in model.cosmos_vae.encoder.parameters())


def test_every_parameter_belongs_to_a_part(fused, residual, world_off):
    for model in (fused, residual, world_off):
        assert {part_of(name) for name, _ in model.named_parameters()} <= set(PARTS)


def test_the_world_trains_by_default_and_nothing_else(fused):
    trainable, total, percent = fused.get_trainable_parameters()
    assert trainable == sum(parameter.numel() for parameter in fused.world.parameters())
    assert total == sum(parameter.numel() for parameter in fused.parameters())
    assert percent == pytest.approx(100 * trainable / total)


def test_the_table_has_a_line_per_part(fused):
    lines = fused.parameter_table().splitlines()
    assert [line.split()[0] for line in lines] == ["part", "world", "vision", "language", "all"]
    world = sum(parameter.numel() for parameter in fused.world.parameters())
    assert lines[1].split()[1:] == [f"{world:,}", f"{world:,}", "100.000"]
    assert lines[3].split()[1] == "0"


def test_parts_can_be_frozen_and_freed_later_and_what_was_trained_is_remembered(model):
    model.freeze(gemma_vision=False)
    assert model.config.trained_parts == ["world", "vision"]
    assert all(parameter.requires_grad for parameter in model.model.vision_tower.parameters())
    model.freeze(gemma_vision=True, gemma_language=False)
    assert not any(parameter.requires_grad for parameter in model.model.vision_tower.parameters())
    assert model.config.trained_parts == ["world", "vision", "language"]


def test_an_unknown_part_is_refused_and_nothing_changes(model):
    with pytest.raises(ValueError, match=r"freeze got \['projector'\]: expected gemma_vision"):
        model.freeze(gemma_vision=False, projector=True)
    assert model.config.freeze_gemma_vision


def test_a_vae_that_was_loaded_frozen_cannot_be_freed(model):
    with pytest.raises(ValueError, match=r"only if it was loaded so: from_pretrained\(freeze_cosmos_vae=False\)"):
        model.freeze(cosmos_vae=False)
    assert model.config.trained_parts == ["world"]


def test_a_model_whose_vae_trains_refuses_a_tap(fused):
    model = TheWorld.from_pretrained("tiny", freeze_cosmos_vae=False)
    with pytest.raises(ValueError, match="the VAE trains or was trained with this model"):
        model.attach_world(fused.tap)


@torch.no_grad()
def test_a_vae_that_trains_gives_at_first_the_features_of_the_frozen_one(fused, mixed_batch):
    model = TheWorld.from_pretrained("tiny", freeze_cosmos_vae=False).eval()
    assert torch.equal(model.read_world(mixed_batch["world_pixels"]), fused.read_world(mixed_batch["world_pixels"]))


def test_in_a_bfloat16_model_what_trains_is_float32_and_moves_at_a_usual_learning_rate():
    model = TheWorld.from_pretrained("tiny", world_grid=4, dtype=torch.bfloat16, load_world=False)
    before = {name: parameter.clone() for name, parameter in model.world.named_parameters()}
    optimizer = torch.optim.AdamW(model.world.parameters(), lr=1e-4, weight_decay=0.0)
    inputs = model.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": picture(0)}]}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    inputs.pop("world_pixels")

    for _ in range(3):
        features = torch.randn(1, 16, 1, 8, 8)
        model(**inputs, world_features=features, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    assert {parameter.dtype for parameter in model.world.parameters()} == {torch.float32}
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    for name, parameter in model.world.named_parameters():
        moved = (parameter != before[name]).float().mean().item()
        assert moved > (0.04 if name == "time.weight" else 0.9), name  # one of 21 time rows is in use


def test_a_part_that_trains_is_float32_in_a_bfloat16_model_and_is_read_back_exactly(tmp_path):
    model = TheWorld.from_pretrained(
        "tiny", world_grid=4, dtype=torch.bfloat16, load_world=False, freeze_gemma_language=False
    )
    with torch.no_grad():
        model.lm_head.weight.add_(1e-5)
    model.save_pretrained(tmp_path / "model")

    again = TheWorld.from_pretrained(
        tmp_path / "model", dtype=torch.bfloat16, load_world=False, freeze_gemma_language=False
    )

    assert again.lm_head.weight.dtype == torch.float32
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
