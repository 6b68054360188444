"""A stand-in for MNIST where it can't be had: digits drawn from the fonts that matplotlib ships."""

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.augmentation import Augment

NAME = "rendered digits, not MNIST"
VERSION = 3  # raise it whenever the images change: cached ones of another version are not read

# No family of fonts is on both sides: the test asks for shapes that were not trained on.
STYLES = "", "-Bold", "-Oblique", "-BoldOblique"
TRAIN_FONTS = (
    *(f"DejaVuSans{style}" for style in STYLES),
    *(f"DejaVuSansMono{style}" for style in STYLES),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *("cmr10", "cmb10"),
)
TEST_FONTS = "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmss10", "cmtt10"

SIDE, BOX = 28, 20  # pixels: of MNIST's images, and of the box that its digits are fitted into
MOVES = Augment(rotation=15, shift_x=1.5, shift_y=1.5, scale=0.12, shear=15)


def draw_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train images and labels, test images and labels: as many as MNIST has, and the same at every call."""
    return *draw_half(TRAIN_FONTS, 60_000, seed=0), *draw_half(TEST_FONTS, 10_000, seed=1)


def draw_half(fonts: tuple[str, ...], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images as bytes [N, 28, 28], each of a random digit and font and moved at random, and their labels [N]."""
    glyphs = torch.stack([draw_glyph(font, digit) for font in fonts for digit in range(10)])
    generator = torch.Generator().manual_seed(seed)
    chosen, amounts = torch.randint(len(glyphs), (count,), generator=generator), MOVES.draw(count, generator)
    parts = zip(chosen.split(5000), amounts.split(5000), strict=True)  # all at once would take a GB
    moved = torch.cat([MOVES.apply(glyphs[part], moves) for part, moves in parts])
    return moved.mul(255).round().byte().squeeze(1), chosen % 10


def draw_glyph(font: str, digit: int) -> Tensor:
    """A digit [1, 28, 28], its centre of mass in the middle, so large that it fills the box where it is scaled most."""
    points = 100  # so large that shrinking smooths the edges
    file = f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf"
    canvas = Image.new("L", (3 * points, 3 * points))
    ImageDraw.Draw(canvas).text((points, points), str(digit), 255, ImageFont.truetype(file, points))
    ink = np.asarray(canvas, float)
    rows, columns = ink.nonzero()
    half = (1 + max(np.ptp(rows), np.ptp(columns))) * (1 + MOVES.scale) * SIDE / BOX / 2
    y, x = (np.average(axis + 0.5, weights=ink[rows, columns]) for axis in (rows, columns))
    small = canvas.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (x - half, y - half, x + half, y + half))
    return torch.from_numpy(np.array(small)).div(255).unsqueeze(0)
