"""Bases other than Gemma 3 under the fusion: with the world, all ways to an answer agree."""

import copy

import pytest
import torch

from fixtures_model import assistant, encode, picture, user
from theworld import TheWorld

GREEDY = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
CLOSE = {"atol": 2e-4, "rtol": 0}
"""Of logits up to 3. Padded rows differ by up to 4e-5, also in float64 and in Gemma 4 itself: generation counts
positions from the first token, a plain forward from the padding, and the angles of rotary embeddings are float32. With
the same positions they differ by 1e-5, in float64 by 1e-7, since norms are float32."""
OF_ROWS = ("input_ids", "attention_mask", "mm_token_type_ids")


def rows():
    """Three conversations: one picture, two pictures of unequal shapes, none."""
    return [
        [user("Which bin?", picture(1))],
        [user("Which bin is it, left or right, and why?", picture(2, width=96, height=48), picture(3))],
        [user("Hello?")],
    ]


@pytest.fixture(scope="module")
def model(fused_other):
    """The base with a world: not to be changed."""
    return fused_other


@pytest.fixture(scope="module")
def batch(model):
    """`rows`, padded on the left."""
    return encode(model.processor, rows())


def single(batch, row, pictures):
    """A row of a batch by itself, without padding."""
    real = batch["attention_mask"][row].bool()
    own = {name: batch[name][row : row + 1, real] for name in OF_ROWS}
    if pictures:
        own["world_pixels"] = batch["world_pixels"][pictures]
        own["num_world_steps"] = batch["num_world_steps"]
        if "image_grid_thw" in batch:  # the patches of all pictures are one list
            grids = batch["image_grid_thw"]
            patches = batch["pixel_values"].split(grids.prod(-1).tolist())
            own["image_grid_thw"] = grids[pictures]
            own["pixel_values"] = torch.cat([patches[index] for index in pictures])
        else:
            own |= {name: batch[name][pictures] for name in ("pixel_values", "image_position_ids")}
    return own


def test_loading_leaves_every_weight_of_the_base_as_it_is(other_base, model):
    from transformers import AutoModelForImageTextToText

    state = model.state_dict()
    plain = AutoModelForImageTextToText.from_pretrained(other_base).state_dict()
    for name, tensor in plain.items():
        assert torch.equal(state[name], tensor), name
    assert {name.split(".")[0] for name in state.keys() - plain.keys()} == {"world"}


def test_the_placeholders_of_the_world_lie_beyond_the_embedding_table(model):
    assert model.config.sow_token_id >= model.config.text.vocab_size


@torch.no_grad()
def test_another_picture_for_the_world_alone_gives_other_logits(model, batch):
    other = {**batch, "world_pixels": 255 - batch["world_pixels"]}
    change = (model(**batch).logits - model(**other).logits)[:, -1].abs().amax(-1)
    assert change[0] > 0.01
    assert change[1] > 0.01
    assert change[2] == 0  # this row has no picture


@torch.no_grad()
def test_the_order_of_two_clips_of_a_row_matters(model, batch):
    swapped = {**batch, "world_pixels": batch["world_pixels"][[0, 2, 1]]}
    change = (model(**batch).logits - model(**swapped).logits)[:, -1].abs().amax(-1)
    assert change[1] > 0.001
    assert change[0] == 0


@torch.no_grad()
def test_stored_features_equal_live_ones(model, batch):
    stored = dict(batch)
    stored["world_features"] = model.read_world(stored.pop("world_pixels"))
    assert torch.equal(model(**stored).logits, model(**batch).logits)


@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_decoding_equals_the_plain_forward(model, batch, use_cache):
    steps = 4
    output = model.generate(**batch, **GREEDY, use_cache=use_cache, max_new_tokens=steps, min_new_tokens=steps)
    written = output.sequences[:, batch["input_ids"].shape[1] :]
    whole = {**batch, "input_ids": output.sequences}
    whole["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(written)], 1)
    whole["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(written)], 1)
    expected = model(**whole).logits[:, -steps - 1 : -1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), expected, **CLOSE)


@torch.no_grad()
def test_a_left_padded_row_equals_itself_alone(model, batch):
    logits = model(**batch).logits[:, -1]
    for row, pictures in enumerate([[0], [1, 2], []]):
        torch.testing.assert_close(model(**single(batch, row, pictures)).logits[:, -1], logits[row : row + 1], **CLOSE)


@torch.no_grad()
def test_beams_of_rows_with_several_clips_equal_those_of_each_row_alone(model, batch):
    options = {**GREEDY, "num_beams": 2, "max_new_tokens": 3, "min_new_tokens": 3, "output_scores": True}
    together = model.generate(**batch, **options)
    for row, pictures in enumerate([[0], [1, 2], []]):
        alone = model.generate(**single(batch, row, pictures), **options)
        torch.testing.assert_close(alone.logits[0], together.logits[0][2 * row : 2 * row + 2], **CLOSE)
        assert torch.equal(alone.sequences[0, -3:], together.sequences[row, -3:])


@torch.no_grad()
def test_types_of_tokens_that_are_missing_are_those_of_the_processor(model, batch):
    bare = {name: value for name, value in batch.items() if name != "mm_token_type_ids"}
    assert torch.equal(model(**bare).logits, model(**batch).logits)
    options = {**GREEDY, "max_new_tokens": 2, "min_new_tokens": 2}
    answers = [model.generate(**inputs, **options).logits for inputs in (bare, batch)]
    assert torch.equal(torch.stack(answers[0]), torch.stack(answers[1]))


def test_a_short_call_answers_a_question_and_a_batch(model):
    answer = model.generate(picture(1), "Which bin?", max_new_tokens=3)
    assert model.generate([picture(1), None], ["Which bin?", "Hello?"], max_new_tokens=3)[0] == answer
    with model.without_world():
        assert isinstance(model.generate(picture(1), "Which bin?", max_new_tokens=3), str)


def test_a_prompt_with_placeholders_and_no_world_is_refused(model, batch):
    bare = {name: value for name, value in batch.items() if not name.startswith(("world", "num_world"))}
    with pytest.raises(ValueError, match="world placeholders but 0 features"):
        model(**bare)
    with pytest.raises(ValueError, match="world placeholders but 0 features"):
        model.generate(**bare, max_new_tokens=2)


def test_training_with_labels_moves_the_projector_and_nothing_else(model):
    model = copy.deepcopy(model).train()
    inputs = encode(model.processor, [[user("Which bin?", picture(1)), assistant("red")]], side="right")
    labels = inputs["input_ids"].clone()
    labels[:, :-3] = -100
    model(**inputs, labels=labels).loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("world.")}


@torch.no_grad()
def test_the_loss_equals_that_of_all_logits(model, batch):
    labels = batch["input_ids"].clone()
    labels[:, :-4] = -100
    logits = model(**batch).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(model(**batch, labels=labels).loss, expected, atol=1e-4, rtol=0)


def test_features_of_gemma_3_alone_are_refused_with_the_remedy(other_base, small_world, model, batch):
    title = model.config.BASE.title
    with pytest.raises(ValueError, match=rf"residual' on {title}: .* Gemma 3 alone; .*world_fusion='tokens'"):
        TheWorld.from_pretrained(other_base, **small_world, world_fusion="residual")
    with pytest.raises(ValueError, match=rf"look\(image\) on {title}: it exists for Gemma 3 alone; ask each question"):
        model.look(picture(1))
    with pytest.raises(ValueError, match=rf"packing=True on {title}: .*use packing=False"):
        model(**batch, packed_samples=torch.zeros_like(batch["input_ids"]))
