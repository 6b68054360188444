"""The pictures of the notebooks: data in, a Picture out, which Jupyter shows by itself, with a text in its place."""

import base64
import io
import math
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from common.runs import GOAL, MNIST

COLUMNS = 10  # of every grid of images
WIDTH, DPI = 8.5, 200  # inches, and pixels an inch: sharp on any screen, shown 850 pixels wide
# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dash and marker, too.
BLUE, SKY, VERMILION, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"


class Picture(Figure):
    """A figure that Jupyter shows as a PNG, with a description for readers who don't see it."""

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict, dict]:
        """What Jupyter shows, and keeps."""
        content = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        return content, {"image/png": {"alt": self.alt, "width": round(100 * WIDTH)}}

    def png(self) -> bytes:
        """The picture as a PNG: small, by a palette of 64 colours, and with no date or version in it."""
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # Maximum coverage keeps the colour of a thin line, one step of k-means that of a large area.
        pixels = pixels.quantize(64, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        pixels.save(buffer, "png", optimize=True)
        return buffer.getvalue()


def new_picture(title: str, height: float, dataset: str = MNIST, alt: str = "", **panels: Any) -> tuple[Picture, Any]:
    """An opaque white picture whose title says what is found, and on which data if not MNIST; and its axes."""
    title = title if dataset == MNIST else f"{title} · {dataset}"
    picture = Picture(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    picture.suptitle(title, fontsize=12, x=0.01, ha="left")
    picture.alt = alt or title.replace("\n", " ")
    return picture, picture.subplots(**panels)


def style(axes: Axes, x: str, y: str) -> None:
    """Name the axes and make them quiet."""
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(picture: Picture, columns: int = 5) -> None:
    """One legend for all panels, each label once, where it can't cover a curve."""
    handles = [axes.get_legend_handles_labels() for axes in reversed(picture.axes)]
    entries = {label: handle for pair in handles for handle, label in zip(*pair, strict=True)}
    picture.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False)


def grid_of_images(title: str, dataset: str, images: Tensor, above: int = 2) -> tuple[Picture, Axes, int]:
    """Images in rows of ten, dark on white, with `above` white pixels over each; and the width of a tile."""
    tiles = F.pad(images.cpu().squeeze(1), (2, 2, above, 2)).unflatten(0, (-1, COLUMNS))
    rows, columns, height, width = tiles.shape
    pixels = tiles.transpose(1, 2).reshape(rows * height, columns * width).numpy()
    picture, axes = new_picture(title, 0.5 + WIDTH * len(pixels) / pixels.shape[1], dataset)
    axes.imshow(pixels, cmap="gray_r", vmin=0, vmax=1, extent=(0, columns * width, rows * height, 0))
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return picture, axes, width


def samples(images: Tensor, labels: Tensor, dataset: str, rows: int = 3) -> Picture:
    """The first images of each digit, a column a digit."""
    grid = images.new_zeros(rows, COLUMNS, *images.shape[1:])
    for digit in range(10):
        found = images[labels == digit][:rows]
        grid[: len(found), digit] = found
    picture, axes, side = grid_of_images(f"The first {rows} training images of each digit", dataset, grid.flatten(0, 1))
    axes.set_xticks([(digit + 0.5) * side for digit in range(10)], range(10))
    return picture


def augmented(images: Tensor, augment: Any, dataset: str, seed: int = 0, rows: int = 3) -> Picture:
    """The first images, each beside eight versions that training may see, and a mirrored one, which it may not."""
    originals = images[:rows].cpu().unsqueeze(1)
    copies = originals.repeat_interleave(COLUMNS - 2, 1).flatten(0, 1)
    changed = augment.apply(copies, augment.draw(len(copies), torch.Generator().manual_seed(seed)))
    changed = changed.unflatten(0, (-1, COLUMNS - 2))
    grid = torch.cat([originals, changed, originals.flip(-1)], dim=1).flatten(0, 1)
    title = "Every digit is changed a little, differently in each epoch, but never mirrored: a mirrored 2 is no 2"
    picture, axes, side = grid_of_images(title, dataset, grid)
    axes.axvline(side, color=VERMILION, linewidth=2)
    axes.set_xticks([side / 2, side * 5, side * 9.5], ["original", "as training may see it", "not this"])
    for row in range(len(originals)):
        axes.plot([9.15 * side, 9.85 * side], [(row + 0.15) * side, (row + 0.85) * side], color=VERMILION, linewidth=2)
    return picture


def curves(history: list[dict], dataset: str) -> Picture:
    """Loss and accuracy by epoch: train while training, train clean where it was measured, and test."""
    title = f"Last epoch: {history[-1]['test_accuracy']:.2f}% of the test images right"
    picture, (loss, accuracy) = new_picture(title, 4.0, dataset, ncols=2)
    style(loss, "epoch", "loss (log scale)")
    loss.set_yscale("log")
    loss.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    loss.yaxis.set_major_formatter("{x:g}")
    style(accuracy, "epoch", "accuracy, %")
    for axes, name in (loss, "loss"), (accuracy, "accuracy"):
        draw_series(axes, history, f"train_{name}", "train, while training", SKY, "^--")
        draw_series(axes, history, f"train_{name}_clean", "train, clean", BLUE, "s")
        draw_series(axes, history, f"test_{name}", "test", VERMILION, "o-")
        axes.axvspan(max(0.5, len(history) - 4.5), len(history) + 0.5, color="0.95", zorder=0)
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    lowest = min(min(row["test_accuracy"], row["train_accuracy"]) for row in history[2:] or history)
    accuracy.set_ylim(max(lowest, 97.5) - 0.1 if lowest > 90 else 0, 100)
    if dataset == MNIST:
        accuracy.axhline(GOAL, color=GREEN, linestyle="-.", label=f"goal, {GOAL}%")
    legend_below(picture)
    return picture


def draw_series(axes: Axes, history: list[dict], key: str, label: str, color: str, line: str) -> None:
    """One quantity of the history by epoch, where it was measured."""
    points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), line, color=color, label=label, markersize=4)


