"""The rendered digits are a fair stand-in for MNIST: its shape, its ink, and fonts never seen in training."""

import numpy as np
import pytest
import torch
from matplotlib.transforms import Affine2D

from common import rendered
from common.rendered import TEST_FONTS, TRAIN_FONTS, render_digits


@pytest.fixture(scope="module")
def digits():
    return render_digits(train_count=2_000, test_count=1_000)


def upright(font, digit):
    """A digit as the font has it, in the middle of the image."""
    middle = Affine2D().translate(rendered.SIDE / 2, rendered.SIDE / 2)
    return rendered._ink(rendered._glyph(font, digit), middle, weight=0.0).astype(float)


def test_shapes_and_types_are_mnists(digits):
    assert digits.train_images.shape == (2_000, 28, 28) and digits.test_images.shape == (1_000, 28, 28)
    assert digits.train_labels.shape == (2_000,) and digits.test_labels.shape == (1_000,)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64


def test_a_second_call_gives_the_same_digits_and_a_smaller_count_the_first_of_them(digits):
    again = render_digits(train_count=2_000, test_count=300)
    assert torch.equal(again.train_images, digits.train_images)
    assert torch.equal(again.train_labels, digits.train_labels)
    assert torch.equal(again.test_images, digits.test_images[:300])
    assert torch.equal(again.test_labels, digits.test_labels[:300])


def test_global_random_state_neither_matters_nor_changes(digits):
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(render_digits(50, 0).train_images, digits.train_images[:50])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_no_font_is_in_both_sets():
    assert len(set(TRAIN_FONTS + TEST_FONTS)) == len(TRAIN_FONTS) + len(TEST_FONTS)


def test_no_two_images_are_the_same(digits):
    images = torch.cat([digits.train_images, digits.test_images]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)


def test_classes_are_balanced(digits):
    for labels in digits.train_labels, digits.test_labels:
        shares = torch.bincount(labels, minlength=10) / len(labels)
        assert len(shares) == 10
        assert shares.min() > 0.07 and shares.max() < 0.13


def test_ink_is_like_mnists(digits):
    """MNIST's mean is 0.131, four fifths of its pixels are exactly 0, and its strokes are nearly white."""
    for images in digits.train_images, digits.test_images:
        assert 0.09 < images.float().mean() / 255 < 0.15
        assert 0.70 < (images == 0).float().mean() < 0.88
        assert images.amax((1, 2)).min() > 150


def test_hardly_any_digit_is_cut_off_by_the_border(digits):
    edge = torch.ones(28, 28, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    for images in digits.train_images, digits.test_images:
        assert (images[:, edge] > 127).any(1).float().mean() < 0.03


@pytest.mark.parametrize("font", TRAIN_FONTS + TEST_FONTS)
def test_a_font_has_ten_different_digits(font):
    ink = np.stack([upright(font, digit).ravel() for digit in range(10)])
    assert np.corrcoef(ink)[~np.eye(10, dtype=bool)].max() < 0.95


def test_a_digit_fills_the_box_around_its_centre_of_mass():
    for font in TRAIN_FONTS + TEST_FONTS:
        outline = rendered._glyph(font, 4)
        ink = upright(font, 4)
        assert max(outline.get_extents().size) == pytest.approx(rendered.BOX)
        for axis in 0, 1:
            centre = np.average(np.indices(ink.shape)[axis] + 0.5, weights=ink)
            assert centre == pytest.approx(rendered.SIDE / 2, abs=0.1)


def test_digits_are_not_upside_down():
    for font in TRAIN_FONTS + TEST_FONTS:
        rows_from_the_top = np.flatnonzero(upright(font, 7).sum(1))
        top, bottom = upright(font, 7)[rows_from_the_top[[1, -2]]]
        assert top.sum() > bottom.sum()
