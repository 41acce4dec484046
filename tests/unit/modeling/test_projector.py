"""What the trained layers make of features: order, scale, time, and which shapes they take."""

import pytest
import torch

from fixtures_model import features
from theworld import TheWorld, TheWorldConfig
from theworld.modeling.projector import WorldBlock, WorldResidual, space_to_depth


def make(layers, **settings):
    """A world module by itself, started as in a model whose embeddings have an RMS of 0.5."""
    sizes = {"world_image_size": 64, "text_config": {"hidden_size": 64, "num_attention_heads": 4}}
    module = layers(TheWorldConfig(**sizes, **settings))
    module.initialise(0.5)
    return module


def rms(tensor):
    return tensor.float().pow(2).mean().sqrt().item()


def test_space_to_depth_moves_each_patch_into_the_channels_of_its_cell():
    cells = torch.arange(16.0).view(1, 1, 1, 4, 4)
    deep = space_to_depth(cells, 2)
    assert deep.shape == (1, 4, 1, 2, 2)
    assert deep[0, :, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert deep[0, :, 0, 1, 1].tolist() == [10, 11, 14, 15]


def test_space_to_depth_keeps_clips_and_slots_apart():
    cells = features(3, num_slots=2, grid=4)
    deep = space_to_depth(cells, 2)
    assert torch.equal(deep[1:2, :, 1:2], space_to_depth(cells[1:2, :, 1:2], 2))
    assert torch.equal(deep.flatten().sort().values, cells.flatten().sort().values)


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="8 x 8 cells cannot be brought to 3 x 3"):
        space_to_depth(features(1), 3)


@pytest.mark.parametrize("architecture", ["linear", "mlp", "mlp_final_gelu"])
@pytest.mark.parametrize(
    ("settings", "tokens"),
    [({}, 64), ({"world_grid": 4}, 16), ({"world_grid": 1}, 1), ({"world_projection_mode": "channel"}, 16)],
    ids=["spatial", "grid 4", "grid 1", "channel"],
)
@torch.no_grad()
def test_a_block_has_markers_around_the_tokens_of_every_slot(architecture, settings, tokens):
    block = make(WorldBlock, world_projection_architecture=architecture, **settings)
    out = block(features(2, num_slots=3), 2)
    assert out.shape == (2, 1 + 3 * tokens + 1, 64)
    assert torch.equal(out[:, 0], block.markers[0].expand(2, -1))
    assert torch.equal(out[:, -1], block.markers[1].expand(2, -1))
    assert rms(out[:, 1:-1]) == pytest.approx(0.5, rel=0.02)
    assert rms(out[:, [0, -1]]) == pytest.approx(0.5, rel=0.3)  # 128 draws


@pytest.mark.parametrize("architecture", ["linear", "mlp", "mlp_final_gelu"])
def test_a_loaded_projector_starts_at_the_scale_of_gemmas_embeddings(architecture):
    model = TheWorld.from_pretrained("tiny", world_projection_architecture=architecture, load_world=False)
    embeds = model.get_input_embeddings()
    with torch.no_grad():
        expected = rms(embeds(torch.arange(embeds.weight.shape[0])))
        tokens = model.world(features(4), 0)[:, 1:-1]
    assert rms(tokens) == pytest.approx(expected, rel=0.05)
    assert rms(model.world.markers) == pytest.approx(expected, rel=0.3)


@torch.no_grad()
def test_a_spatial_token_depends_on_its_cell_alone_and_cells_go_row_by_row():
    block = make(WorldBlock)
    base = features(1)
    changed = base.clone()
    changed[:, :, 0, 2, 5] += 1.0
    moved = (block(base, 0) != block(changed, 0)).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [1 + 2 * 8 + 5]


@torch.no_grad()
def test_a_channel_token_depends_on_its_channel_alone():
    block = make(WorldBlock, world_projection_mode="channel")
    base = features(1)
    changed = base.clone()
    changed[:, 3] += 1.0
    moved = (block(base, 0) != block(changed, 0)).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [1 + 3]


@torch.no_grad()
def test_time_is_counted_from_now():
    block = make(WorldBlock, max_past_steps=2, max_world_steps=3)
    still = features(1).expand(-1, -1, 3, -1, -1).contiguous()
    slots = {steps: block(still, steps)[0, 1:-1].view(3, 64, 64) for steps in (0, 1, 2)}
    assert torch.equal(slots[2][0], slots[1][1])  # now
    assert torch.equal(slots[1][1], slots[0][2])
    assert torch.equal(slots[1][0], slots[0][1])  # one slot ago
    assert not torch.equal(slots[2][0], slots[2][1])  # the same picture, now and then


@pytest.mark.parametrize(
    ("slots", "steps", "message"),
    [
        (4, 0, "leave 3 in the past: the time table holds 0..2 past and 0..3 future slots"),
        (5, 4, "num_world_steps=4 in the future"),
        (1, 1, "leave -1 in the past"),
        (2, -1, "num_world_steps=-1"),
    ],
)
def test_more_slots_than_the_time_table_has_are_refused(slots, steps, message):
    block = make(WorldBlock, max_past_steps=2, max_world_steps=3)
    with pytest.raises(ValueError, match=message):
        block(features(1, num_slots=slots), steps)


def test_hidden_states_of_the_denoiser_are_normalised_before_they_are_projected():
    block = make(WorldBlock, world_tap="dit", world_channels=48, world_stride_px=16)
    states = features(1, channels=48, grid=4)
    with torch.no_grad():
        torch.testing.assert_close(block(states, 0), block(100 * states + 3, 0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("grid", [None, 4, 2])
@torch.no_grad()
def test_the_residual_is_zero_at_first_and_has_the_scale_of_embeddings_behind_its_gate(grid):
    residual = make(WorldResidual, world_fusion="residual", world_grid=grid, mm_tokens_per_image=16)
    out = residual(features(3))
    assert out.shape == (3, 16, 64)
    assert not out.any()
    residual.gate.fill_(1.0)
    assert rms(residual(features(3))) == pytest.approx(0.5, rel=0.02)


@torch.no_grad()
def test_the_residual_lies_where_the_cell_lies():
    """Feature grid 8 x 8 on an image grid of 4 x 4: the cell at the bottom right reaches the last tokens only."""
    residual = make(WorldResidual, world_fusion="residual", mm_tokens_per_image=16)
    residual.gate.fill_(1.0)
    base = features(1)
    changed = base.clone()
    changed[..., 7, 7] += 1.0
    moved = (residual(base) != residual(changed)).any(-1)[0].view(4, 4)
    assert moved[3, 3]
    assert not moved[:2].any()
    assert not moved[:, :2].any()


@pytest.mark.parametrize("slots", [1, 3])
def test_the_residual_has_as_many_slots_as_it_was_built_for(slots):
    residual = make(WorldResidual, world_fusion="residual", world_tap="rollout", num_world_steps=1)
    assert residual(features(1, num_slots=2)).shape == (1, 256, 64)
    with pytest.raises(ValueError, match=f"built for 2 slots .* got {slots}; choose num_world_steps at construction"):
        residual(features(1, num_slots=slots))


@torch.no_grad()
def test_cells_that_hold_the_same_say_where_they_lie():
    block = make(WorldBlock, world_grid=4)
    tokens = block(torch.ones(1, 16, 2, 8, 8), 1)[0, 1:-1].view(2, 16, 64)

    assert len(tokens.flatten(0, 1).unique(dim=0)) == 32
    shifts = tokens - tokens[:, :1]
    assert torch.allclose(shifts[0], shifts[1], atol=0.05)  # a place is the same place in every slot