def schedule(rates: list[float], epochs: int, constant: float) -> Picture:
    """The learning rate step by step, beside the constant one of the steps before."""
    picture, axes = new_picture("The rate rises, falls, and is low in the last five epochs", 2.8)
    style(axes, "epoch", "learning rate")
    axes.axvspan(epochs - 5, epochs, color="0.95", zorder=0, label="the last five epochs")
    axes.plot(np.arange(len(rates)) * epochs / len(rates), rates, color=BLUE, label="this step")
    axes.axhline(constant, color="0.5", linestyle=":", label=f"steps 1 to 5: {constant}")
    legend_below(picture)
    return picture


def scales(measured: dict[str, list[float]], before: dict[str, list[float]] | None = None) -> Picture:
    """What `measure_scales` found, block by block; that of the step before in grey."""
    fall = measured["values"][0] / measured["values"][-1]
    title = "From block to block the values " + ("fade" if fall > 3 else "keep their size") + ", before any training"
    picture, panels = new_picture(title, 2.8, ncols=2)
    words = {"values": "spread of the values", "gradients": "size of the gradients"}
    for axes, (name, sizes) in zip(panels, measured.items(), strict=True):
        style(axes, "block", words[name])
        axes.set_yscale("log")
        for found, label, line, color in (before, "step 1", "s:", "0.6"), (measured, "this step", "o-", BLUE):
            if found:
                axes.plot(range(1, len(found[name]) + 1), found[name], line, color=color, label=label)
        axes.set_ylim(min(0.001, *sizes) / 2, max(1, *sizes) * 2)
    legend_below(picture)
    return picture


def dropped(maps: Tensor, rate: float) -> Picture:
    """Maps [channels, height, width] before and after dropout: values set to zero are crossed out."""
    after = F.dropout(maps, rate)
    lost = int(((after == 0) & (maps != 0)).sum())
    title = f"Here dropout at {rate:.0%} zeroes {lost} of {maps.numel()} values, others in every batch"
    picture, panels = new_picture(title, 1.1, ncols=len(maps))
    for axes, before, now in zip(panels, maps.cpu().numpy(), after.cpu().numpy(), strict=True):
        axes.imshow(now, cmap="Blues", vmin=0, vmax=maps.max().item())
        rows, columns = ((now == 0) & (before != 0)).nonzero()
        axes.plot(columns, rows, "x", color=VERMILION, markersize=6)
        axes.set(xticks=[], yticks=[])
    return picture


def both_orders(one: Tensor, other: Tensor) -> Picture:
    """The ten scores of a digit by two networks, side by side."""
    picture, axes = new_picture(
        f"One function in two orders: scores differ by at most {(one - other).abs().max():.8f}", 2.4
    )
    style(axes, "score of the digit", "")
    axes.bar(np.arange(10) - 0.2, one.tolist(), 0.4, color="0.6", label="1×1 convolution, then mean (step 3)")
    axes.bar(np.arange(10) + 0.2, other.tolist(), 0.4, color=BLUE, label="mean, then linear layer (step 4)")
    axes.set_xticks(range(10))
    legend_below(picture)
    return picture


