"""The steps of convolutions are orthogonal; all other weights step as by SGD."""

import pytest
import torch
from torch import nn

from common.blocks import GlobalAveragePool, conv_block
from common.muon import muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 9), (14, 108), (40, 9)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_singular_values_come_near_to_1_weak_ones_too_and_the_directions_are_kept(shape, size):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(-2.5, 0, len(values), dtype=torch.float64) * size  # the last is 300 times the first
    turned = left.T @ orthogonal(left * values @ right) @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diag()), atol=1e-9, rtol=0)
    assert turned.diag().min() > 0.65 and turned.diag().max() < 1.2


def test_a_kernel_steps_by_nesterov_momentum_made_orthogonal_and_what_has_no_gradient_stays():
    layer, velocity = nn.Conv2d(2, 4, 3), 0
    optimizer, bias = muon(layer, 0.1, kernel_rate=0.5), layer.bias.detach().clone()
    for size in (1, 1, 0):
        before, layer.weight.grad = layer.weight.detach().clone(), size * torch.randn_like(layer.weight)
        optimizer.step()
        velocity = layer.weight.grad + 0.95 * velocity
        step = orthogonal((layer.weight.grad + 0.95 * velocity).flatten(1)).view_as(before)
        torch.testing.assert_close(layer.weight.detach(), before - 0.5 * step)
    assert torch.equal(layer.bias, bias) and not orthogonal(torch.zeros(4, 9)).any()


def network() -> nn.Module:
    """Two convolutions that mix channels, one that doesn't, and a linear layer."""
    torch.manual_seed(1)
    depthwise = nn.Conv2d(4, 4, 3, groups=4, bias=False)
    return nn.Sequential(conv_block(1, 4), depthwise, conv_block(4, 6), GlobalAveragePool(), nn.Linear(6, 10))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """The loss before each of so many steps."""
    torch.manual_seed(2)
    images, labels, losses = torch.rand(32, 1, 12, 12), torch.randint(10, (32,)), []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(nn.functional.cross_entropy(net(images), labels))
        losses[-1].backward()
        optimizer.step()
    return [loss.item() for loss in losses]


def test_other_weights_step_as_by_sgd_at_a_rate_of_their_own():
    net, other = network(), network()
    free = [weight for weight in other.parameters() if weight.ndim != 4 or weight is other[1].weight]
    train(net, muon(net, 0.1, kernel_rate=0.0), 5)
    train(other, torch.optim.SGD(free, 0.1, momentum=0.9, nesterov=True), 5)
    torch.testing.assert_close(net.state_dict(), other.state_dict())


def test_it_learns_in_either_layout_alike():
    nets = network(), network().to(memory_format=torch.channels_last)
    one, same = (train(net, muon(net, 0.1, kernel_rate=0.03), 20) for net in nets)
    assert one[-1] < 0.9 * one[0] and one == pytest.approx(same, rel=1e-3)
