"""Gemma 4 under the fusion: without the world it is Gemma 4, bit for bit; with it, all ways to an answer agree."""

import copy

import pytest
import torch
from transformers import Gemma4ForConditionalGeneration, Gemma4Processor

from fixtures_model import assistant, encode, picture, user
from theworld import TheWorld

GREEDY = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
CLOSE = {"atol": 2e-4, "rtol": 0}
"""Of logits up to 3. Padded rows differ by up to 4e-5, also in float64 and in Gemma 4 itself: generation counts
positions from the first token, a plain forward from the padding, and the angles of rotary embeddings are float32. With
the same positions they differ by 1e-5, in float64 by 1e-7, since norms are float32."""


def rows():
    """Three conversations: one picture, two pictures of unequal shapes, none."""
    return [
        [user("Which bin?", picture(1))],
        [user("Which bin is it, left or right, and why?", picture(2, width=96, height=48), picture(3))],
        [user("Hello?")],
    ]


@pytest.fixture(scope="module")
def batch(fused4):
    """`rows`, padded on the left."""
    return encode(fused4.processor, rows())


@pytest.fixture(scope="module", params=[False, True], ids=["causal", "bidirectional"])
def plain(request, gemma4, tmp_path_factory):
    """Gemma 4 itself, and its folder: with causal attention, and with attention both ways within a picture."""
    from theworld.tiny.gemma4 import write_gemma4

    folder = gemma4
    if request.param:
        folder = tmp_path_factory.mktemp("bidirectional")
        write_gemma4(folder, seed=0, bidirectional=True)
    return Gemma4ForConditionalGeneration.from_pretrained(folder).eval(), folder


def single(batch, row, pictures):
    """A row of a batch by itself, without padding."""
    real = batch["attention_mask"][row].bool()
    names = ("input_ids", "attention_mask", "mm_token_type_ids")
    own = {name: batch[name][row : row + 1, real] for name in names}
    if pictures:
        own |= {name: batch[name][pictures] for name in ("pixel_values", "image_position_ids", "world_pixels")}
        own["num_world_steps"] = batch["num_world_steps"]
    return own


@torch.no_grad()
def test_another_picture_changes_the_logits_of_gemma_4(plain):
    model, folder = plain
    processor = Gemma4Processor.from_pretrained(folder)
    first, second = (model(**encode(processor, [[user("Which bin?", picture(seed))]])).logits[:, -1] for seed in (1, 2))
    assert (first - second).abs().max() > 0.01


@torch.no_grad()
def test_world_off_equals_gemma_4_bit_for_bit(plain):
    model, folder = plain
    world_off = TheWorld.from_pretrained(folder, enable_world=False).eval()
    expected = encode(Gemma4Processor.from_pretrained(folder), rows())
    inputs = encode(world_off.processor, rows())
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
    assert torch.equal(world_off(**inputs).logits, model(**inputs).logits)
    answers = [one.generate(**inputs, **GREEDY, max_new_tokens=4) for one in (world_off, model)]
    assert torch.equal(answers[0].sequences, answers[1].sequences)
    assert torch.equal(torch.stack(answers[0].logits), torch.stack(answers[1].logits))


def test_loading_leaves_every_weight_of_gemma_4_as_it_is(gemma4, fused4):
    state = fused4.state_dict()
    plain_state = Gemma4ForConditionalGeneration.from_pretrained(gemma4).state_dict()
    for name, tensor in plain_state.items():
        assert torch.equal(state[name], tensor), name
    assert {name.split(".")[0] for name in state.keys() - plain_state.keys()} == {"world"}


def test_the_placeholders_of_the_world_lie_beyond_the_embedding_table(fused4):
    assert fused4.config.sow_token_id >= fused4.config.text.vocab_size


@torch.no_grad()
def test_another_picture_for_the_world_alone_gives_other_logits(fused4, batch):
    other = {**batch, "world_pixels": 255 - batch["world_pixels"]}
    change = (fused4(**batch).logits - fused4(**other).logits)[:, -1].abs().amax(-1)
    assert change[0] > 0.01
    assert change[1] > 0.01
    assert change[2] == 0  # this row has no picture


@torch.no_grad()
def test_the_order_of_two_clips_of_a_row_matters(fused4, batch):
    swapped = {**batch, "world_pixels": batch["world_pixels"][[0, 2, 1]]}
    change = (fused4(**batch).logits - fused4(**swapped).logits)[:, -1].abs().amax(-1)
    assert change[1] > 0.001
    assert change[0] == 0


