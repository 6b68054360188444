"""The figure of all systems: parameters against accuracy."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common import canvas

WIDTH = 50  # parameters between points of the same count, so that their lines are told apart
ROOM = 9  # points that a name takes in height
HEIGHT = 320  # points that the axis has, about
STYLES = (
    {"marker": "o", "color": canvas.VERMILION, "markerfacecolor": "white"},
    {"marker": "s", "color": "0.45", "markerfacecolor": "white"},
    {"marker": "o", "color": canvas.BLUE},
    {"marker": "D", "color": canvas.SKY},
    {"marker": "^", "color": "black"},
)
NEAR = 7  # points from a point to its name, where it is the only one of its count
ASIDE = (7, -7, 7, 45, -20)  # the same of several, kind by kind, to the left or to the right


class Point(NamedTuple):
    """A network: its name, parameters, accuracy in %, and its standard deviation over seeds."""

    name: str
    parameters: int
    accuracy: float
    deviation: float = 0.0


def landscape(kinds: dict[str, list[Point]]) -> Figure:
    """Parameters against the mean of the last five epochs, a marker a kind."""
    figure, axes = canvas.new_figure("Parameters and accuracy, mean of the last five epochs", "MNIST", 6)
    canvas.label_accuracy(axes, "parameters")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    columns: dict[tuple[int, int], list[tuple[Point, float, str]]] = {}
    for (kind, points), style, aside in zip(kinds.items(), STYLES, ASIDE, strict=True):
        for place, point in zip(spread([point.parameters for point in points]), points, strict=True):
            error = point.deviation or None
            axes.errorbar(place, point.accuracy, error, **style, linestyle="", markersize=5, elinewidth=1, label=kind)
            if point.name:
                columns.setdefault((point.parameters, aside), []).append((point, place, style["color"]))
    canvas.mark_target(axes, "MNIST")
    for (_, aside), named in columns.items():
        name(axes, named, aside if len(named) > 1 else math.copysign(NEAR, aside))
    canvas.legend_below(figure, columns=3)
    return figure


def name(axes: Axes, named: list[tuple[Point, float, str]], aside: float) -> None:
    """The names of points of one count, in a column beside them, each with a line to its point if that is far away."""
    low, high = map(canvas.accuracy_height, axes.get_ylim())
    ordered = sorted(named, key=lambda entry: entry[0].accuracy, reverse=True)
    heights = [canvas.accuracy_height(point.accuracy) * HEIGHT / (high - low) for point, _, _ in ordered]
    for (point, place, color), height, beside in zip(ordered, heights, stacked(heights), strict=True):
        axes.annotate(
            point.name,
            (place, point.accuracy),
            (aside, beside - height),
            textcoords="offset points",
            fontsize=7.5,
            color=color,
            ha="left" if aside > 0 else "right",
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5} if abs(aside) > NEAR else None,
        )


def stacked(heights: list[float]) -> list[float]:
    """Places for names at falling `heights`: as near to them as can be with room for each."""
    places: list[float] = []
    for height in heights:
        places.append(min(height, places[-1] - ROOM) if places else height)
    lift = sum(height - place for height, place in zip(heights, places, strict=True)) / max(1, len(heights))
    return [place + lift for place in places]


def spread(counts: list[int]) -> list[float]:
    """Where points lie on the axis: those of the same count side by side around it."""
    places = []
    for index, count in enumerate(counts):
        same = [other for other, value in enumerate(counts) if value == count]
        places.append(count + WIDTH * (same.index(index) - (len(same) - 1) / 2))
    return places
