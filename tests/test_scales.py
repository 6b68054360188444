"""The values and gradients of a network before training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.blocks import GlobalAveragePool, conv_block
from common.scales import measure_scales

IMAGES, LABELS = torch.rand(16, 1, 12, 12), torch.arange(16) % 3


def network(norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(conv_block(1, 4, norm=norm), conv_block(4, 6, norm=norm), GlobalAveragePool(), nn.Linear(6, 3))


@pytest.mark.parametrize("norm", [False, True])
def test_they_are_those_of_the_first_step(norm):
    measured, net = measure_scales(network(norm), IMAGES, LABELS), network(norm).train()
    F.cross_entropy(net(IMAGES), LABELS).backward()
    assert measured["gradients"] == pytest.approx([net[block][0].weight.grad.norm().item() for block in (0, 1)])
    assert measured["values"] == pytest.approx([net[:block](IMAGES).std().item() for block in (1, 2)])


def test_the_network_is_left_as_it_was():
    net = network(True).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    measure_scales(net, IMAGES, LABELS)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not net.training and all(weight.grad is None for weight in net.parameters())
