"""Weights as plain numbers: what is written is what the network holds, to the last bit."""

import json

import pytest
import torch
from helpers import make_run
from torch import nn

from common import InputError
from common.blocks import GlobalAveragePool, conv_block
from common.weights import read_layers, restore, weights_path, write_weights

RUN = make_run(stage="06_lr_scheduler", seed=3)


def network(width: int = 4) -> nn.Module:
    """A small network with all that the stages' blocks are made of, its statistics moved by a pass of training."""
    net = nn.Sequential(conv_block(1, width, pool=True, padding=1), conv_block(width, 5, dropout=0.1))
    net += nn.Sequential(GlobalAveragePool(), nn.Linear(5, 10))
    net(torch.randn(8, 1, 28, 28))
    return net.eval()


def test_a_network_is_restored_exactly(tmp_path):
    torch.manual_seed(0)
    net, images = network(), torch.randn(3, 1, 28, 28)
    write_weights(tmp_path, RUN, net)
    again = restore(network(), read_layers(weights_path(tmp_path, "06_lr_scheduler", 3)))
    assert torch.equal(again(images), net(images))


def test_the_file_lies_beside_the_metrics_and_tells_the_layers_in_their_order(tmp_path):
    write_weights(tmp_path, RUN, network())
    layers = json.loads((tmp_path / "weights" / "06_lr_scheduler" / "seed-3.json").read_text())
    assert [layer["kind"] for layer in layers] == [
        *("Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU"),
        *("Conv2d", "BatchNorm2d", "ReLU", "Dropout", "GlobalAveragePool", "Linear"),
    ]
    assert layers[0]["padding"] == [1, 1]
    assert layers[0]["state"]["weight"]["shape"] == [4, 1, 3, 3]


def test_weights_of_another_network_are_refused(tmp_path):
    write_weights(tmp_path, RUN, network(width=6))
    with pytest.raises(InputError, match="another network"):
        restore(network(), read_layers(weights_path(tmp_path, "06_lr_scheduler", 3)))


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    (tmp_path / "weights.json").write_text("[{")
    with pytest.raises(InputError, match=r"weights\.json can't be read .*: run the stage again"):
        read_layers(tmp_path / "weights.json")
