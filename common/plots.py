"""The figures of the series: data in, a Figure out. Without pyplot nothing stays open or is shown twice."""

import base64
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullLocator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

TARGET = 99.4  # percent of MNIST's test set; it means nothing on other images
LAST = 5  # epochs that are held against the target
COLUMNS = 10  # of every grid of images

# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dash and marker too.
BLUE, SKY, VERMILION, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
# Percentages to name on an axis, those first that are kept where there is not room for all.
TICKS = TARGET, 99, 98, 95, 90, 80, 50, 97, 99.2, 99.7, 98.5, 99.3, 99.5, 99.6, 99.1, 100, 20, 40, 60, 70


def sample_grid(images: Tensor, labels: Tensor, dataset: str, rows: int = 5) -> Figure:
    """The first images of each digit, a column a digit."""
    grid = images.new_zeros(rows, COLUMNS, *images.shape[1:])
    for digit in range(10):
        found = images[(labels == digit).nonzero()[:rows, 0]]
        grid[: len(found), digit] = found
    figure, axes, side = draw_tiles("The first images of each digit", dataset, grid.flatten(0, 1))
    axes.set_xticks([(digit + 0.5) * side for digit in range(10)], range(10))
    return figure


def augmented_grid(images: Tensor, augment: Any, dataset: str, seed: int = 0, rows: int = 5) -> Figure:
    """The first images, each beside nine versions of it that training may see; `augment` as in `batches`."""
    originals, versions = images[:rows].cpu(), COLUMNS - 1
    amounts = augment.draw(len(originals) * versions, torch.Generator().manual_seed(seed))
    changed = augment.apply(originals.repeat_interleave(versions, 0), amounts).unflatten(0, (-1, versions))
    grid = torch.cat([originals.unsqueeze(1), changed], dim=1).flatten(0, 1)
    figure, axes, side = draw_tiles("What augmentation makes of a digit", dataset, grid)
    axes.axvline(side, color=VERMILION, linewidth=2)
    axes.set_xticks([side / 2, side * 5.5], ["original", "as training may see it, drawn anew every epoch"])
    return figure


def curves(history: list[dict], dataset: str) -> Figure:
    """Loss and accuracy by epoch: train while training, train clean where it was measured, and test."""
    figure, (loss, accuracy) = new_figure("Loss and accuracy by epoch", dataset, 4.2, ncols=2)
    label_axes(loss, "epoch", "loss (log scale)")
    loss.set_yscale("log")
    loss.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    loss.yaxis.set_major_formatter("{x:g}")
    label_accuracy(accuracy, "epoch")
    for axes, name in (loss, "loss"), (accuracy, "accuracy"):
        draw_series(axes, history, f"train_{name}", "train, running", SKY, "^--")
        draw_series(axes, history, f"train_{name}_clean", "train, clean", BLUE, "s-")
        draw_series(axes, history, f"test_{name}", "test", VERMILION, "o-")
        if len(history) > LAST:
            end = len(history) + 0.5
            axes.axvspan(end - LAST, end, color="0.94", zorder=0, label=f"last {LAST} epochs")
    mark_target(accuracy, dataset)
    legend_below(figure)
    return figure


def learning_rates(history: list[dict], dataset: str, steps: Sequence[float] = ()) -> Figure:
    """The learning rate at the start of each epoch and, where `steps` has them, at every step."""
    figure, axes = new_figure("Learning rate", dataset, 3)
    label_axes(axes, "epochs trained", "learning rate")
    if len(steps):
        places = np.arange(len(steps)) * len(history) / len(steps)
        axes.plot(places, steps, color=SKY, label="every step")
    starts, rates = [row["epoch"] - 1 for row in history], [row["lr"] for row in history]
    axes.plot(starts, rates, "o" if len(steps) else "o-", color=BLUE, label="start of an epoch")
    axes.set_ylim(bottom=0)
    legend_below(figure)
    return figure


def confusion(labels: Tensor, predictions: Tensor, dataset: str) -> Figure:
    """How often each digit was taken for which; the colour is that of the errors alone."""
    counts = torch.bincount(labels.cpu() * 10 + predictions.cpu(), minlength=100).view(10, 10).numpy()
    errors = np.ma.masked_array(counts, np.eye(10))
    wrong, highest = counts.sum() - counts.trace(), max(1, errors.max())
    figure, axes = new_figure(f"{wrong:,} of {len(labels):,} digits taken for another", dataset, 6)
    palette = matplotlib.colormaps["Oranges"].with_extremes(bad="0.93", under="white")
    axes.imshow(errors, palette, vmin=0.5, vmax=highest + 0.5)
    for row, column in np.argwhere(counts):
        color = "0.4" if row == column else "white" if counts[row, column] > 0.6 * highest > 1 else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color)
    axes.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit")
    return figure


