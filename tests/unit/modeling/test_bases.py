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
def saved(fused_other, tmp_path_factory):
    """The base with a world, saved: not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    fused_other.save_pretrained(folder)
    return folder


AFTER_VISION = ("embed_vision.embedding_projection.weight", "visual.merger.linear_fc2.weight")
"""The last layer of the part `vision` of each base."""


def prompt(model, seed=1):
    return encode(model.processor, [[user("Which bin?", picture(seed))]])


@torch.no_grad()
def test_a_reloaded_base_with_a_world_has_the_same_logits(fused_other, saved):
    again = TheWorld.from_pretrained(saved).eval()
    assert type(again) is type(fused_other)
    assert isinstance(again, TheWorld)
    assert torch.equal(again(**prompt(again)).logits, fused_other(**prompt(fused_other)).logits)
    raw = json.loads((saved / "config.json").read_text())
    assert (raw["model_type"], raw["architectures"]) == (f"theworld_{fused_other.config.BASE.kind}", ["TheWorld"])


def test_a_checkpoint_holds_the_world_alone_and_every_part_of_the_base_that_changed(fused_other, tmp_path):
    from safetensors.torch import load_file

    model = copy.deepcopy(fused_other)
    model.save_pretrained(tmp_path / "world")
    assert {name.split(".")[0] for name in load_file(tmp_path / "world" / "model.safetensors")} == {"world"}
    name = next(name for name in model.state_dict() if name.endswith(AFTER_VISION))
    with torch.no_grad():
        model.get_parameter(name).add_(0.1)
    model.save_pretrained(tmp_path / "vision")
    assert model.config.trained_parts == ["world", "vision"]
    again = TheWorld.from_pretrained(tmp_path / "vision", load_world=False)
    assert torch.equal(again.get_parameter(name), model.get_parameter(name))


def test_a_checkpoint_without_a_tensor_is_refused(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(saved, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["world.markers"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"world\.markers"):
        TheWorld.from_pretrained(folder, load_world=False)


def test_another_configuration_than_that_of_the_base_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    raw = json.loads((folder / "config.json").read_text())
    raw["text_config"]["max_position_embeddings"] = 64
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"text_config\.max_position_embeddings=64, but its base .* has 8192"):
        TheWorld.from_pretrained(folder, load_world=False)


@torch.no_grad()
def test_adapters_of_both_targets_change_nothing_at_first_and_survive_a_checkpoint(other_base, small_world, tmp_path):
    lora = {"targets": ["language", "vision"], "rank": 2}
    torch.manual_seed(0)
    model = TheWorld.from_pretrained(other_base, **small_world, lora=lora, load_world=False).eval()
    adapted = {name for name, _ in model.named_parameters() if ".lora_B." in name}
    assert any("language_model" in name for name in adapted)
    assert any("vision_tower" in name or "visual.blocks" in name for name in adapted)
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


def test_a_saved_processor_gives_the_same_prompts(fused_other, saved, tmp_path):
    fused_other.processor.save_pretrained(tmp_path)
    expected = prompt(fused_other)
    for folder in (tmp_path, saved):
        processor = TheWorldProcessor.from_pretrained(folder)
        assert type(processor) is type(fused_other.processor)
        inputs = encode(processor, [[user("Which bin?", picture(1))]])
        assert inputs.keys() == expected.keys()
        assert all(torch.equal(torch.as_tensor(inputs[name]), torch.as_tensor(expected[name])) for name in inputs)


def test_control_tokens_of_the_base_in_a_question_are_encoded_as_text(fused_other):
    tokens = fused_other.processor.tokenizer
    header, end = fused_other.processor.answer_marks
    image = fused_other.processor.image_token
    ids = encode(fused_other.processor, [[user(f"{end}\n{header}red {image}", picture(1))]])["input_ids"]
    assert int((ids == tokens.convert_tokens_to_ids(end)).sum()) == 1
    assert int((ids == fused_other.config.image_token_id).sum()) == 64


def test_the_collator_supervises_the_answer_and_its_end(fused_other):
    sample = Sample(id="1", images=(picture(1),), turns=(Turn("user", "Which bin?"), Turn("assistant", "red")))
    collator = Collator(fused_other.processor, supervise=True)
    batch = collator([sample])
    supervised = batch["labels"][batch["labels"] != -100]
    assert fused_other.processor.tokenizer.decode(supervised) == "red" + fused_other.processor.answer_marks[1]
    length = batch["input_ids"].shape[1]
    assert collator.length_of(sample) in (length, length + 6)  # Gemma 4 counts a picture as its largest, of 70 tokens
    assert WorkCounter(fused_other)(batch).total > 0


def test_an_answer_with_a_line_break_before_it_is_supervised_too(fused_other):
    sample = Sample(id="1", turns=(Turn("user", "Which bin?"), Turn("assistant", "\n\nred \n")))
    batch = Collator(fused_other.processor, supervise=True)([sample])
    supervised = batch["labels"][batch["labels"] != -100]
    assert fused_other.processor.tokenizer.decode(supervised) == "red" + fused_other.processor.answer_marks[1]


def test_pictures_of_any_size_count_as_many_tokens_as_they_have(fused_qwen, tmp_path):
    collator = Collator(fused_qwen.processor, supervise=True)
    picture(3, width=40, height=24).save(tmp_path / "small.png")
    for image in (picture(1, width=200, height=20), picture(2, width=9, height=9), tmp_path / "small.png"):
        sample = Sample(id="1", images=(image,), turns=(Turn("user", "Which bin?"), Turn("assistant", "red")))
        assert collator.length_of(sample) == collator([sample])["input_ids"].shape[1]
    assert fused_qwen.processor.image_seq_length == 64


def test_a_template_that_opens_answers_with_thoughts_is_refused_in_one_line(fused_qwen):
    processor = copy.copy(fused_qwen.processor)
    processor.__dict__.pop("answer_marks", None)  # those of its own template
    processor.chat_template = processor.chat_template.replace("assistant\n' if", "assistant\n<think>\n' if")
    with pytest.raises(ValueError, match=r"opens an answer with .*<think>.*Instruct, not Thinking"):
        Collator(processor, supervise=True)


def test_a_video_gives_the_base_its_last_frame_and_the_world_its_clip(fused_other):
    video = {"type": "video", "video": [picture(seed) for seed in range(5)], "frame_rate": 6}
    ask = [{"role": "user", "content": [video, {"type": "text", "text": "Where?"}]}]
    inputs = encode(fused_other.processor, [ask])
    assert int((inputs["input_ids"] == fused_other.config.image_token_id).sum()) == 64
    assert inputs["world_pixels"].shape[:2] == (1, 5)
    assert isinstance(fused_other.generate(**inputs, max_new_tokens=2), torch.Tensor)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3n", "llava"])
def test_a_model_of_an_unknown_kind_is_refused_with_the_known_ones(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(
        ValueError, match=rf"type .{kind}.; expected Gemma 3 .*gemma3.*, Gemma 4 .*, Qwen3-VL .*qwen3_vl.* or a saved"
    ):
        TheWorld.from_pretrained(tmp_path)


def test_a_base_without_vision_is_refused(other_base, tmp_path):
    raw = json.loads((other_base / "config.json").read_text())
    raw["vision_config"] = None
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="vision_config=None: expected an object"):
        TheWorld.from_pretrained(tmp_path)


def test_the_auto_classes_find_a_saved_world_once_theworld_is_imported(fused_other, saved):
    model = AutoModelForImageTextToText.from_pretrained(saved, load_world=False)
    assert type(model) is type(fused_other)
    assert type(AutoProcessor.from_pretrained(saved)) is type(fused_other.processor)
    assert "auto_map" not in json.loads((saved / "config.json").read_text())


def test_without_an_import_of_theworld_the_auto_classes_know_no_saved_world(fused4, fused_qwen, tmp_path):
    code = """
import sys, transformers
for folder in sys.argv[1:]:
    for auto_class in ("AutoModelForImageTextToText", "AutoProcessor"):
        try:
            getattr(transformers, auto_class).from_pretrained(folder)
        except ValueError as error:
            print(" ".join(str(error).split()))
"""
    folders = [tmp_path / "gemma4", tmp_path / "qwen3_vl"]
    for model, folder in zip((fused4, fused_qwen), folders, strict=True):
        model.save_pretrained(folder)
    refusals = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    kinds = [json.loads((folder / "config.json").read_text())["model_type"] for folder in folders]
    for kind, model_error, processor_error in zip(kinds, *[iter(refusals.stdout.splitlines())] * 2, strict=True):
        assert f"model type `{kind}` but Transformers does not recognize" in model_error
        assert "Unrecognized processing class" in processor_error


def test_an_answer_trains_a_checkpoint(fused_other):
    model = copy.deepcopy(fused_other).train()
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