@torch.no_grad()
def test_a_world_token_has_the_inputs_of_padding_in_each_layer(fused4, batch):
    seen = []
    table = fused4.model.language_model.embed_tokens_per_layer
    hook = table.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    fused4(**batch)
    hook.remove()
    (ids,) = seen
    config = fused4.config
    world = (batch["input_ids"] >= config.sow_token_id) | (batch["input_ids"] == config.image_token_id)
    assert torch.equal(ids, torch.where(world, config.text.pad_token_id, batch["input_ids"]))


@torch.no_grad()
def test_stored_features_equal_live_ones(fused4, batch):
    stored = dict(batch)
    stored["world_features"] = fused4.read_world(stored.pop("world_pixels"))
    assert torch.equal(fused4(**stored).logits, fused4(**batch).logits)


@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_decoding_equals_the_plain_forward(fused4, batch, use_cache):
    steps = 4
    output = fused4.generate(**batch, **GREEDY, use_cache=use_cache, max_new_tokens=steps, min_new_tokens=steps)
    written = output.sequences[:, batch["input_ids"].shape[1] :]
    whole = {**batch, "input_ids": output.sequences}
    whole["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(written)], 1)
    whole["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(written)], 1)
    expected = fused4(**whole).logits[:, -steps - 1 : -1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), expected, **CLOSE)


@torch.no_grad()
def test_a_left_padded_row_equals_itself_alone(fused4, batch):
    logits = fused4(**batch).logits[:, -1]
    for row, pictures in enumerate([[0], [1, 2], []]):
        torch.testing.assert_close(fused4(**single(batch, row, pictures)).logits[:, -1], logits[row : row + 1], **CLOSE)


@torch.no_grad()
def test_beams_of_rows_with_several_clips_equal_those_of_each_row_alone(fused4, batch):
    options = {**GREEDY, "num_beams": 2, "max_new_tokens": 3, "min_new_tokens": 3, "output_scores": True}
    together = fused4.generate(**batch, **options)
    for row, pictures in enumerate([[0], [1, 2], []]):
        alone = fused4.generate(**single(batch, row, pictures), **options)
        torch.testing.assert_close(alone.logits[0], together.logits[0][2 * row : 2 * row + 2], **CLOSE)
        assert torch.equal(alone.sequences[0, -3:], together.sequences[row, -3:])


def test_a_short_call_answers_a_question_and_a_batch(fused4):
    answer = fused4.generate(picture(1), "Which bin?", max_new_tokens=3)
    assert fused4.generate([picture(1), None], ["Which bin?", "Hello?"], max_new_tokens=3)[0] == answer
    with fused4.without_world():
        assert isinstance(fused4.generate(picture(1), "Which bin?", max_new_tokens=3), str)


def test_a_prompt_with_placeholders_and_no_world_is_refused(fused4, batch):
    bare = {name: value for name, value in batch.items() if not name.startswith(("world", "num_world"))}
    with pytest.raises(ValueError, match="world placeholders but 0 features"):
        fused4(**bare)
    with pytest.raises(ValueError, match="world placeholders but 0 features"):
        fused4.generate(**bare, max_new_tokens=2)


def test_training_with_labels_moves_the_projector_and_nothing_else(fused4):
    model = copy.deepcopy(fused4).train()
    inputs = encode(model.processor, [[user("Which bin?", picture(1)), assistant("red")]], side="right")
    labels = inputs["input_ids"].clone()
    labels[:, :-3] = -100
    model(**inputs, labels=labels).loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("world.")}


@torch.no_grad()
def test_the_loss_equals_that_of_all_logits(fused4, batch):
    labels = batch["input_ids"].clone()
    labels[:, :-4] = -100
    logits = fused4(**batch).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(fused4(**batch, labels=labels).loss, expected, atol=1e-4, rtol=0)


def test_features_of_gemma_3_alone_are_refused_with_the_remedy(gemma4, small_world, fused4, batch):
    with pytest.raises(ValueError, match=r"residual' on Gemma 4: .* Gemma 3 alone; .*world_fusion='tokens'"):
        TheWorld.from_pretrained(gemma4, **small_world, world_fusion="residual")
    with pytest.raises(ValueError, match=r"look\(image\) on Gemma 4: it exists for Gemma 3 alone; ask each question"):
        fused4.look(picture(1))
    with pytest.raises(ValueError, match=r"packing=True on Gemma 4: .*use packing=False"):
        fused4(**batch, packed_samples=torch.zeros_like(batch["input_ids"]))
