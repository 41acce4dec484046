"""With the world on: generation equals the plain forward, rows equal themselves alone, and the world matters."""

import copy

import pytest
import torch

from fixtures_model import assistant, encode, features, mixed_rows, picture, row_of, user

CLOSE = {"atol": 1e-5, "rtol": 0}
PICTURES = [[0], [1, 2], []]  # of each row of `mixed_rows`


def extended(batch, tokens):
    """The batch with tokens appended to every row."""
    grown = dict(batch)
    grown["input_ids"] = torch.cat([batch["input_ids"], tokens], dim=1)
    grown["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(tokens)], dim=1)
    grown["token_type_ids"] = torch.cat([batch["token_type_ids"], torch.zeros_like(tokens)], dim=1)
    return grown


@torch.no_grad()
def test_another_picture_for_the_world_alone_gives_other_logits(fused, mixed_batch):
    other = {**mixed_batch, "world_pixels": 255 - mixed_batch["world_pixels"]}
    change = (fused(**mixed_batch).logits - fused(**other).logits)[:, -1].abs().amax(-1)
    assert change[0] > 0.01
    assert change[1] > 0.01
    assert change[2] == 0  # this row has no picture
    options = {"do_sample": False, "max_new_tokens": 2, "return_dict_in_generate": True, "output_logits": True}
    first, second = fused.generate(**mixed_batch, **options), fused.generate(**other, **options)
    assert ((first.logits[0] - second.logits[0]).abs().amax(-1)[:2] > 0.01).all()


@torch.no_grad()
def test_the_order_of_two_clips_of_a_row_matters(fused, mixed_batch):
    swapped = {**mixed_batch, "world_pixels": mixed_batch["world_pixels"][[0, 2, 1]]}
    change = (fused(**mixed_batch).logits - fused(**swapped).logits)[:, -1].abs().amax(-1)
    assert change[1] > 0.001
    assert change[0] == 0


@torch.no_grad()
def test_stored_features_equal_live_ones(fused, mixed_batch):
    live = fused(**mixed_batch).logits
    stored = dict(mixed_batch)
    stored["world_features"] = fused.read_world(stored.pop("world_pixels"))
    assert torch.equal(fused(**stored).logits, live)


@torch.no_grad()
def test_cached_decoding_equals_the_plain_forward(fused, mixed_batch):
    output = fused.generate(
        **mixed_batch,
        do_sample=False,
        max_new_tokens=6,
        min_new_tokens=6,
        return_dict_in_generate=True,
        output_logits=True,
    )
    written = output.sequences[:, mixed_batch["input_ids"].shape[1] :]
    plain = fused(**extended(mixed_batch, written)).logits[:, -7:-1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), plain, **CLOSE)


@torch.no_grad()
def test_decoding_without_a_cache_equals_the_plain_forward(fused, mixed_batch):
    options = {"do_sample": False, "max_new_tokens": 3, "return_dict_in_generate": True, "output_logits": True}
    output = fused.generate(**mixed_batch, use_cache=False, min_new_tokens=3, **options)
    written = output.sequences[:, mixed_batch["input_ids"].shape[1] :]
    plain = fused(**extended(mixed_batch, written)).logits[:, -4:-1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), plain, **CLOSE)


@torch.no_grad()
def test_beams_equal_the_plain_forward_also_for_rows_with_one_two_and_no_clips(fused, mixed_batch):
    output = fused.generate(
        **mixed_batch,
        do_sample=False,
        num_beams=3,
        num_return_sequences=3,
        max_new_tokens=4,
        min_new_tokens=4,
        length_penalty=0.0,  # the score of a sequence is the sum of its log probabilities
        return_dict_in_generate=True,
        output_scores=True,
    )
    length = mixed_batch["input_ids"].shape[1]
    for row, pictures in enumerate(PICTURES):
        alone = row_of(mixed_batch, row, pictures)
        for beam in range(3 * row, 3 * row + 3):
            written = output.sequences[beam : beam + 1, length:]
            logits = fused(**extended(alone, written)).logits[:, -5:-1]
            score = torch.log_softmax(logits, -1).gather(-1, written[..., None]).sum()
            torch.testing.assert_close(output.sequences_scores[beam], score, **CLOSE)


