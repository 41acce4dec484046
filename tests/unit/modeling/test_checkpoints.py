"""Checkpoints: exactly what was trained, read strictly, whole on disk."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.utils import hub

import theworld.tiny as tiny
from fixtures_model import features, picture
from theworld import TheWorld
from theworld.datasets import Sample, Turn
from theworld.datasets.collator import Collator
from theworld.modeling import CheckpointError, checkpoints
from theworld.modeling.freezing import part_of

SETTINGS = [
    {"freeze_gemma_vision": vision, "freeze_gemma_language": language, **more}
    for vision in (True, False)
    for language in (True, False)
    for more in ({}, {"world_fusion": "residual"}, {"freeze_cosmos_vae": False}, {"enable_world": False})
]
FILES = {"config.json", "generation_config.json", "model.safetensors"}


def name_of(settings):
    return ", ".join(f"{name.replace('freeze_', '')}={value}" for name, value in settings.items())


def train(model):
    """Stands for training: every trainable parameter moves."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def batch_of(model):
    samples = [
        Sample("one", (Turn("user", "Which bin?"), Turn("assistant", "red")), (picture(1),)),
        Sample("two", (Turn("user", "Why?"), Turn("assistant", "it falls")), (picture(2),)),
    ]
    return Collator(model.processor, supervise=True)(samples)


@torch.no_grad()
def logits_of(model):
    inputs = {name: value for name, value in batch_of(model).items() if name != "labels"}
    return model.eval()(**inputs).logits


def names_of(folder):
    return {path.name for path in Path(folder).iterdir()}


def names_in(folder):
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return set(tensors.keys())


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_a_reloaded_model_has_the_same_logits_under_every_freeze_setting(settings, tmp_path):
    model = train(TheWorld.from_pretrained("tiny", **settings))
    model.save_pretrained(tmp_path / "saved")
    parts = set(model.config.trained_parts)
    tied = {"lm_head.weight"}
    assert names_in(tmp_path / "saved") == {name for name in model.state_dict() if part_of(name) in parts} - tied
    again = TheWorld.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(again), logits_of(model))
    for part in ("gemma_vision", "gemma_language", "cosmos_vae"):
        assert getattr(again.config, f"freeze_{part}") == settings.get(f"freeze_{part}", True)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("part", ["gemma_vision", "gemma_language", "cosmos_vae"])
def test_what_an_earlier_stage_trained_stays_when_a_later_one_froze_it_again(part, tmp_path):
    first = train(TheWorld.from_pretrained("tiny", **{f"freeze_{part}": False}))
    first.save_pretrained(tmp_path / "first")
    second = TheWorld.from_pretrained(tmp_path / "first", **{f"freeze_{part}": True})
    assert {part_of(name) for name, p in second.named_parameters() if p.requires_grad} == {"world"}
    assert torch.equal(logits_of(second), logits_of(first))
    train(second).save_pretrained(tmp_path / "second")
    assert names_in(tmp_path / "second") == names_in(tmp_path / "first")
    third = TheWorld.from_pretrained(tmp_path / "second")
    assert torch.equal(logits_of(third), logits_of(second))
    assert not torch.equal(logits_of(third), logits_of(first))


def test_markers_move_and_survive_saving(model, tmp_path):
    before = model.world.markers.detach().clone()
    optimizer = torch.optim.AdamW(model.world.parameters(), lr=1e-3, weight_decay=0)
    model.train()(**batch_of(model)).loss.backward()
    optimizer.step()
    assert (model.world.markers != before).all()
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(TheWorld.from_pretrained(tmp_path / "saved").world.markers, model.world.markers)


def test_a_checkpoint_holds_no_weight_of_the_base_and_no_pickle(model, tmp_path):
    optimizer = torch.optim.AdamW(model.world.parameters())
    model.save_checkpoint(tmp_path / "saved", optimizer=optimizer, epoch=1)
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        *FILES,
        "optimizer.safetensors",
        "training_state.json",
    }
    assert names_in(tmp_path / "saved") == {f"world.{name}" for name in model.world.state_dict()}
    size = sum(path.stat().st_size for path in (tmp_path / "saved").iterdir())
    assert size < 60_000


def test_a_continued_run_takes_the_same_step_as_an_unbroken_one(model, tmp_path):
    batch = batch_of(model)

    def step(model, optimizer):
        optimizer.zero_grad()
        loss = model.train()(**batch).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    def optimizer_of(model):
        return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)

    model.freeze(gemma_vision=False)
    optimizer = optimizer_of(model)
    for _ in range(2):
        step(model, optimizer)
    model.save_checkpoint(tmp_path / "saved", optimizer=optimizer, epoch=3)
    unbroken = [step(model, optimizer) for _ in range(3)]

    fresh = TheWorld.from_pretrained("tiny", freeze_gemma_vision=False)
    optimizer = optimizer_of(fresh)
    assert fresh.load_checkpoint(tmp_path / "saved", optimizer=optimizer) == {"epoch": 3}
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert [step(fresh, optimizer) for _ in range(3)] == unbroken


