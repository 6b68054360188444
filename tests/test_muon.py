"""Orthogonal steps: what they are, and that all other weights step as by SGD."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.blocks import GlobalAveragePool, conv_block
from common.muon import muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 9), (8, 72), (14, 108), (40, 9)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_singular_values_come_near_to_1_whatever_they_were(shape, size):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * size))
    assert values.min() > 0.6 and values.max() < 1.25


@pytest.mark.parametrize("value", [0.002, 0.005, 0.02, 0.1, 0.3, 0.99])
def test_a_weak_direction_becomes_about_as_strong_as_the_strongest(value):
    values = orthogonal(torch.diag(torch.tensor([(1 - value**2) ** 0.5, value]))).diag()
    assert values.min() > 0.65 and values.max() < 1.2


def test_the_directions_are_kept():
    torch.manual_seed(0)
    matrix = torch.randn(6, 20, dtype=torch.float64)
    left, _values, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonal(matrix) @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diag()), atol=1e-9, rtol=0)
    assert (turned.diag() > 0.6).all()


def test_no_gradient_makes_no_step():
    assert orthogonal(torch.zeros(4, 9)).abs().max() == 0
    layer = nn.Conv2d(1, 2, 3)
    before = copy.deepcopy(layer.state_dict())
    muon(layer, 0.1, kernels=0.1).step()
    assert all(torch.equal(before[name], now) for name, now in layer.state_dict().items())


def losses_of(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    torch.manual_seed(2)
    images, labels = torch.rand(32, 1, 12, 12), torch.randint(10, (32,))
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(conv_block(1, 4), conv_block(4, 6), GlobalAveragePool(), nn.Linear(6, 10))


def test_weights_that_are_no_kernels_step_as_by_sgd(net):
    other = copy.deepcopy(net)
    losses_of(net, muon(net, 0.1, kernels=0.0), 5)
    free = [weight for weight in other.parameters() if weight.ndim != 4]
    losses_of(other, torch.optim.SGD(free, 0.1, momentum=0.9, nesterov=True), 5)
    for one, same in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, same)


def test_a_kernel_moves_as_far_along_every_direction(net):
    before = net[1][0].weight.detach().clone()
    losses_of(net, muon(net, 0.1, kernels=0.01), 1)
    values = torch.linalg.svdvals((net[1][0].weight.detach() - before).flatten(1))
    assert values.min() > 0.006 and values.max() < 0.0125


def test_it_learns_in_either_layout_alike(net):
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    one, same = (losses_of(each, muon(each, 0.1, kernels=0.03), 20) for each in (net, other))
    assert one[-1] < 0.9 * one[0]
    assert one == pytest.approx(same, rel=1e-3)
