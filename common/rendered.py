"""A stand-in for MNIST that needs no network: digits drawn from the fonts that matplotlib ships."""

from functools import cache
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

NAME = "rendered digits, not MNIST"
VERSION = 1  # raise it whenever the images change: whoever caches them can tell old from new

# Named one by one: the other fonts in matplotlib's folder hold symbols, and a later matplotlib may bring
# more. A family is on one side only (Computer Modern's roman, sans and typewriter are three), and each
# side has sans, mono, serif, italic and bold.
TRAIN_FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *("cmr10", "cmb10", "cmti10"),
)
TEST_FONTS = (
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmss10", "cmtt10"),
)

SIDE, BOX = 28, 20  # pixels: the side of MNIST's images, and of the box its digits are fitted into

# The ranges of the random draws, all uniform. Wider ones cut digits off or make people misread them.
ROTATION = -20.0, 20.0  # degrees
SLANT = -20.0, 20.0  # degrees off the upright
SCALE = 0.7, 1.0  # of width and height, each on its own
SHIFT = -1.5, 1.5  # pixels, across and down
WEIGHT = 0.0, 2.0  # pixels by which strokes are thicker than the font's own
GRAIN = 0.6, 1.0  # noise: the share of its ink that a pixel keeps, so that the background stays 0


class RenderedDigits(NamedTuple):
    """Images as uint8 [N, 28, 28], white ink on black, and their labels as int64 [N]."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def render_digits(train_count: int = 60_000, test_count: int = 10_000) -> RenderedDigits:
    """The same digits at every call; smaller counts give the first of them."""
    train, test = _render(TRAIN_FONTS, train_count, seed=0), _render(TEST_FONTS, test_count, seed=1)
    return RenderedDigits(*train, *test)


def _render(fonts: tuple[str, ...], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw `count` digits, each of a random class, font and shape."""
    # Images take their numbers from one stream in turn, so the first ones do not depend on the count.
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    labels = np.empty(count, np.int64)
    for i in range(count):
        labels[i] = digit = int(rng.integers(10))
        outline = _glyph(fonts[rng.integers(len(fonts))], digit)
        ink = _ink(outline, _random_placement(rng), weight=rng.uniform(*WEIGHT))
        images[i] = ink * rng.uniform(*GRAIN, ink.shape)
    return torch.from_numpy(images), torch.from_numpy(labels)


@cache
def _glyph(font: str, digit: int) -> Path:
    """The outline of a digit, fitted into the box as MNIST's are, with its centre of mass at the origin."""
    file = f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf"
    outline = TextPath((0, 0), str(digit), size=BOX, prop=FontProperties(fname=file))
    extents = outline.get_extents()
    outline = outline.transformed(Affine2D().translate(*-extents.min).scale(BOX / max(extents.size)))
    ink = _ink(outline, Affine2D(), weight=0.0)[::-1]  # from the bottom row up, as outlines count
    centre = [np.average(pixel + 0.5, weights=ink) for pixel in np.indices(ink.shape)]
    return outline.transformed(Affine2D().translate(-centre[1], -centre[0]))


def _random_placement(rng: np.random.Generator) -> Affine2D:
    """Slant, scale and turn around the origin, then move to about the image's centre."""
    return (
        Affine2D()
        .skew_deg(rng.uniform(*SLANT), 0)
        .scale(*rng.uniform(*SCALE, 2))
        .rotate_deg(rng.uniform(*ROTATION))
        .translate(*(SIDE / 2 + rng.uniform(*SHIFT, 2)))
    )


def _ink(outline: Path, placement: Affine2D, weight: float) -> np.ndarray:
    """How far each pixel is covered, 0 to 255, by the outline filled and traced with a pen of this width."""
    # Drawn straight at 28x28, since this coverage is exact; resampling a bigger picture blurs or aliases.
    canvas = RendererAgg(SIDE, SIDE, dpi=72)  # at 72 dpi the pen's points are pixels
    pen = canvas.new_gc()
    pen.set_linewidth(weight)
    canvas.draw_path(pen, outline, placement, rgbFace=(0, 0, 0))
    return np.asarray(canvas.buffer_rgba())[..., 3]
