"""Qwen3-VL under the fusion: without the world it is Qwen3-VL, bit for bit; with it, a clip has a video's positions."""

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from fixtures_model import assistant, encode, picture, user
from theworld import TheWorld
from theworld.modeling.positions import Clips, with_clips

GREEDY = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
CLOSE = {"atol": 1e-4, "rtol": 0}


def rows():
    """Three conversations: one picture, two pictures of unequal shapes, none."""
    return [
        [user("Which bin?", picture(1))],
        [user("Which bin is it, left or right, and why?", picture(2, width=96, height=48), picture(3))],
        [user("Hello?")],
    ]


@pytest.fixture(scope="module")
def plain(qwen3_vl):
    """Qwen3-VL itself."""
    return Qwen3VLForConditionalGeneration.from_pretrained(qwen3_vl).eval()


@pytest.fixture(scope="module")
def batch(fused_qwen):
    """`rows`, padded on the left, each picture with a clip of its own of two slots."""
    clips = [[[picture(seed + frame) for frame in range(5)] for seed in seeds] for seeds in ([10], [20, 30], [])]
    return encode(fused_qwen.processor, rows(), world=clips)


def seen_by_language(model, run):
    """The inputs of the language model in each forward of `run`."""
    seen = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda _, args, given: seen.append(dict(given)), with_kwargs=True
    )
    with torch.no_grad():
        run()
    hook.remove()
    return seen


@torch.no_grad()
def test_another_picture_changes_the_logits_of_qwen3_vl(plain, qwen3_vl):
    processor = Qwen3VLProcessor.from_pretrained(qwen3_vl)
    first, second = (plain(**encode(processor, [[user("Which bin?", picture(seed))]])).logits[:, -1] for seed in (1, 2))
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("beams", [1, 2])
@torch.no_grad()
def test_world_off_equals_qwen3_vl_bit_for_bit(plain, qwen3_vl, beams):
    world_off = TheWorld.from_pretrained(qwen3_vl, enable_world=False).eval()
    expected = encode(Qwen3VLProcessor.from_pretrained(qwen3_vl), rows())
    inputs = encode(world_off.processor, rows())
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
    assert torch.equal(world_off(**inputs).logits, plain(**inputs).logits)
    answers = [one.generate(**inputs, **GREEDY, num_beams=beams, max_new_tokens=4) for one in (world_off, plain)]
    assert torch.equal(answers[0].sequences, answers[1].sequences)
    assert torch.equal(torch.stack(answers[0].logits), torch.stack(answers[1].logits))


@torch.no_grad()
def test_the_world_switched_off_in_a_fused_model_equals_qwen3_vl_bit_for_bit(fused_qwen, plain, batch):
    fused_qwen(**batch)  # leaves the end of its positions in the model
    with fused_qwen.without_world():
        inputs = encode(fused_qwen.processor, rows())
        assert torch.equal(fused_qwen(**inputs).logits, plain(**inputs).logits)


def test_a_clip_has_the_positions_of_a_video_and_text_goes_on_behind_it():
    tokens = torch.tensor([[False, *[True] * 8, False, False]])
    positions, delta = with_clips(torch.arange(11).expand(3, 1, -1), Clips(tokens, num_slots=2, grid=2), None)
    assert positions[:, 0].tolist() == [
        [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4],
        [0, 1, 1, 2, 2, 1, 1, 2, 2, 3, 4],
        [0, 1, 2, 1, 2, 1, 2, 1, 2, 3, 4],
    ]
    assert delta.tolist() == [[5 - 11]]


def test_more_slots_than_cells_a_side_leave_room_for_the_last_slot():
    tokens = torch.tensor([[False, True, True, True, False]])
    positions, delta = with_clips(torch.arange(5).expand(3, 1, -1), Clips(tokens, num_slots=3, grid=1), None)
    assert positions[:, 0].tolist() == [[0, 1, 2, 3, 4], [0, 1, 1, 1, 4], [0, 1, 1, 1, 4]]
    assert delta.tolist() == [[0]]


