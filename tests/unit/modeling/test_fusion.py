"""Placeholders and features: how they must match, in forward and in generation."""

import pytest
import torch

from fixtures_model import encode, features, mixed_rows, picture, user
from theworld import TheWorld
from theworld.config import WorldSettings
from theworld.world.tap import WorldTap


class BrightnessTap(WorldTap):
    """Every cell of slot t holds the mean of the clip's frame 4t; future slots repeat the last."""

    num_channels, stride_px, fingerprint = 16, 8, "brightness"

    def _read(self, frames, num_world_steps, seeds):
        means = frames[:, ::4].float().mean(dim=(2, 3, 4)) / 255
        means = torch.cat([means, means[:, -1:].expand(-1, num_world_steps)], dim=1)
        return means[:, None, :, None, None].expand(-1, 16, -1, 8, 8).contiguous()


@pytest.fixture(scope="module")
def ahead():
    """A model that looks ahead, K = 1 unless a call says otherwise."""
    model = TheWorld.from_pretrained("tiny", world_tap="rollout", num_world_steps=1, load_world=False).eval()
    model.attach_world(BrightnessTap(WorldSettings(tap="rollout", image_size_px=64)))
    return model


def question(model, steps=None, **options):
    return encode(model.processor, [[user("Which bin?", picture(1))]], num_world_steps=steps, **options)


@pytest.mark.parametrize("call", ["forward", "generate"])
def test_another_k_than_the_processors_is_refused_with_both_counts(ahead, call):
    batch = question(ahead, 2)
    run = ahead if call == "forward" else ahead.generate
    with pytest.raises(
        ValueError, match="num_world_steps=1 makes 2 slots a clip, and the prompt has placeholders for 3"
    ):
        run(**{**batch, "num_world_steps": 1})
    given = {**batch, "world_features": features(1, num_slots=2), "num_world_steps": 1}
    del given["world_pixels"]
    with pytest.raises(ValueError, match=r"per row \(markers included\): \[194\] in \[1\] .* 1 clips of 130 each"):
        run(**given)


