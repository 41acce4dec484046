"""Muon and AdamW as one optimiser: matrices by the one, the rest by the other, driven and resumed together."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from recipes.trainer import Muon, MuonAdamW


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3, bias=False))


def step(model: nn.Module, optimizer: MuonAdamW) -> None:
    loss: Tensor = model(torch.arange(5)).square().sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_matrices_are_moved_along_orthogonal_directions_and_the_rest_by_adamw():
    model = network()
    before = copy.deepcopy(model.state_dict())
    step(model, MuonAdamW(model, matrix_learning_rate=0.1, learning_rate=0.01))
    moved = {name: value - before[name] for name, value in model.state_dict().items()}
    singular = torch.linalg.svdvals(moved["3.weight"])
    assert singular.min() > 0.4 * singular.max()  # a gradient's are orders of magnitude apart
    for name in ("0.weight", "1.bias", "2.weight"):  # AdamW's first step has the length of the rate
        assert moved[name].abs().max() < 0.0101
    assert moved["1.weight"].square().mean().sqrt() > 0.015  # 0.2 of Muon's rate


def test_a_resumed_optimiser_goes_on_bit_for_bit():
    straight, model = network(), network()
    one, other = (MuonAdamW(each, 0.02, 0.01, weight_decay=0.1) for each in (straight, model))
    for _ in range(4):
        step(straight, one)
    for _ in range(2):
        step(model, other)
    resumed = MuonAdamW(model, 0.02, 0.01, weight_decay=0.1)
    resumed.load_state_dict(copy.deepcopy(other.state_dict()))
    for _ in range(2):
        step(model, resumed)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in straight.state_dict().items())


def test_a_schedule_sets_the_rates_of_both_also_after_resuming():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimizer = MuonAdamW(model, 0.02, 0.01)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    assert schedule.get_last_lr() == [0.0, 0.0]
    step(model, optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_where_bfloat16_is_emulated_matrices_are_moved_alike_in_float32(
    cpu_with: Callable[..., None], shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    moved = []
    for flags in (("avx2",), ("avx2", "amx_bf16")):
        cpu_with(*flags)
        matrix = nn.Parameter(start.clone())
        optimizer = Muon([matrix], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for gradient in gradients:
            matrix.grad = gradient.clone()
            optimizer.step()
        moved.append(matrix.detach() - start)
        assert set(optimizer.state[matrix]) == {"momentum_buffer"}
    single, brief = moved
    assert (single - brief).norm() < 0.02 * single.norm()
    assert not torch.equal(single, brief)
