"""The tiny stack: real classes, real folder layouts, a tokenizer like Gemma's, and pictures that matter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration, Gemma3Processor

import theworld.tiny as tiny
from theworld.tiny.tokenizer import train_tokenizer

STACK = tiny.stack  # before the tests put a random one in its place
QUESTION = [
    {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": " In which bin does the ball come to rest?\n"}],
    }
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def processor(folder: Path) -> Gemma3Processor:
    return Gemma3Processor.from_pretrained(folder / "gemma")


@pytest.fixture(scope="module")
def gemma(folder: Path) -> Gemma3ForConditionalGeneration:
    return Gemma3ForConditionalGeneration.from_pretrained(folder / "gemma")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def red_square(left_px: int) -> np.ndarray:
    picture = np.full((64, 64, 3), 200, np.uint8)
    picture[20:36, left_px : left_px + 16] = (255, 0, 0)
    return picture


def test_another_picture_gives_other_logits(processor, gemma):
    prompt = processor.apply_chat_template(QUESTION, add_generation_prompt=True)
    logits = []
    for left_px in (4, 40):
        inputs = processor(text=prompt, images=[red_square(left_px)], return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            logits.append(gemma(**inputs).logits[0, -1])
    assert (logits[0] - logits[1]).abs().max() > 0.02


def test_the_checkpoint_loads_without_a_missing_or_foreign_tensor(folder):
    model, loading = Gemma3ForConditionalGeneration.from_pretrained(folder / "gemma", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.generation_config.eos_token_id == [1, 6]
    assert set(model.config.text_config.layer_types) == {"sliding_attention", "full_attention"}


def test_the_embedding_has_rows_for_tokens_added_later(processor, gemma):
    assert gemma.get_input_embeddings().num_embeddings >= len(processor.tokenizer) + 16


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiny.build(tmp_path / name, seed)
        weights.append((tmp_path / name / "gemma" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(before, torch.get_rng_state())


def test_the_cosmos_folder_has_the_layout_of_the_real_one(folder):
    cosmos = folder / "cosmos"
    index = json.loads((cosmos / "model_index.json").read_text())
    assert index["_class_name"] == "Cosmos2VideoToWorldPipeline"
    assert {path.name for path in cosmos.iterdir()} == {"model_index.json", "vae", "transformer", "scheduler"}
    assert json.loads((cosmos / "scheduler" / "scheduler_config.json").read_text())["use_karras_sigmas"] is True
    transformer = json.loads((cosmos / "transformer" / "config.json").read_text())
    assert (transformer["in_channels"], transformer["out_channels"]) == (17, 16)
    vae = json.loads((cosmos / "vae" / "config.json").read_text())
    assert len(vae["latents_mean"]) == len(vae["latents_std"]) == 16
    assert all(std < 0.5 for std in vae["latents_std"])


def test_special_tokens_have_the_ids_of_gemma_where_a_small_vocabulary_allows(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<unk>"]) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert tokenizer.image_token_id == len(tokenizer) - 1
    assert tokenizer.boi_token == "<start_of_image>"
    assert tokenizer.eoi_token == "<end_of_image>"


def test_tokens_added_later_follow_the_image_token_and_survive_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    added = ["<first_of_ours>", "<second_of_ours>"]
    reloaded.add_special_tokens({"additional_special_tokens": added})
    image_id = reloaded.image_token_id
    assert reloaded.convert_tokens_to_ids(added) == [image_id + 1, image_id + 2]
    reloaded.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.convert_tokens_to_ids(added) == [image_id + 1, image_id + 2]
    assert again.image_token_id == image_id


@given(st.text(st.characters(exclude_characters="▁", exclude_categories=("Cs",))))
def test_any_text_comes_back_unchanged(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_common_words_and_answers_are_single_tokens(tokenizer):
    words = ["left", "middle", "right", "red", "ball", "bin", "plank", "yes", "no", "four", "Where"]
    for word in [*words, *(" " + word for word in words[:-1])]:
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1, word


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_the_start_of_a_model_turn_is_the_same_ids_whatever_follows(tokenizer, text):
    start = tokenizer.convert_tokens_to_ids(["<start_of_turn>", "model", "\n"])
    assert tokenizer("<start_of_turn>model\n" + text, add_special_tokens=False).input_ids[:3] == start


def test_the_chat_template_renders_as_gemmas_does(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": " Which bin? \n"}, {"type": "image"}],
        },
        {"role": "assistant", "content": "  red "},
        {"role": "user", "content": "And\nnow? "},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<bos><start_of_turn>user\nBe brief.\n\n<start_of_image>Which bin?<start_of_image><end_of_turn>\n"
        "<start_of_turn>model\nred<end_of_turn>\n"
        "<start_of_turn>user\nAnd\nnow?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    with pytest.raises(Exception, match="must alternate"):
        tokenizer.apply_chat_template(messages[1:2] * 2, tokenize=False)


def test_the_processor_writes_sixteen_image_tokens_per_picture(processor):
    prompt = processor.apply_chat_template(QUESTION, add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[[red_square(4)]], return_tensors="pt", add_special_tokens=False)
    is_image = inputs["input_ids"] == processor.tokenizer.image_token_id
    assert is_image.sum() == 16
    assert torch.equal(inputs["token_type_ids"].bool(), is_image)
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    assert inputs["pixel_values"].max() == 1.0
    assert inputs["pixel_values"].min() == -1.0


def test_a_package_without_its_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match="install the package again"):
        STACK()