def misclassified(images: Tensor, labels: Tensor, probabilities: Tensor, dataset: str, count: int = 20) -> Figure:
    """The mistakes that the network was surest of: true digit → predicted digit, and its confidence."""
    confidence, predicted = probabilities.cpu().max(1)
    labels = labels.cpu()
    wrong = (predicted != labels).nonzero().flatten()
    shown = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    grid = images.new_zeros(rows * COLUMNS, *images.shape[1:])
    grid[: len(shown)] = images[shown.to(images.device)]
    title = f"{len(shown)} of {len(wrong)} mistakes, the surest first: true → predicted, confidence"
    title = title if len(wrong) else f"No mistake among {len(labels):,} digits"
    figure, axes, side = draw_tiles(title, dataset, grid, above=17)
    for place, index in enumerate(shown.tolist()):
        caption = f"{labels[index]} → {predicted[index]}\n{100 * confidence[index]:.1f} %"
        row, column = divmod(place, COLUMNS)
        axes.text((column + 0.5) * side, row * (side + 15) + 4, caption, ha="center", va="top", fontsize=9)
    return figure


def stage_spread(results: dict[str, list[list[float]]], dataset: str) -> Figure:
    """For each stage, every seed's last five test accuracies: their mean as a dot, their range as a line."""
    figure, axes = new_figure("Test accuracy in the last epochs, seed by seed", dataset, 4.8)
    label_accuracy(axes, "")
    names = []
    for place, (stage, runs) in enumerate(results.items()):
        spots = place + (np.arange(len(runs)) - (len(runs) - 1) / 2) * min(0.1, 0.7 / len(runs))
        means, lows, highs = (np.array([pick(run) for run in runs]) for pick in (np.mean, min, max))
        axes.plot(spots, means, "o", color=BLUE, markersize=5, label=f"mean of a seed's last {len(runs[0])}")
        axes.vlines(spots, lows, highs, SKY, zorder=1, label="their range")
        axes.hlines(means.mean(), place - 0.42, place + 0.42, "black", linewidth=1, label="mean of the seeds")
        names.append(f"{stage}\nmean {means.mean():.2f}\nseeds: {len(runs)}")
    axes.set_xticks(range(len(names)), names, fontsize=9)
    mark_target(axes, dataset)
    legend_below(figure)
    return figure


def stage_curves(histories: dict[str, list[list[dict]]], dataset: str) -> Figure:
    """Test accuracy by epoch, a panel a stage: the mean of the seeds in the band of their range."""
    shape = {"nrows": math.ceil(len(histories) / 3), "ncols": 3, "squeeze": False}
    height = 1 + 2.4 * shape["nrows"]
    figure, grid = new_figure("Test accuracy by epoch", dataset, height, **shape, sharex=True, sharey=True)
    panels, before = iter(grid.flat), None
    for (stage, runs), axes in zip(histories.items(), panels, strict=False):
        label_accuracy(axes, "epoch")
        epochs = [row["epoch"] for row in runs[0]]
        accuracies = np.array([[row["test_accuracy"] for row in run] for run in runs])
        axes.fill_between(epochs, accuracies.min(0), accuracies.max(0), color=SKY, alpha=0.5, label="range")
        axes.plot(epochs, accuracies.mean(0), color=BLUE, label="mean of the seeds")
        if before:
            axes.plot(*before, color="0.4", linestyle=":", label="the stage before")
        before = epochs, accuracies.mean(0)
        mark_target(axes, dataset)
        axes.set_title(stage, fontsize=10)
        axes.label_outer()
    for axes in panels:  # those that are left
        axes.set_visible(False)
    legend_below(figure)
    return figure


def show(figure: Figure, alt: str) -> None:
    """Display the figure in a notebook; its description is saved with it, for readers who don't see it."""
    content = {"image/png": base64.b64encode(to_png(figure)).decode(), "text/plain": alt}
    display(content, raw=True, metadata={"image/png": {"alt": alt}})


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(to_png(figure))
    partial.replace(path)


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


def draw_series(axes: Axes, history: list[dict], key: str, label: str, color: str, style: str) -> None:
    """One quantity of the history by epoch, where it was measured."""
    points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), style, color=color, label=label, markersize=4)


def mark_target(axes: Axes, dataset: str) -> None:
    """Draw the line that the last epochs have to hold, where it applies."""
    if dataset == "MNIST":
        axes.axhline(TARGET, color=GREEN, linestyle="-.", label=f"target, {TARGET} %")


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
    return -np.log(100.1 - accuracy)


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


def legend_below(figure: Figure) -> None:
    """One legend for all panels, each label once, where it can't cover a curve."""
    handles = [axes.get_legend_handles_labels() for axes in reversed(figure.axes)]
    entries = {label: handle for pair in handles for handle, label in zip(*pair, strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, frameon=False)
