"""The figure of a sweep: accuracy by the values of a parameter, a line for every way to choose the others."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common import canvas

COLOURS = canvas.BLUE, canvas.VERMILION, canvas.GREEN, "black"
MARKS = "o-", "s--"
LINES = len(COLOURS) * len(MARKS)  # more can't be told apart
NAMED = 20  # values on the axis, since there is not room for more
WIDTH = 0.5  # of a value's place on the axis, over which the lines are spread


class Effect(NamedTuple):
    """A point of a line: which value, the mean and the ends of its interval (infinite for one run), and of how many."""

    place: int
    mean: float
    low: float
    high: float
    count: int


def effects(lines: dict[str, list[Effect]], parameter: str, values: list[str], dataset: str) -> Figure:
    """Accuracy with its 95 % interval and the number of runs; of many lines, the best."""
    best = sorted(lines, key=lambda name: max(point.mean for point in lines[name]), reverse=True)[:LINES]
    title = f"Accuracy by {parameter}" + (f", the best {LINES} of {len(lines)} lines" if len(lines) > LINES else "")
    counts = {point.count for points in lines.values() for point in points}
    if len(counts) == 1:  # else it stands at every point
        title += f", {max(counts)} runs a point" if max(counts) > 1 else ", one run a point"
    figure, axes = canvas.new_figure(title, dataset, 5)
    canvas.label_accuracy(axes, parameter)
    for number, name in enumerate(name for name in lines if name in best):
        shift = WIDTH * ((number + 0.5) / len(best) - 0.5)
        draw(axes, lines[name], shift, MARKS[number // len(COLOURS)], COLOURS[number % len(COLOURS)], name)
        if len(counts) > 1:
            count(axes, lines[name], shift, COLOURS[number % len(COLOURS)])
    each = math.ceil(len(values) / NAMED)
    axes.set_xticks(range(0, len(values), each), values[::each])
    axes.set_xlim(-0.6, len(values) - 0.4)
    canvas.mark_target(axes, dataset)
    canvas.legend_below(figure, columns=2)
    return figure


def draw(axes: Axes, points: list[Effect], shift: float, mark: str, colour: str, name: str) -> None:
    """A line, and the interval of each of its points."""
    places, means = [point.place + shift for point in points], [point.mean for point in points]
    axes.plot(places, means, mark, color=colour, markersize=5, linewidth=1, label=name)
    for place, point in zip(places, points, strict=True):
        if math.isfinite(point.low):
            axes.vlines(place, point.low, min(point.high, 100), colour, linewidth=2, alpha=0.5)


def count(axes: Axes, points: list[Effect], shift: float, colour: str) -> None:
    """Of how many runs each point of a line is."""
    for point in points:
        spot = point.place + shift, point.mean
        axes.annotate(f"n={point.count}", spot, (4, 4), textcoords="offset points", fontsize=7, color=colour)