def architecture(rows: list, digit: Tensor) -> Picture:
    """The layers of a receptive-field table: the square of the digit that a unit sees, and the maps to scale."""
    total = sum(row.params for row in rows)
    title = "Orange: what one unit sees of the image. Blue: the maps of a layer, their height and width to scale"
    picture, axes = new_picture(title, 3.3, alt=f"The network, layer by layer: {total:,} parameters")
    axes.set(xlim=(0, 36 * (len(rows) + 1)), ylim=(120, 0))
    axes.axis("off")
    layers = [("image", 28, 1, 1, "")] + [(r.operation, r.n_out, r.ch_out, r.r_out, f"{r.params:,}") for r in rows]
    for number, (name, side, channels, field, params) in enumerate(layers):
        x = 18 + 36 * number
        axes.imshow(digit.numpy(), cmap="gray_r", extent=(x - 14, x + 14, 44, 16), vmin=0, vmax=1, aspect="auto")
        add_square(axes, x, 30, 28, fill=False, edgecolor="0.85")
        add_square(axes, x, 30, min(field, 28), fill=False, edgecolor=VERMILION, linewidth=2)
        for depth in reversed(range(max(1, channels // 4))):
            add_square(axes, x + depth, 66 - depth, side, facecolor="#cfe6f5", edgecolor=BLUE, zorder=5 - depth)
        size = f"{channels}×{side}×{side}" if side > 1 else channels
        axes.text(x, 12, f"{field}×{field}", ha="center", va="bottom", color=VERMILION)
        axes.text(x, 84, name.replace(" ", "\n"), ha="center", va="top", fontweight="bold", fontsize=9)
        axes.text(x, 100, size, ha="center", va="top", fontsize=8.5)
        axes.text(x, 109, params, ha="center", va="top", fontsize=8.5, color="0.35")
    axes.text(0, 120, f"channels × height × width, then parameters: {total:,} in all", fontsize=8.5, color="0.35")
    return picture


def add_square(axes: Axes, x: float, y: float, side: float, **look: Any) -> None:
    """Draw a square around a centre."""
    axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, **look))


def confusion(labels: Tensor, predictions: Tensor, dataset: str) -> Picture:
    """How often each digit was taken for which; the colour is that of the errors alone."""
    counts = torch.bincount(labels.cpu() * 10 + predictions.cpu(), minlength=100).view(10, 10).numpy()
    errors = np.ma.masked_array(counts, np.eye(10))
    highest = max(1, errors.max())
    worst = np.unravel_index(errors.argmax(), errors.shape)
    title = f"{counts.sum() - counts.trace():,} of {len(labels):,} are misread, most often a {worst[0]} as a {worst[1]}"
    picture, axes = new_picture(title, 5.5, dataset)
    colors = matplotlib.colormaps["Oranges"].with_extremes(bad="0.93", under="white")
    axes.imshow(errors, colors, vmin=0.5, vmax=highest + 0.5)
    for row, column in np.argwhere(counts):
        color = "0.4" if row == column else "white" if counts[row, column] > 0.6 * highest > 1 else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color)
    axes.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit")
    return picture


def misclassified(images: Tensor, labels: Tensor, probabilities: Tensor, dataset: str, count: int = 20) -> Picture:
    """The mistakes with the highest probability: true digit → prediction."""
    confidence, predicted = probabilities.cpu().max(1)
    labels = labels.cpu()
    wrong = (predicted != labels).nonzero().flatten()
    shown = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    grid = images.new_zeros(max(1, math.ceil(len(shown) / COLUMNS)) * COLUMNS, *images.shape[1:])
    grid[: len(shown)] = images[shown.to(images.device)]
    title = f"The {len(shown)} mistakes with the highest probability: true digit → prediction"
    picture, axes, side = grid_of_images(title, dataset, grid, above=17)
    for place, index in enumerate(shown.tolist()):
        row, column = divmod(place, COLUMNS)
        caption = f"{labels[index]} → {predicted[index]}\n{100 * confidence[index]:.1f}%"
        axes.text((column + 0.5) * side, row * (side + 15) + 4, caption, ha="center", va="top", fontsize=9)
    return picture
