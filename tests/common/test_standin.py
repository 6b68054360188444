"""The stand-in is a fair one for MNIST: its shapes, its ink, and test images in fonts never seen in training."""

import numpy as np
import pytest
import torch
from torch import nn

from common.standin import TEST_FONTS, TRAIN_FONTS, draw_glyph, draw_half


def test_sizes_classes_and_ink_are_like_mnists_and_no_two_images_are_the_same(rendered):
    """MNIST's mean is 0.131, four fifths of its pixels are exactly 0, and its strokes are nearly white."""
    border = nn.functional.pad(torch.zeros(26, 26), (1, 1, 1, 1), value=1).bool()
    _, digits = rendered
    for images, labels, count in (*digits[:2], 60_000), (*digits[2:], 10_000):
        assert (images.shape, images.dtype, labels.dtype) == ((count, 28, 28), torch.uint8, torch.int64)
        assert 0.09 < images.float().mean() / 255 < 0.15 and 0.7 < (images == 0).float().mean() < 0.88
        assert images.amax((1, 2)).min() > 150 and (images[:, border] > 127).any(1).float().mean() < 0.01  # cut off
        assert len(images.flatten(1).unique(dim=0)) == count and (labels.bincount() / count - 0.1).abs().max() < 0.01


def test_every_call_draws_the_same_whatever_the_global_seed_which_stays_as_it_was():
    first, state = draw_half(TEST_FONTS, 100, seed=1), torch.manual_seed(7).get_state()
    assert all(map(torch.equal, first, draw_half(TEST_FONTS, 100, seed=1)))
    assert torch.equal(torch.get_rng_state(), state) and not torch.equal(first[0], draw_half(TEST_FONTS, 100, 2)[0])


@pytest.mark.parametrize("font", TRAIN_FONTS + TEST_FONTS)
def test_a_font_has_ten_different_digits_upright_in_the_middle_and_on_one_side_only(font):
    glyphs = np.stack([draw_glyph(font, digit).numpy()[0] for digit in range(10)])
    middles = np.tensordot(glyphs, np.indices((28, 28)) + 0.5, ([1, 2], [1, 2])) / glyphs.sum((1, 2))[:, None]
    assert np.abs(middles - 14).max() < 0.1
    assert np.corrcoef(glyphs.reshape(10, -1))[~np.eye(10, dtype=bool)].max() < 0.95
    rows = glyphs[7].sum(1)[glyphs[7].sum(1) > 0]
    assert rows[:5].sum() > rows[-5:].sum() and (font in TRAIN_FONTS) != (font in TEST_FONTS)


def test_a_small_network_learns_it(rendered):
    _, digits = rendered
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 16, 7, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.003)
    for images, labels in zip(digits[0][:6400, None].split(32), digits[1].split(32), strict=False):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images / 255), labels).backward()
        optimizer.step()
    assert (net(digits[2][:, None] / 255).argmax(1) == digits[3]).float().mean() > 0.85
