"""The figures of the series: data in, a Figure out; notebooks show them by `show`."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from common import canvas

show, save = canvas.show, canvas.save  # whoever draws a figure shows or keeps it, and needs one module for both
LAST = 5  # epochs that are held against the target
SCALES = {"values": "standard deviation of the values", "gradients": "norm of the weights' gradient"}


def sample_grid(images: Tensor, labels: Tensor, dataset: str, rows: int = 5) -> Figure:
    """The first images of each digit, a column a digit."""
    grid = images.new_zeros(rows, canvas.COLUMNS, *images.shape[1:])
    for digit in range(10):
        found = images[(labels == digit).nonzero()[:rows, 0]]
        grid[: len(found), digit] = found
    figure, axes, side = canvas.draw_tiles("The first images of each digit", dataset, grid.flatten(0, 1))
    axes.set_xticks([(digit + 0.5) * side for digit in range(10)], range(10))
    return figure


def augmented_grid(images: Tensor, augment: Any, dataset: str, seed: int = 0, rows: int = 5) -> Figure:
    """The first images, each beside nine versions of it that training may see; `augment` as in `batches`."""
    originals, versions = images[:rows].cpu(), canvas.COLUMNS - 1
    amounts = augment.draw(len(originals) * versions, torch.Generator().manual_seed(seed))
    changed = augment.apply(originals.repeat_interleave(versions, 0), amounts).unflatten(0, (-1, versions))
    grid = torch.cat([originals.unsqueeze(1), changed], dim=1).flatten(0, 1)
    figure, axes, side = canvas.draw_tiles("What augmentation makes of a digit", dataset, grid)
    axes.axvline(side, color=canvas.VERMILION, linewidth=2)
    axes.set_xticks([side / 2, side * 5.5], ["original", "as training may see it, drawn anew every epoch"])
    return figure


def curves(history: list[dict], dataset: str) -> Figure:
    """Loss and accuracy by epoch: train while training, train clean where it was measured, and test."""
    figure, (loss, accuracy) = canvas.new_figure("Loss and accuracy by epoch", dataset, 4.2, ncols=2)
    canvas.label_axes(loss, "epoch", "loss (log scale)")
    loss.set_yscale("log")
    loss.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    loss.yaxis.set_major_formatter("{x:g}")
    canvas.label_accuracy(accuracy, "epoch")
    for axes, name in (loss, "loss"), (accuracy, "accuracy"):
        canvas.draw_series(axes, history, f"train_{name}", "train, running", canvas.SKY, "^--")
        canvas.draw_series(axes, history, f"train_{name}_clean", "train, clean", canvas.BLUE, "s")
        canvas.draw_series(axes, history, f"test_{name}", "test", canvas.VERMILION, "o-")
        if len(history) > LAST:
            end = len(history) + 0.5
            axes.axvspan(end - LAST, end, color="0.94", zorder=0, label=f"last {LAST} epochs")
    canvas.mark_target(accuracy, dataset)
    canvas.legend_below(figure)
    return figure


def learning_rates(history: list[dict], dataset: str, steps: Sequence[float] = ()) -> Figure:
    """The learning rate at the start of each epoch and, where `steps` has them, at every step."""
    figure, axes = canvas.new_figure("Learning rate", dataset, 3)
    canvas.label_axes(axes, "epochs trained", "learning rate")
    if len(steps):
        places = np.arange(len(steps)) * len(history) / len(steps)
        axes.plot(places, steps, color=canvas.SKY, label="every step")
    starts, rates = [row["epoch"] - 1 for row in history], [row["lr"] for row in history]
    axes.plot(starts, rates, "o" if len(steps) else "o-", color=canvas.BLUE, label="start of an epoch")
    axes.set_ylim(bottom=0)
    canvas.legend_below(figure)
    return figure


def scales(measured: dict[str, list[float]], dataset: str) -> Figure:
    """What `measure_scales` found: values behind each block, gradients of each convolution."""
    figure, panels = canvas.new_figure("Before the first step, block by block", dataset, 3, ncols=2)
    for axes, (name, sizes) in zip(panels, measured.items(), strict=True):
        canvas.label_axes(axes, "block", SCALES[name])
        axes.set_yscale("log")
        axes.plot(range(1, len(sizes) + 1), sizes, "o-", color=canvas.BLUE)
        axes.set_ylim(min(0.001, *sizes) / 2, max(1, *sizes) * 2)  # the same in neighbouring stages, to compare by eye
    return figure


def confusion(labels: Tensor, predictions: Tensor, dataset: str) -> Figure:
    """How often each digit was taken for which; the colour is that of the errors alone."""
    counts = torch.bincount(labels.cpu() * 10 + predictions.cpu(), minlength=100).view(10, 10).numpy()
    errors = np.ma.masked_array(counts, np.eye(10))
    wrong, highest = counts.sum() - counts.trace(), max(1, errors.max())
    figure, axes = canvas.new_figure(f"{wrong:,} of {len(labels):,} digits taken for another", dataset, 6)
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
    title = f"{len(shown)} of {len(wrong)} mistakes, the surest first: true → predicted, confidence"
    title = title if len(wrong) else f"No mistake among {len(labels):,} digits"
    captions = [f"{labels[index]} → {predicted[index]}\n{100 * confidence[index]:.1f} %" for index in shown]
    return canvas.draw_captioned(title, dataset, images[shown.to(images.device)], captions)


def always_wrong(images: Tensor, wrong: list[tuple[int, int, list[int]]], seeds: int, dataset: str) -> Figure:
    """The digits that every seed gets wrong: place in the test set, label, and what most seeds take it for."""
    frequent = [max(sorted(set(guesses)), key=guesses.count) for *_, guesses in wrong]
    captions = [
        f"{label} → {guess}\n{guesses.count(guess)} of {seeds}"
        for (_, label, guesses), guess in zip(wrong, frequent, strict=True)
    ]
    title = f"{len(wrong)} digits that all {seeds} seeds get wrong: label → most frequent answer, and its share"
    return canvas.draw_captioned(title, dataset, images[[index for index, *_ in wrong]], captions)


def stage_spread(results: dict[str, list[list[float]]], dataset: str) -> Figure:
    """For each stage, every seed's last five test accuracies: their mean as a dot, their range as a line."""
    figure, axes = canvas.new_figure("Test accuracy in the last epochs, seed by seed", dataset, 4.8)
    canvas.label_accuracy(axes, "")
    names = []
    for place, (stage, runs) in enumerate(results.items()):
        spots = place + (np.arange(len(runs)) - (len(runs) - 1) / 2) * min(0.1, 0.7 / len(runs))
        means, lows, highs = (np.array([pick(run) for run in runs]) for pick in (np.mean, min, max))
        axes.plot(spots, means, "o", color=canvas.BLUE, markersize=5, label=f"mean of a seed's last {len(runs[0])}")
        axes.vlines(spots, lows, highs, canvas.SKY, zorder=1, label="their range")
        axes.hlines(means.mean(), place - 0.42, place + 0.42, "black", linewidth=1, label="mean of the seeds")
        names.append(f"{stage}\nmean {means.mean():.2f}\nseeds: {len(runs)}")
    axes.set_xticks(range(len(names)), names, fontsize=9)
    canvas.mark_target(axes, dataset)
    canvas.legend_below(figure)
    return figure