def test_a_checkpoint_without_an_optimiser_says_so(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    assert model.load_checkpoint(tmp_path / "saved") == {"epoch": 0}
    with pytest.raises(CheckpointError, match="no optimiser state"):
        model.load_checkpoint(tmp_path / "saved", optimizer=torch.optim.AdamW(model.world.parameters()))


def test_the_world_can_be_left_out_of_a_trained_model(tmp_path, world_off):
    model = train(TheWorld.from_pretrained("tiny", freeze_gemma_vision=False))
    model.save_pretrained(tmp_path / "saved")
    plain = TheWorld.from_pretrained(tmp_path / "saved", enable_world=False)
    own = plain.state_dict()
    assert not [name for name in own if name.startswith("world.")]
    for name, tensor in model.state_dict().items():
        if name in own:
            assert torch.equal(own[name], tensor), name
    assert not torch.equal(logits_of(plain), logits_of(world_off))


# --- strictness ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(fused, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "saved"
    fused.save_pretrained(folder)
    return folder


@pytest.fixture
def spoiled(saved, tmp_path):
    """A copy of a checkpoint, and a way to change its tensors."""
    folder = shutil.copytree(saved, tmp_path / "spoiled")

    def change(edit):
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return change


DAMAGE = [
    (lambda tensors: tensors.pop("world.markers"), r"missing tensors \['world.markers'\], foreign tensors none"),
    (
        lambda tensors: tensors.update({"world.gate": torch.zeros(())}),
        r"missing tensors none, foreign tensors \['world.gate'\]",
    ),
    (
        lambda tensors: tensors.update({"model.language_model.norm.weight": torch.zeros(64)}),
        r"foreign tensors \['model.language_model.norm.weight'\]",
    ),
    (lambda tensors: tensors.update({"world.markers": torch.zeros(2, 32)}), r"shape \(2, 32\), expected \(2, 64\)"),
]


@pytest.mark.parametrize(("edit", "message"), DAMAGE, ids=["missing", "foreign", "of the base", "misshapen"])
@pytest.mark.parametrize("way", ["from_pretrained", "load_checkpoint"])
def test_a_missing_foreign_or_misshapen_tensor_is_refused(model, spoiled, edit, message, way):
    folder = spoiled(edit)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        (TheWorld.from_pretrained if way == "from_pretrained" else model.load_checkpoint)(folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_damaged_or_absent_file_of_weights_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "damaged")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        TheWorld.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        TheWorld.from_pretrained(folder)


def test_a_folder_without_a_checkpoint_is_refused(model, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        model.load_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A tiny stack with other weights."""
    return tiny.build(tmp_path_factory.mktemp("another"), seed=1)


def test_another_base_is_refused(saved, another, stack, tmp_path):
    with pytest.raises(CheckpointError, match=r"was trained on 'tiny' .* holds other weights"):
        TheWorld.from_pretrained(saved, base_model_name=str(another / "gemma"))
    moved = shutil.copytree(stack / "gemma", tmp_path / "moved")
    assert TheWorld.from_pretrained(saved, base_model_name=str(moved)).config.base_model_name == str(moved)
    own = TheWorld.from_pretrained(another / "gemma", cosmos_model_name="tiny", world_image_size=64)
    with pytest.raises(CheckpointError, match="belongs to another model: base_fingerprint"):
        own.load_checkpoint(saved)


def test_another_world_is_refused(saved, another):
    with pytest.raises(CheckpointError, match="was trained on the world"):
        TheWorld.from_pretrained(saved, cosmos_model_name=str(another / "cosmos"))
    model = TheWorld.from_pretrained("tiny", cosmos_model_name=str(another / "cosmos"))
    with pytest.raises(CheckpointError, match="world_fingerprint"):
        model.load_checkpoint(saved)


def test_another_tap_is_refused(saved):
    with pytest.raises(CheckpointError, match=r"world_tap='zero' \(saved: 'vae'\): its weights were trained otherwise"):
        TheWorld.from_pretrained(saved, world_tap="zero")
    with pytest.raises(CheckpointError, match="world_tap: saved 'vae', here 'noise'"):
        TheWorld.from_pretrained("tiny", world_tap="noise").load_checkpoint(saved)


def test_a_model_that_never_saw_its_world_takes_over_which_one_to_expect(fused, saved):
    model = TheWorld.from_pretrained("tiny", load_world=False)
    assert model.config.world_fingerprint is None
    model.load_checkpoint(saved)
    assert model.config.world_fingerprint == fused.config.world_fingerprint


@pytest.mark.parametrize(
    "settings",
    [{"world_grid": 4}, {"world_projection_mode": "channel"}, {"world_image_size": 128}, {"sow_token_id": 7}],
)
def test_a_setting_that_the_weights_depend_on_is_refused(saved, settings):
    with pytest.raises(CheckpointError, match=f"{next(iter(settings))}=.*train anew, or drop the setting"):
        TheWorld.from_pretrained(saved, **settings)


def test_settings_that_leave_the_weights_alone_may_be_given_anew(saved):
    model = TheWorld.from_pretrained(saved, freeze_gemma_vision=False, world_dtype="bfloat16")
    assert not model.config.freeze_gemma_vision
    assert model.config.trained_parts == ["world", "vision"]
    assert model.tap.vae.dtype == torch.bfloat16


# --- whole on disk ---------------------------------------------------------------------------------------


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("way", ["save_pretrained", "save_checkpoint"])
@pytest.mark.parametrize("moment", ["weights", "configuration"])
def test_a_save_that_breaks_off_leaves_the_old_checkpoint_whole(model, tmp_path, monkeypatch, way, moment):
    folder = tmp_path / "saved"
    getattr(model, way)(folder)
    before = content_of(folder)
    train(model)

    def break_off(*args, **kwargs):
        raise KeyboardInterrupt

    if moment == "weights":
        monkeypatch.setattr(checkpoints, "write_tensors", break_off)
    else:
        monkeypatch.setattr(type(model.config), "save_pretrained", break_off)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, way)(folder)
    assert content_of(folder) == before
    with pytest.raises(KeyboardInterrupt):
        getattr(model, way)(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_saving_leaves_other_files_of_the_folder_alone(model, tmp_path):
    model.processor.save_pretrained(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} >= {*FILES, "processor_config.json", "tokenizer.json"}
    again = TheWorld.from_pretrained(tmp_path)
    assert torch.equal(logits_of(again), logits_of(model))


def test_a_checkpoint_does_not_replace_a_folder_that_holds_other_things(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds \['notes.txt'\]: a checkpoint replaces its folder"):
        model.save_checkpoint(tmp_path)
    assert content_of(tmp_path) == {"notes.txt": b"mine"}
    model.save_checkpoint(tmp_path / "own", epoch=1)
    model.save_checkpoint(tmp_path / "own", epoch=2)
    assert model.load_checkpoint(tmp_path / "own") == {"epoch": 2}


def test_tensors_gathered_elsewhere_are_saved_in_place_of_the_models_own(model, tmp_path):
    state = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "saved", state_dict=state)
    assert torch.equal(load_file(tmp_path / "saved" / "model.safetensors")["world.markers"], torch.full((2, 64), 0.5))


def test_options_of_transformers_that_mean_nothing_here_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"save_pretrained got \['variant'\]"):
        model.save_pretrained(tmp_path / "saved", variant="fp16")
    assert not (tmp_path / "saved").exists()


def test_only_the_main_process_writes(model, tmp_path):
    model.save_pretrained(tmp_path / "saved", is_main_process=False)
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
def test_a_checkpoint_is_what_goes_to_the_hub(model, tmp_path, monkeypatch, way):
    sent = []
    card = SimpleNamespace(save=lambda path: None)
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: SimpleNamespace(repo_id=f"someone/{name}"))
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *args, **options: card)

    def upload(self, folder, name, **options):
        sent.append((name, names_of(folder)))

    monkeypatch.setattr(type(model), "_upload_modified_files", upload)
    if way == "push_to_hub":
        model.push_to_hub("falling")
    else:
        model.save_pretrained(tmp_path / "falling", push_to_hub=True)
    assert sent == [("someone/falling", FILES)]


def test_the_configuration_on_disk_names_its_base_and_its_world(fused, saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "theworld"
    assert config["base_model_name"] == "tiny"
    assert config["base_fingerprint"] == fused.config.base_fingerprint
    assert config["world_fingerprint"] == fused.tap.fingerprint
    assert config["trained_parts"] == ["world"]


def test_future_slots_survive_saving(tmp_path):
    settings = {"world_tap": "rollout", "num_world_steps": 2, "num_inference_steps": 2}
    model = train(TheWorld.from_pretrained("tiny", load_world=False, **settings))
    model.save_pretrained(tmp_path / "saved")
    again = TheWorld.from_pretrained(tmp_path / "saved", load_world=False)
    assert (again.config.num_world_steps, again.config.num_inference_steps) == (2, 2)
    assert torch.equal(again.world(features(1, num_slots=3), 2), model.world(features(1, num_slots=3), 2))
