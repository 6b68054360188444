"""A sweep as a whole: the table and the figure that tell of its points."""

import math
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from common.canvas import save
from common.effects import Effect, effects
from common.files import write_whole
from common.intervals import of_mean
from common.runs import end, read_run

BEST = 10  # settings that are shown at a terminal


class Point(NamedTuple):
    """A stage with one seed and one setting."""

    stage: str
    place: str
    setting: dict[str, Any]
    metrics: Path
    is_done: bool


class Row(NamedTuple):
    """A stage with one setting: its runs' figures, and how many runs were asked for."""

    stage: str
    setting: dict[str, Any]
    figures: list[float]
    asked: int


def summarise(points: list[Point], folder: Path, parameters: list[dict[str, Any]]) -> str:
    """Write the table and the figure of the points that are there; the best of them for the terminal."""
    rows, swept = rows_of(points), list(points[0].setting)
    dataset = f"{parameters[0]['data']}, {parameters[0]['split']} split"
    write_whole(folder / "README.md", page(rows, swept, dataset, alike(parameters)))
    there = [row for row in rows if row.figures]
    if there:
        save(draw(there, swept, dataset), folder / "figures" / "sweep.png")
    best = sorted(there, key=lambda row: -of_mean(row.figures)[0])[:BEST]
    title = f"The best {BEST} of {len(there)}" if len(there) > BEST else "Mean of the last five epochs"
    return "\n".join([f"{title}; the table of all is README.md in that folder", *table(best, swept)])


def rows_of(points: list[Point]) -> list[Row]:
    """The points by setting and stage, in the order of the grid."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.place, point.stage), []).append(point)
    return [
        Row(some[0].stage, some[0].setting, [end(read_run(one.metrics)) for one in some if one.is_done], len(some))
        for some in found.values()
    ]


def alike(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The parameters that have one value wherever they are."""
    values: dict[str, set] = {}
    for setting in settings:
        for name, value in setting.items():
            values.setdefault(name, set()).add(value)
    return {name: found.pop() for name, found in values.items() if len(found) == 1 and name not in ("seed", "out")}


def page(rows: list[Row], swept: list[str], dataset: str, same: dict[str, Any]) -> str:
    """The README of a sweep."""
    asked, done = sum(row.asked for row in rows), sum(len(row.figures) for row in rows)
    lines = [
        f"# Sweep of {', '.join(swept) or 'seeds'} on {dataset}",
        "",
        f"{done} of {asked} points are there. Accuracy is the mean of the last five epochs, over the seeds.",
        "",
        *table(rows, swept),
        "",
        *(["![Accuracy by setting](figures/sweep.png)", ""] if done else []),
        "The same in all points, where a stage has it: "
        + ", ".join(f"`{name} = {value}`" for name, value in same.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def table(rows: list[Row], swept: list[str]) -> list[str]:
    """A row a stage and setting."""
    heads = ["stage", *swept, "accuracy, %", "standard deviation", "95 % interval", "seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        cells = [row.stage, *(str(row.setting[name]) for name in swept), *figures_of(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def figures_of(row: Row) -> list[str]:
    """Mean, standard deviation, interval and count of a row."""
    count = f"{len(row.figures)}" if len(row.figures) == row.asked else f"{len(row.figures)} of {row.asked}"
    middle, low, high = of_mean(row.figures)
    if not row.figures:
        return ["–", "–", "–", count]
    if math.isinf(low):
        return [f"{middle:.3f}", "–", "needs two seeds or more", count]
    return [f"{middle:.3f}", f"{stdev(row.figures):.3f}", f"{max(low, 0):.3f} to {min(high, 100):.3f}", count]


def draw(rows: list[Row], swept: list[str], dataset: str) -> Figure:
    """The figure: along the axis the parameter with the most values, or the stages."""
    chosen = {name: list(dict.fromkeys(str(row.setting[name]) for row in rows)) for name in swept}
    chosen["stage"] = list(dict.fromkeys(row.stage for row in rows))
    axis = max(swept, key=lambda name: len(chosen[name]), default="stage")
    lines: dict[str, list[Effect]] = {}
    for row in rows:
        words = {name: str(value) for name, value in row.setting.items()} | {"stage": row.stage}
        others = ", ".join(
            words[name] if name == "stage" else f"{name} {words[name]}" for name in words if name != axis
        )
        lines.setdefault(others, []).append(
            Effect(chosen[axis].index(words[axis]), *of_mean(row.figures), len(row.figures))
        )
    return effects(lines, axis, chosen[axis], dataset)
