"""The figure of all systems: parameters against accuracy."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common import canvas

WIDTH = 160  # parameters between points of the same count, which are set side by side
STYLES = (
    {"marker": "o", "color": canvas.VERMILION, "markerfacecolor": "white"},
    {"marker": "s", "color": "0.45", "markerfacecolor": "white"},
    {"marker": "o", "color": canvas.BLUE},
    {"marker": "D", "color": canvas.SKY},
    {"marker": "^", "color": "black"},
)
LEFT = {"xytext": (-5, 0), "ha": "right", "va": "center"}
RIGHT = {"xytext": (5, 0), "va": "center"}
ABOVE = {"xytext": (0, 2), "ha": "center"}
BELOW = {"xytext": (0, -5), "ha": "center", "va": "top", "rotation": 90}
NAMES = (LEFT, LEFT, RIGHT, BELOW, ABOVE)  # where each kind has its names: apart, as many points lie close together


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
    for (kind, points), style, side in zip(kinds.items(), STYLES, NAMES, strict=True):
        for place, point in zip(spread([point.parameters for point in points]), points, strict=True):
            draw(axes, point, place, kind, style, side)
    canvas.mark_target(axes, "MNIST")
    canvas.legend_below(figure, columns=3)
    return figure


def draw(axes: Axes, point: Point, place: float, kind: str, style: dict, side: dict) -> None:
    """A point, the line of its deviation if there is one, and its name at the `side` of its kind."""
    error = point.deviation or None
    axes.errorbar(place, point.accuracy, error, **style, linestyle="", markersize=5, elinewidth=1, label=kind)
    _, up = side["xytext"]
    height = point.accuracy + point.deviation * ((up > 0) - (up < 0))  # at the end of the line
    axes.annotate(point.name, (place, height), textcoords="offset points", fontsize=7.5, color=style["color"], **side)


def spread(counts: list[int]) -> list[float]:
    """Where points lie on the axis: those of the same count side by side around it."""
    places = []
    for index, count in enumerate(counts):
        same = [other for other, value in enumerate(counts) if value == count]
        places.append(count + WIDTH * (same.index(index) - (len(same) - 1) / 2))
    return places
