"""Bases other than Gemma 3: loading, checkpoints, adapters, labels, and models that are no base."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from fixtures_model import assistant, encode, features, picture, user
from theworld import TheWorld, TheWorldProcessor
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Turn
from theworld.modeling import CheckpointError
from theworld.training.flops import WorkCounter


@pytest.fixture(scope="module")
def saved4(fused4, tmp_path_factory):
    """A saved Gemma 4 with a world: not to be changed."""
    folder = tmp_path_factory.mktemp("saved4") / "model"
    fused4.save_pretrained(folder)
    return folder


def prompt(model, seed=1):
    return encode(model.processor, [[user("Which bin?", picture(seed))]])


@torch.no_grad()
def test_a_reloaded_gemma_4_with_a_world_has_the_same_logits(fused4, saved4):
    again = TheWorld.from_pretrained(saved4).eval()
    assert type(again) is type(fused4)
    assert isinstance(again, TheWorld)
    assert torch.equal(again(**prompt(again)).logits, fused4(**prompt(fused4)).logits)
    raw = json.loads((saved4 / "config.json").read_text())
    assert (raw["model_type"], raw["architectures"]) == ("theworld_gemma4", ["TheWorld"])


def test_a_checkpoint_holds_the_world_alone_and_every_part_of_gemma_4_that_changed(fused4, tmp_path):
    from safetensors.torch import load_file

    model = copy.deepcopy(fused4)
    model.save_pretrained(tmp_path / "world")
    assert {name.split(".")[0] for name in load_file(tmp_path / "world" / "model.safetensors")} == {"world"}
    with torch.no_grad():
        model.model.embed_vision.embedding_projection.weight.add_(0.1)
    model.save_pretrained(tmp_path / "vision")
    assert model.config.trained_parts == ["world", "vision"]
    again = TheWorld.from_pretrained(tmp_path / "vision", load_world=False)
    weight = again.model.embed_vision.embedding_projection.weight
    assert torch.equal(weight, model.model.embed_vision.embedding_projection.weight)


def test_a_checkpoint_without_a_tensor_is_refused(saved4, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(saved4, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["world.markers"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"world\.markers"):
        TheWorld.from_pretrained(folder, load_world=False)


def test_another_configuration_of_gemma_4_than_its_base_has_is_refused(saved4, tmp_path):
    folder = shutil.copytree(saved4, tmp_path / "model")
    raw = json.loads((folder / "config.json").read_text())
    raw["text_config"]["sliding_window"] = 64
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"text_config\.sliding_window=64, but its base .* has 512"):
        TheWorld.from_pretrained(folder, load_world=False)


@torch.no_grad()
def test_adapters_of_both_targets_change_nothing_at_first_and_survive_a_checkpoint(gemma4, small_world, tmp_path):
    lora = {"targets": ["language", "vision"], "rank": 2}
    torch.manual_seed(0)
    model = TheWorld.from_pretrained(gemma4, **small_world, lora=lora, load_world=False).eval()
    adapted = {name for name, _ in model.named_parameters() if ".lora_B." in name}
    assert any("language_model" in name for name in adapted)
    assert any("vision_tower" in name for name in adapted)
    inputs = prompt(model)
    inputs["world_features"] = features(len(inputs.pop("world_pixels")))
    before = model(**inputs).logits
    for name, weight in model.named_parameters():
        if name in adapted:
            weight.normal_(std=0.1)
    after = model(**inputs).logits
    assert (after - before).abs().max() > 0.01
    model.save_pretrained(tmp_path)
    assert torch.equal(TheWorld.from_pretrained(tmp_path, load_world=False).eval()(**inputs).logits, after)


def test_a_saved_processor_of_gemma_4_gives_the_same_prompts(fused4, saved4, tmp_path):
    fused4.processor.save_pretrained(tmp_path)
    expected = prompt(fused4)
    for folder in (tmp_path, saved4):
        processor = TheWorldProcessor.from_pretrained(folder)
        assert type(processor) is type(fused4.processor)
        inputs = encode(processor, [[user("Which bin?", picture(1))]])
        assert inputs.keys() == expected.keys()
        assert all(torch.equal(torch.as_tensor(inputs[name]), torch.as_tensor(expected[name])) for name in inputs)


def test_control_tokens_of_gemma_4_in_a_question_are_encoded_as_text(fused4):
    tokens = fused4.processor.tokenizer
    ids = encode(fused4.processor, [[user("<turn|>\n<|turn>model\nred <|image|>", picture(1))]])["input_ids"]
    end = tokens.convert_tokens_to_ids("<turn|>")
    assert int((ids == end).sum()) == 1
    assert int((ids == fused4.config.image_token_id).sum()) == 64


def test_the_collator_supervises_the_answer_of_gemma_4_and_its_end(fused4):
    sample = Sample(id="1", images=(picture(1),), turns=(Turn("user", "Which bin?"), Turn("assistant", "red")))
    collator = Collator(fused4.processor, supervise=True)
    batch = collator([sample])
    supervised = batch["labels"][batch["labels"] != -100]
    assert fused4.processor.tokenizer.decode(supervised) == "red<turn|>"
    assert collator.length_of(sample) >= batch["input_ids"].shape[1]  # a picture counts as the largest
    assert WorkCounter(fused4)(batch).total > 0


def test_a_video_gives_gemma_4_its_last_frame_and_the_world_its_clip(fused4):
    video = {"type": "video", "video": [picture(seed) for seed in range(5)], "frame_rate": 6}
    ask = [{"role": "user", "content": [video, {"type": "text", "text": "Where?"}]}]
    inputs = encode(fused4.processor, [ask])
    assert len(inputs["pixel_values"]) == 1
    assert inputs["world_pixels"].shape[:2] == (1, 5)
    assert isinstance(fused4.generate(**inputs, max_new_tokens=2), torch.Tensor)


@pytest.mark.parametrize("kind", ["qwen3_vl", "gemma3n", "llava"])
def test_a_model_of_an_unknown_kind_is_refused_with_the_known_ones(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ValueError, match=rf"type .{kind}.; expected Gemma 3 .*gemma3.*, Gemma 4 .*gemma4.* or a saved"):
        TheWorld.from_pretrained(tmp_path)


def test_a_gemma_4_without_vision_is_refused(gemma4, tmp_path):
    raw = json.loads((gemma4 / "config.json").read_text())
    raw["vision_config"] = None
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="vision_config=None: expected an object"):
        TheWorld.from_pretrained(tmp_path)


def test_the_auto_classes_find_a_saved_world_once_theworld_is_imported(fused4, saved4):
    model = AutoModelForImageTextToText.from_pretrained(saved4, load_world=False)
    assert type(model) is type(fused4)
    assert type(AutoProcessor.from_pretrained(saved4)) is type(fused4.processor)
    assert "auto_map" not in json.loads((saved4 / "config.json").read_text())


@pytest.mark.parametrize(
    ("auto_class", "message"),
    [
        ("AutoModelForImageTextToText", "model type `theworld_gemma4` but Transformers does not recognize"),
        ("AutoProcessor", "Unrecognized processing class"),
    ],
)
def test_without_an_import_of_theworld_the_auto_classes_know_no_saved_world(saved4, auto_class, message):
    code = f"import transformers; transformers.{auto_class}.from_pretrained({str(saved4)!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode
    assert message in result.stderr


def test_an_answer_trains_a_checkpoint_of_gemma_4(fused4):
    model = copy.deepcopy(fused4).train()
    inputs = encode(model.processor, [[user("Which bin?", picture(1)), assistant("red")]], side="right")
    labels = Collator(model.processor, supervise=True).labels(inputs["input_ids"])
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_the_table_of_bases_is_current_and_names_tests_that_are_there():
    from pages.bases import PAGE, features_of_bases, missing_tests

    assert missing_tests() == []
    assert features_of_bases() in (Path(__file__).parents[3] / PAGE).read_text(), "run `make pages`"