@pytest.mark.parametrize("steps", [0, 1, 3])
@torch.no_grad()
def test_k_travels_from_the_processor_through_the_model(ahead, steps):
    batch = question(ahead, steps)
    logits = ahead(**batch).logits[:, -1]
    first = ahead.generate(**batch, do_sample=False, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
    torch.testing.assert_close(first.logits[0], logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_a_k_the_configurations_is_taken(ahead):
    batch = question(ahead)
    expected = ahead(**batch).logits
    assert batch.pop("num_world_steps") == 1
    assert torch.equal(ahead(**batch).logits, expected)


@torch.no_grad()
def test_a_clip_of_five_frames_is_a_past_slot_and_now(ahead):
    dark, bright = (torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (40, 200))
    rising, falling = [dark] * 4 + [bright], [bright] * 4 + [dark]
    up = question(ahead, 1, world=[[rising]])
    assert up["world_pixels"].shape == (1, 5, 3, 64, 64)
    assert (up["input_ids"] == ahead.config.world_token_id).sum() == 3 * 64
    down = question(ahead, 1, world=[[falling]])
    assert (ahead(**up).logits - ahead(**down).logits)[:, -1].abs().max() > 0.001


@torch.no_grad()
def test_a_clip_of_five_frames_through_the_vae(fused):
    moving = question(fused, world=[[[picture(seed) for seed in range(5)]]])
    still = question(fused, world=[[[picture(4)] * 5]])
    assert fused.read_world(moving["world_pixels"]).shape == (1, 16, 2, 8, 8)
    assert (fused(**moving).logits - fused(**still).logits)[:, -1].abs().max() > 0.001


@torch.no_grad()
def test_a_feature_depends_on_its_clip_alone(fused, mixed_batch):
    together = fused.read_world(mixed_batch["world_pixels"])
    for clip in range(3):
        alone = fused.read_world(mixed_batch["world_pixels"][clip : clip + 1])
        torch.testing.assert_close(together[clip : clip + 1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_clips", [1, 2, 4])
def test_another_number_of_clips_than_blocks_is_refused_with_both_counts(fused, mixed_batch, num_clips):
    batch = {name: value for name, value in mixed_batch.items() if name != "world_pixels"}
    message = rf"per row \(markers included\): \[66, 132, 0\] in \[1, 2, 0\] blocks; features: {num_clips} clips of 66"
    with pytest.raises(ValueError, match=message):
        fused(**batch, world_features=features(num_clips))
    with pytest.raises(ValueError, match=message):
        fused.generate(**batch, world_features=features(num_clips))


def test_the_count_is_checked_row_by_row(fused, mixed_batch):
    """A placeholder moved from one row to another keeps the total and must be refused all the same."""
    batch = {name: value for name, value in mixed_batch.items() if name != "world_pixels"}
    ids = batch["input_ids"] = batch["input_ids"].clone()
    ids[0, (ids[0] == fused.config.world_token_id).int().argmax()] = 10
    ids[2, -1] = fused.config.world_token_id
    with pytest.raises(ValueError, match=r"\[65, 132, 1\] in \[1, 2, 0\] blocks"):
        fused(**batch, world_features=features(3))


def test_blocks_must_begin_and_end_with_their_markers(fused, mixed_batch):
    batch = {name: value for name, value in mixed_batch.items() if name != "world_pixels"}
    ids = batch["input_ids"] = batch["input_ids"].clone()
    start, end = ((ids[0] == token).int().argmax() for token in (fused.config.sow_token_id, fused.config.eow_token_id))
    ids[0, [start, end]] = ids[0, [end, start]]
    with pytest.raises(ValueError, match="runs of 66: start marker, tokens, end marker"):
        fused(**batch, world_features=features(3))


def test_placeholders_without_features_are_refused(fused, mixed_batch):
    batch = {name: value for name, value in mixed_batch.items() if name != "world_pixels"}
    with pytest.raises(ValueError, match="192 world placeholders but 0 features"):
        fused(**batch)
    with pytest.raises(ValueError, match="192 world placeholders but 0 features"):
        fused.generate(**batch, max_new_tokens=1)


def test_pixels_and_features_together_are_refused(fused, mixed_batch):
    with pytest.raises(ValueError, match="both world_pixels and world_features"):
        fused(**mixed_batch, world_features=features(3))


@pytest.mark.parametrize("call", ["forward", "generate"])
def test_a_model_without_a_world_refuses_one(world_off, mixed_batch, call):
    run = world_off if call == "forward" else world_off.generate
    with pytest.raises(ValueError, match="enable_world=False: it takes no world_pixels or world_features"):
        run(**mixed_batch)


def test_the_world_cannot_be_fused_into_embeddings(fused, mixed_batch):
    embeds = fused.get_input_embeddings()(mixed_batch["input_ids"])
    with pytest.raises(ValueError, match="cannot be combined with inputs_embeds"):
        fused(inputs_embeds=embeds, world_features=features(3))


def test_a_prefill_in_chunks_is_refused(fused, mixed_batch):
    with pytest.raises(ValueError, match="prefill_chunk_size"):
        fused.generate(**mixed_batch, prefill_chunk_size=8)


@torch.no_grad()
def test_a_world_token_is_never_written(model):
    """Their rows of the embedding mean nothing to Gemma, and as a next token each would be an unfilled placeholder."""
    config = model.config
    ids = [config.sow_token_id, config.eow_token_id, config.world_token_id]

    def prefer(module, args, logits):
        logits[..., ids] += 1e4
        return logits

    model.lm_head.register_forward_hook(prefer)
    batch = encode(model.processor, mixed_rows())
    length = batch["input_ids"].shape[1]
    for options in ({}, {"num_beams": 2}, {"use_cache": False}):
        written = model.generate(**batch, do_sample=False, max_new_tokens=3, **options)[:, length:]
        assert not torch.isin(written, torch.tensor(ids)).any()


def test_an_image_token_too_many_is_refused(fused, mixed_batch):
    batch = {**mixed_batch, "pixel_values": mixed_batch["pixel_values"][:2]}
    with pytest.raises(ValueError, match="Image features and image tokens do not match, tokens: 48, features: 32"):
        fused(**batch)


@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_missing_token_type_ids_are_those_of_the_processor(ahead, rows):
    messages = [[user("Which bin?", picture(1))], *mixed_rows()][:rows]
    batch = encode(ahead.processor, messages)
    without = {name: value for name, value in batch.items() if name != "token_type_ids"}

    assert torch.equal(ahead(**without).logits, ahead(**batch).logits)
    options = {"do_sample": False, "max_new_tokens": 3, "return_dict_in_generate": True, "output_logits": True}
    given, made = ahead.generate(**batch, **options), ahead.generate(**without, **options)
    assert torch.equal(torch.stack(given.logits), torch.stack(made.logits))
    causal = {**batch, "token_type_ids": torch.zeros_like(batch["token_type_ids"])}
    assert not torch.equal(ahead(**causal).logits, ahead(**batch).logits)


@torch.no_grad()
def test_missing_token_type_ids_are_made_in_a_plain_gemma_too():
    gemma = TheWorld.from_pretrained("tiny", enable_world=False).eval()
    batch = encode(gemma.processor, [[user("Which bin?", picture(1))]])
    expected = gemma(**batch).logits
    batch.pop("token_type_ids")
    assert torch.equal(gemma(**batch).logits, expected)