def stage_curves(histories: dict[str, list[list[dict]]], dataset: str) -> Figure:
    """Test accuracy by epoch, a panel a stage: the mean of the seeds in the band of their range."""
    shape = {"nrows": math.ceil(len(histories) / 3), "ncols": 3, "squeeze": False}
    height = 1 + 2.4 * shape["nrows"]
    figure, grid = canvas.new_figure("Test accuracy by epoch", dataset, height, **shape, sharex=True, sharey=True)
    panels, before = iter(grid.flat), None
    for (stage, runs), axes in zip(histories.items(), panels, strict=False):
        canvas.label_accuracy(axes, "epoch")
        epochs = [row["epoch"] for row in runs[0]]
        accuracies = np.array([[row["test_accuracy"] for row in run] for run in runs])
        axes.fill_between(epochs, accuracies.min(0), accuracies.max(0), color=canvas.SKY, alpha=0.5, label="range")
        axes.plot(epochs, accuracies.mean(0), color=canvas.BLUE, label="mean of the seeds")
        if before:
            axes.plot(*before, color="0.4", linestyle=":", label="the stage before")
        before = epochs, accuracies.mean(0)
        canvas.mark_target(axes, dataset)
        axes.set_title(stage, fontsize=10)
        axes.label_outer()
    for axes in panels:  # those that are left
        axes.set_visible(False)
    canvas.legend_below(figure)
    return figure