def test_clips_after_padding_and_behind_each_other_keep_their_distances():
    tokens = torch.tensor([[False] * 3 + [True] * 4 + [False] * 2 + [True] * 4 + [False]])
    mask = torch.tensor([[0, 0] + [1] * 12])
    native = (mask.cumsum(-1) - 1).clamp(min=0).expand(3, 1, -1)
    positions, delta = with_clips(native, Clips(tokens, num_slots=1, grid=2), mask)
    assert positions[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 3, 4, 5, 5, 5, 5, 7]
    assert positions[2, 0].tolist() == [0, 0, 0, 1, 2, 1, 2, 3, 4, 5, 6, 5, 6, 7]
    assert delta.tolist() == [[8 - 12]]


def test_positions_of_a_prompt_are_those_that_qwen3_vl_gives_a_video_of_the_same_grid(fused_qwen, batch):
    (given,) = seen_by_language(fused_qwen, lambda: fused_qwen(**batch))
    inner, grid = fused_qwen.model, fused_qwen.config.grid
    is_world = batch["input_ids"] == fused_qwen.config.world_token_id
    start = given["position_ids"][:, 0, batch["input_ids"][0] == fused_qwen.config.sow_token_id].max() + 1
    expected = inner.get_vision_position_ids(int(start), torch.tensor([2, grid, grid]))
    assert torch.equal(given["position_ids"][:, 0, is_world[0]], expected)


@torch.no_grad()
def test_pictures_and_text_keep_the_distances_of_a_prompt_without_a_world(fused_qwen, plain, batch):
    (given,) = seen_by_language(fused_qwen, lambda: fused_qwen(**batch))
    bare = encode(Qwen3VLProcessor.from_pretrained(fused_qwen.config.base_model_name), rows())
    (native,) = seen_by_language(plain, lambda: plain(**bare))
    length = (bare["attention_mask"][1] == 1).sum()
    ours, theirs = (positions["position_ids"][:, 1, -length:] for positions in (given, native))
    assert torch.equal(ours - ours[:, :1], theirs - theirs[:, :1])


def test_generation_starts_with_the_positions_of_the_forward_and_goes_on_behind_them(fused_qwen, batch):
    (given,) = seen_by_language(fused_qwen, lambda: fused_qwen(**batch))
    steps = seen_by_language(fused_qwen, lambda: fused_qwen.generate(**batch, max_new_tokens=3, min_new_tokens=3))
    assert torch.equal(steps[0]["position_ids"][1:], given["position_ids"])
    last = given["position_ids"][:, :, -1:]
    assert [torch.equal(step["position_ids"][1:], last + index) for index, step in enumerate(steps[1:], 1)] == [
        True
    ] * 2


@torch.no_grad()
def test_pictures_enter_the_first_layers_at_their_own_places_alone(fused_qwen, plain, batch):
    (given,) = seen_by_language(fused_qwen, lambda: fused_qwen(**batch))
    bare = {name: batch[name] for name in ("pixel_values", "image_grid_thw")}
    native = plain.get_image_features(**bare, return_dict=True).deepstack_features
    assert torch.equal(given["visual_pos_masks"], batch["input_ids"] == fused_qwen.config.image_token_id)
    assert len(given["deepstack_visual_embeds"]) == len(native) == 2
    for ours, theirs in zip(given["deepstack_visual_embeds"], native, strict=True):
        assert torch.equal(ours, torch.cat(theirs))


@torch.no_grad()
def test_an_earlier_prompt_does_not_change_the_positions_of_the_next(fused_qwen, batch):
    alone = fused_qwen(**batch).logits
    fused_qwen.generate(picture(5), "Where?", max_new_tokens=2)
    assert torch.equal(fused_qwen(**batch).logits, alone)


