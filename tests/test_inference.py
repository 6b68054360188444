"""A drawn or photographed digit, made like MNIST's, and classified."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from common import InputError, inference


def stroke(height: int, width: int, top: int, left: int, tall: int, wide: int) -> torch.Tensor:
    """A page with an L of full ink on it."""
    ink = torch.zeros(height, width)
    ink[top : top + tall, left : left + wide // 4] = 1
    ink[top + tall - tall // 4 : top + tall, left : left + wide] = 1
    return ink


def save(ink: torch.Tensor, path, dark_on_light: bool = True):
    """The page as a PNG."""
    values = 1 - ink if dark_on_light else ink
    Image.fromarray((255 * values).numpy().astype(np.uint8)).save(path)
    return path


def test_the_longer_side_becomes_20_pixels_and_the_centre_of_mass_the_middle():
    digit = inference.as_mnist(stroke(200, 150, 30, 20, 120, 80))
    assert digit.shape == (28, 28)
    places = torch.arange(28) + 0.5
    centre = [float((places * digit.sum(axis)).sum() / digit.sum()) for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.05)  # pixels blur it a little
    rows = digit.sum(1).nonzero().flatten()
    assert 20 <= rows[-1] - rows[0] + 1 <= 21  # 20, that need not begin with a whole pixel


def test_no_ink_is_lost_or_won():
    ink = stroke(200, 150, 30, 20, 120, 80)
    assert float(inference.as_mnist(ink).sum()) == pytest.approx(float(ink.sum()) * (20 / 120) ** 2, rel=1e-4)


@pytest.mark.parametrize("other", [stroke(400, 300, 60, 40, 240, 160), stroke(200, 150, 70, 60, 120, 80)])
def test_size_and_place_on_the_page_do_not_matter(other):
    torch.testing.assert_close(
        inference.as_mnist(other), inference.as_mnist(stroke(200, 150, 30, 20, 120, 80)), atol=1e-4, rtol=0
    )


def test_a_file_is_classified_alike_dark_on_light_and_light_on_dark(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    ink = stroke(200, 150, 30, 20, 120, 80)
    results = [
        inference.classify_file(net, save(ink, tmp_path / f"{dark}.png", dark_on_light=dark)) for dark in (True, False)
    ]
    for (digit, chances), (other, others) in [results]:
        assert digit.shape == (28, 28) and float(chances.sum()) == pytest.approx(1)
        torch.testing.assert_close(digit, other)
        torch.testing.assert_close(chances, others)


def test_what_shows_no_digit_or_is_no_image_is_refused_in_one_line(tmp_path):
    blank = save(torch.zeros(50, 50), tmp_path / "blank.png")
    with pytest.raises(InputError, match=r"blank\.png shows no digit"):
        inference.read_ink(blank)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png can't be read as an image"):
        inference.read_ink(tmp_path / "text.png")
    with pytest.raises(InputError, match="give a PNG or JPEG"):
        inference.read_ink(tmp_path / "missing.png")


def test_the_grid_shows_the_first_digits_and_the_least_sure_right_ones():
    images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
    probabilities = torch.eye(10)[labels] * 0.9 + 0.01
    probabilities[33] = torch.full((10,), 0.05) + torch.eye(10)[labels[33]] * 0.5
    figure = inference.answers(images, labels, probabilities, "MNIST")
    captions = [text.get_text() for text in figure.axes[0].texts]
    assert len(captions) == 30
    assert captions[:2] == ["0\n91.0 %", "1\n91.0 %"]
    assert captions[20] == "3\n55.0 %"
