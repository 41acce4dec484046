"""What a fused model can be loaded from, and how it may be loaded."""

import copy
import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from fixtures_model import encode, picture, user
from theworld import TheWorld, TheWorldConfig, TheWorldProcessor
from theworld.modeling import CheckpointError
from theworld.modeling.arguments import check_options, take_settings


@pytest.fixture
def base(stack, tmp_path):
    """A copy of the tiny Gemma, to spoil."""
    return shutil.copytree(stack / "gemma", tmp_path / "gemma")


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", ["gemma3_text", "llama", None])
def test_a_model_that_is_no_gemma_3_with_vision_is_refused(base, kind):
    rewrite(base / "config.json", model_type=kind)
    with pytest.raises(ValueError, match=f"a model of type {kind!r}; expected Gemma 3 with vision"):
        TheWorld.from_pretrained(base)


@pytest.mark.parametrize("loaded", [TheWorld, TheWorldProcessor])
@pytest.mark.parametrize("name", ["/no/such/model", "./runs/absent", "~/absent"])
def test_a_missing_folder_is_named(loaded, name):
    with pytest.raises(FileNotFoundError, match=f"{name}: no such folder"):
        loaded.from_pretrained(name)


def test_a_folder_without_a_configuration_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}: no config.json"):
        TheWorld.from_pretrained(tmp_path)


def test_a_configuration_that_is_not_json_is_named(base):
    (base / "config.json").write_text("{")
    with pytest.raises((OSError, ValueError), match=r"config\.json"):
        TheWorld.from_pretrained(base)


def test_a_base_that_lacks_a_tensor_is_refused(base):
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    name = next(name for name in tensors if name.endswith("q_norm.weight"))
    del tensors[name]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"missing \['model.language_model.layers.*q_norm.weight'\].*not a Gemma 3"
    ):
        TheWorld.from_pretrained(base, enable_world=False)


def test_a_gemma_in_a_folder_can_be_fused(base, stack):
    model = TheWorld.from_pretrained(base, cosmos_model_name=str(stack / "cosmos"), world_image_size=64)
    assert model.config.base_model_name == str(base)
    assert model.answer_of(model) if hasattr(model, "answer_of") else isinstance(model.generate(picture(), "Hi?"), str)


def test_no_transformers_argument_is_taken_for_a_misspelt_setting():
    known = [
        "dtype",
        "torch_dtype",
        "device_map",
        "max_memory",
        "offload_folder",
        "attn_implementation",
        "quantization_config",
        "state_dict",
        "token",
        "cache_dir",
        "local_files_only",
        "force_download",
        "proxies",
        "use_safetensors",
        "weights_only",
        "trust_remote_code",
        "low_cpu_mem_usage",
        "subfolder",
        "variant",
        "tp_plan",
        "key_mapping",
        "use_kernels",
    ]
    arguments = dict.fromkeys(known)
    assert take_settings(arguments) == {}
    assert arguments == dict.fromkeys(known)
    check_options(arguments)


def test_the_auto_classes_open_a_saved_model(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "processor")
    assert isinstance(AutoConfig.from_pretrained(tmp_path / "model"), TheWorldConfig)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path / "model"), TheWorldProcessor)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path / "processor"), TheWorldProcessor)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", load_world=False)
    assert isinstance(again, TheWorld)
    assert torch.equal(again.world.markers, model.world.markers)


@pytest.mark.parametrize(("slip", "meant"), [("tny", "tiny"), ("tiny-forsight", "tiny-foresight")])
def test_a_slip_in_the_name_of_an_embedded_model_is_not_looked_for_on_the_hub(slip, meant):
    with pytest.raises(FileNotFoundError, match=f"did you mean {meant}"):
        TheWorld.from_pretrained(slip)


def test_a_configuration_of_gemma_is_no_configuration_of_a_fused_model(gemma):
    with pytest.raises(TypeError, match="config=Gemma3Config: expected a TheWorldConfig"):
        TheWorld.from_pretrained("tiny", config=gemma.config)


def test_a_checkpoint_of_a_hub_repository_is_found_by_its_name(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "repository" / "checkpoint-2")
    asked = []

    def snapshot_download(repo, **options):
        asked.append((repo, options))
        return str(tmp_path / "repository")

    monkeypatch.setattr("theworld.hub.snapshot_download", snapshot_download)
    again = TheWorld.from_checkpoint_hub(
        "someone/theworld", "checkpoint-2", revision="abc", load_world=False, local_files_only=True
    )
    assert torch.equal(again.world.markers, model.world.markers)
    [(name, options)] = asked
    assert (name, options["revision"], options["local_files_only"]) == ("someone/theworld", "abc", True)
    assert "checkpoint-2/model.safetensors" in options["allow_patterns"]


def test_the_world_is_no_part_of_the_module_tree(fused):
    assert fused.tap is not None
    assert not [name for name, _ in fused.named_modules() if "vae" in name or "tap" in name]
    assert not [name for name in fused.state_dict() if not name.startswith(("model.", "lm_head.", "world."))]


def test_a_model_can_be_loaded_without_the_weights_of_its_world(mixed_batch):
    model = TheWorld.from_pretrained("tiny", load_world=False)
    with pytest.raises(ValueError, match="no world is loaded"):
        model(**mixed_batch)


def test_device_map_auto_on_one_device(fused, mixed_batch):
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", device_map="auto").eval()
    assert torch.equal(model.world.markers, fused.world.markers)
    with torch.no_grad():
        assert torch.equal(model(**mixed_batch).logits, fused(**mixed_batch).logits)


def test_a_deep_copy_is_independent(fused, mixed_batch):
    twin = copy.deepcopy(fused)
    with torch.no_grad():
        before = fused(**mixed_batch).logits
        assert torch.equal(twin(**mixed_batch).logits, before)
        twin.world.markers.add_(1.0)
        assert torch.equal(fused(**mixed_batch).logits, before)
        assert not torch.equal(twin(**mixed_batch).logits, before)


@pytest.mark.parametrize("fusion", ["tokens", "residual"])
def test_a_model_in_bfloat16_runs_and_trains(fusion):
    model = TheWorld.from_pretrained("tiny", dtype=torch.bfloat16, world_fusion=fusion)
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.world.parameters()} == {torch.float32}  # it trains
    assert model.world.scale.float().mean() > 0.1  # drawn, not left empty
    batch = encode(model.processor, [[user("Which bin?", picture(1))]])
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    assert loss.isfinite()
    assert model.world.scale.grad.isfinite().all()


def test_another_world_than_the_one_trained_on_is_refused(model):
    from theworld.world.factory import open_tap

    other = TheWorld.from_pretrained("tiny", world_tap="random", load_world=False).config
    with pytest.raises(CheckpointError, match="was trained on the world"):
        model.attach_world(open_tap(other.world_settings()))
    deeper = TheWorld.from_pretrained("tiny", world_tap="dit", load_world=False).config
    with pytest.raises(CheckpointError, match="48 channels and stride 16 px; the model was built for 16 channels"):
        model.attach_world(open_tap(deeper.world_settings()))
