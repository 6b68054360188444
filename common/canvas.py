"""What the figures are drawn on and kept as: style, axes, tiles, PNG. Without pyplot nothing is shown twice."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, MaxNLocator, NullLocator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from common.files import write_whole

TARGET = 99.4  # percent of MNIST's test set; it means nothing on other images
COLUMNS = 10  # of every grid of images

# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dash and marker too.
BLUE, SKY, VERMILION, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
# Percentages to name on an axis, those first that are kept where there is not room for all.
TICKS = TARGET, 99, 98, 95, 90, 80, 50, 97, 99.2, 99.7, 98.5, 99.3, 99.5, 99.6, 99.1, 100, 20, 40, 60, 70


def new_figure(title: str, dataset: str, height: float, **panels: Any) -> tuple[Figure, Any]:
    """An opaque white figure, as wide as GitHub shows it, that names its data set; and its axes."""
    figure = Figure(figsize=(8.5, height), dpi=100, facecolor="white", layout="constrained")
    figure.suptitle(f"{title} · {dataset}", fontsize=11.5)
    return figure, figure.subplots(**panels)


def draw_tiles(title: str, dataset: str, images: Tensor, above: int = 2) -> tuple[Figure, Axes, int]:
    """Images in rows of ten, dark on white, with `above` white pixels over each; and the width of a tile."""
    tiles = F.pad(images.cpu().squeeze(1), (2, 2, above, 2)).unflatten(0, (-1, COLUMNS))
    rows, columns, height, width = tiles.shape
    picture = tiles.transpose(1, 2).reshape(rows * height, columns * width).numpy()
    figure, axes = new_figure(title, dataset, 0.5 + 8.5 * len(picture) / picture.shape[1])
    extent = (0, columns * width, rows * height, 0)
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1, extent=extent)
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure, axes, width


def draw_captioned(title: str, dataset: str, images: Tensor, captions: list[str]) -> Figure:
    """Images in rows of ten, each with two lines over it."""
    rows = max(1, math.ceil(len(images) / COLUMNS))
    grid = images.new_zeros(rows * COLUMNS, *images.shape[1:])
    grid[: len(images)] = images
    figure, axes, side = draw_tiles(title, dataset, grid, above=17)
    for place, caption in enumerate(captions):
        row, column = divmod(place, COLUMNS)
        axes.text((column + 0.5) * side, row * (side + 15) + 4, caption, ha="center", va="top", fontsize=9)
    return figure


def draw_series(axes: Axes, history: list[dict], key: str, label: str, color: str, style: str) -> None:
    """One quantity of the history by epoch, where it was measured."""
    points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), style, color=color, label=label, markersize=4)


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Name the axes and make them quiet."""
    axes.set(xlabel=x, ylabel=y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.88")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def label_accuracy(axes: Axes, x: str) -> None:
    """Space percentages by the log of the error: 99.3 against 99.4 is seen as well as 60 against 98.

    To be called before anything is drawn: limits chosen for a plain axis may lie above 100 %, beyond any log.
    """
    label_axes(axes, x, "accuracy (error on a log scale)")
    axes.set_yscale("function", functions=(accuracy_height, lambda height: 100.1 - np.exp(-height)))
    axes.yaxis.set(major_locator=AccuracyLocator(), minor_locator=NullLocator())
    axes.yaxis.set_major_formatter("{x:g} %")


def accuracy_height(accuracy: Any) -> Any:
    """How high percentages lie; a tenth is added to the error, or 100 % would lie infinitely high."""
    return -np.log(np.maximum(100.1 - accuracy, 1e-3))  # axes ask beyond their ends, too


class AccuracyLocator(Locator):
    """Names as many of TICKS as the axis has room for."""

    def __call__(self) -> list[float]:
        """The percentages in view, each a line's height away from the others."""
        low, high = self.axis.get_view_interval()
        gap = (accuracy_height(high) - accuracy_height(low)) * 0.07
        chosen = {}
        for tick in TICKS:
            height = accuracy_height(tick)
            if low <= tick <= high and all(abs(height - other) >= gap for other in chosen.values()):
                chosen[tick] = height
        return list(chosen)


def mark_target(axes: Axes, dataset: str) -> None:
    """Draw the line that the last epochs have to hold, where it applies."""
    if dataset == "MNIST":
        axes.axhline(TARGET, color=GREEN, linestyle="-.", label=f"goal of the series, {TARGET} %")


def legend_below(figure: Figure, columns: int = 5) -> None:
    """One legend for all panels, each label once, where it can't cover a curve."""
    handles = [axes.get_legend_handles_labels() for axes in reversed(figure.axes)]
    entries = {label: handle for pair in handles for handle, label in zip(*pair, strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False)


def show(figure: Figure, alt: str) -> None:
    """Display the figure in a notebook; its description is saved with it, for readers who don't see it."""
    content = {"image/png": base64.b64encode(to_png(figure)).decode(), "text/plain": alt}
    display(content, raw=True, metadata={"image/png": {"alt": alt}})


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all."""
    write_whole(path, to_png(figure))


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG: small, by a palette of 64 colours, and with no date or version in it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # Maximum coverage keeps the colour of a thin line, one step of k-means that of a large area.
    pixels = pixels.quantize(64, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    pixels.save(buffer, "png", optimize=True)
    return buffer.getvalue()
