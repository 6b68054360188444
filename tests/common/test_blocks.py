"""The layers of a block, and what it computes."""

import pytest
import torch
from torch import nn

from common import GlobalAveragePool, conv_block


def test_a_block_has_only_the_layers_asked_for_and_a_bias_where_no_norm_replaces_it():
    whole, plain, bare = conv_block(3, 5, dropout=0.2, pool=True), conv_block(3, 5), conv_block(3, 5, norm=False)
    assert [type(layer) for layer in whole] == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in plain] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in bare] == [nn.Conv2d, nn.ReLU]
    assert whole[-1].p == 0.2 and plain[0].bias is None and bare[0].bias is not None


@pytest.mark.parametrize(("options", "side"), [({}, 6), ({"padding": 1}, 8), ({"pool": True}, 3)])
def test_a_convolution_takes_off_what_is_not_padded_and_a_pool_halves_the_rest(options, side):
    assert conv_block(3, 5, **options)(torch.rand(2, 3, 8, 8)).shape == (2, 5, side, side)


@pytest.mark.parametrize("norm", [True, False])
def test_pooling_first_gives_what_pooling_last_would(norm):
    convolution, pool, *between = block = conv_block(1, 5, norm=norm, pool=True).eval()
    images = torch.randn(4, 1, 12, 12)
    assert torch.allclose(block(images), pool(nn.Sequential(*between)(convolution(images))), atol=1e-6)


def test_global_average_pooling_is_the_mean_of_each_map():
    maps = torch.rand(2, 3, 4, 5)
    assert torch.allclose(GlobalAveragePool()(maps), nn.AdaptiveAvgPool2d(1)(maps).flatten(1), atol=1e-6)