@torch.no_grad()
def test_samples_of_one_prompt_start_from_the_same_logits(fused, mixed_batch):
    options = {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 1}
    output = fused.generate(**mixed_batch, **options, return_dict_in_generate=True, output_logits=True)
    plain = fused(**mixed_batch).logits[:, -1].repeat_interleave(2, dim=0)
    torch.testing.assert_close(output.logits[0], plain, **CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padded_rows_equal_themselves_alone(fused, processor, side):
    rows = [[*conversation, assistant("left")] for conversation in mixed_rows()]
    batch = encode(processor, rows, side)
    logits = fused(**batch).logits
    for row, pictures in enumerate(PICTURES):
        alone = row_of(batch, row, pictures)
        ids = alone["input_ids"][0]
        is_text = (ids != fused.config.world_token_id) & (ids != fused.config.image_token_id)  # others predict nothing
        together = logits[row, batch["attention_mask"][row].bool()]
        torch.testing.assert_close(together[is_text], fused(**alone).logits[0, is_text], **CLOSE)


@torch.no_grad()
def test_the_language_model_sees_exactly_the_ids_given(model, mixed_batch, record_ids):
    seen = record_ids(model)
    model(**mixed_batch)
    assert len(seen) == 1
    assert torch.equal(seen[0], mixed_batch["input_ids"])
    seen.clear()
    sequences = model.generate(**mixed_batch, do_sample=False, max_new_tokens=3, min_new_tokens=3)
    assert torch.equal(seen[0], mixed_batch["input_ids"])
    assert torch.equal(torch.cat(seen, dim=1), sequences[:, :-1])


@torch.no_grad()
def test_the_prompt_is_prefilled_with_logits_at_its_last_position_only(model, mixed_batch):
    shapes = []
    model.lm_head.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    model.generate(**mixed_batch, do_sample=False, max_new_tokens=2)
    assert shapes[0] == (3, 1, 64)


@torch.no_grad()
def test_a_cached_prefix_is_shared_by_two_questions(fused, processor):
    """The picture and its world are read once; each question continues a copy of the cache."""
    batches = [encode(processor, [[user(text, picture(1))]]) for text in ("Which bin?", "Which colour is it?")]
    first, second = (batch["input_ids"][0] for batch in batches)
    same = int((first[: len(second)] == second[: len(first)]).int().argmin())
    prefix = {name: batches[0][name][:, :same] for name in ("input_ids", "attention_mask", "token_type_ids")}
    cache = fused(**prefix, **{name: batches[0][name] for name in ("pixel_values", "world_pixels")}).past_key_values
    for batch in batches:
        text = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        options = {"do_sample": False, "max_new_tokens": 2, "return_dict_in_generate": True, "output_logits": True}
        shared = fused.generate(**text, past_key_values=copy.deepcopy(cache), **options)
        whole = fused.generate(**batch, **options)
        torch.testing.assert_close(torch.stack(shared.logits), torch.stack(whole.logits), **CLOSE)


@torch.no_grad()
def test_future_slots_travel_through_generation(fused, processor):
    """K = 1 by stored features: one slot now, one to come."""
    batch = encode(processor, [[user("Which bin?", picture(1))]])
    ids = batch["input_ids"]
    at = int((ids[0] == fused.config.eow_token_id).int().argmax())
    more = torch.full((1, 64), fused.config.world_token_id)
    grown = {"input_ids": torch.cat([ids[:, :at], more, ids[:, at:]], dim=1), "pixel_values": batch["pixel_values"]}
    grown["token_type_ids"] = (grown["input_ids"] == fused.config.image_token_id).long()
    grown["attention_mask"] = torch.ones_like(grown["input_ids"])
    options = {"do_sample": False, "max_new_tokens": 2, "return_dict_in_generate": True, "output_logits": True}
    for steps, past in ((1, 0), (0, 1)):
        stored = {"world_features": features(1, num_slots=2), "num_world_steps": steps}
        assert past + 1 + steps == 2
        output = fused.generate(**grown, **stored, **options)
        torch.testing.assert_close(output.logits[0], fused(**grown, **stored).logits[:, -1], **CLOSE)