@torch.no_grad()
def test_a_second_turn_with_the_cache_of_the_first_equals_the_whole_chat(fused_qwen):
    processor = fused_qwen.processor
    first = [user("Which bin?", picture(1))]
    inputs = encode(processor, [first])
    output = fused_qwen.generate(**inputs, **GREEDY, max_new_tokens=2, min_new_tokens=2)
    rest = processor.tokenizer("<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    ids = torch.cat([output.sequences, torch.tensor([rest])], 1)
    extra = ids.shape[1] - inputs["input_ids"].shape[1]
    whole = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    whole["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, extra))
    options = {**GREEDY, "max_new_tokens": 2, "min_new_tokens": 2}
    expected = fused_qwen.generate(**whole, **options)
    fused_qwen.generate(**inputs, max_new_tokens=1)  # the positions of the cached prompt
    again = fused_qwen.generate(
        input_ids=ids,
        attention_mask=whole["attention_mask"],
        past_key_values=output.past_key_values,
        **options,
    )
    torch.testing.assert_close(torch.stack(again.logits), torch.stack(expected.logits), **CLOSE)


@torch.no_grad()
def test_ids_of_the_world_within_the_embedding_table_make_no_difference(small_world, tmp_path):
    from theworld.tiny.qwen3_vl import write_qwen3_vl

    write_qwen3_vl(tmp_path / "base", seed=0, spare_rows=5)
    torch.manual_seed(0)
    model = TheWorld.from_pretrained(tmp_path / "base", **small_world).eval()
    assert model.config.world_token_id < model.config.text.vocab_size
    inputs = encode(model.processor, [[user("Which bin?", picture(1))]])
    before = model(**inputs).logits
    model.get_input_embeddings().weight[model.config.sow_token_id :] = 7.0
    assert torch.equal(
        model(**inputs).logits[..., : model.config.sow_token_id], before[..., : model.config.sow_token_id]
    )


def test_world_tokens_that_form_no_grid_have_the_positions_of_text(qwen3_vl, small_world):
    model = TheWorld.from_pretrained(qwen3_vl, **{**small_world, "world_projection_mode": "channel"}).eval()
    inputs = encode(model.processor, [[user("Which bin?", picture(1))]])
    (given,) = seen_by_language(model, lambda: model(**inputs))
    is_world = inputs["input_ids"][0] == model.config.world_token_id
    assert (given["position_ids"][:, 0, is_world].diff() == 1).all()


@torch.no_grad()
def test_parts_on_the_disk_change_nothing(fused_qwen, qwen3_vl, small_world, batch, tmp_path):
    text = "model.language_model"
    places = {"model.visual": "disk", f"{text}.layers": "disk", "lm_head": "cpu"}
    places |= dict.fromkeys([f"{text}.embed_tokens", f"{text}.norm", f"{text}.rotary_emb"], "cpu")
    torch.manual_seed(0)
    model = TheWorld.from_pretrained(qwen3_vl, **small_world, device_map=places, offload_folder=tmp_path).eval()
    assert any(weight.is_meta for weight in model.parameters())
    assert torch.equal(model(**batch).logits, fused_qwen(**batch).logits)


def test_a_picture_without_its_grid_is_refused_in_one_line(fused_qwen, batch):
    bare = {name: value for name, value in batch.items() if name != "image_grid_thw"}
    with pytest.raises(ValueError, match="pictures without image_grid_thw: pass that of the processor"):
        fused_qwen(**bare)


def test_a_new_clip_after_cached_tokens_is_refused_in_one_line(fused_qwen, batch):
    output = fused_qwen(**batch, use_cache=True)
    with pytest.raises(ValueError, match="a new clip after cached tokens: give position_ids"):
        fused_qwen(**batch, past_key_values=output.past_key_values)


def test_an_answer_stands_behind_its_header_and_before_its_end(fused_qwen):
    assert fused_qwen.processor.answer_marks == ("<|im_start|>assistant\n", "<|im_end|>")
    inputs = encode(fused_qwen.processor, [[user("Which bin?", picture(1)), assistant("red")]])
    text = fused_qwen.processor.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith("<start_of_world><world_soft_token>")
    assert "<end_of_world><|im_start|>user\n<|vision_start|><|image_pad|>" in text
    assert "<|vision_end|>Which bin?<|im_end|>\n<|im_start|>assistant\nred<|im_end|>\n" in text
