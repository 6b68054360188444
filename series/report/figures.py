"""Pictures that compare steps, systems or settings. Their titles say what the runs show."""

import math
from itertools import pairwise
from statistics import mean, median
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from torch import Tensor

from common.analysis import count
from common.intervals import of_mean
from common.plots import BLUE, GREEN, SKY, VERMILION, Picture, legend_below, new_picture, style
from common.runs import GOAL, MNIST, Runs
from series.report.notebooks import title
from series.report.speed import MARKS, TITLES, Bench
from series.report.tables import Setting, always_wrong, gains, mistakes, wrong

LIMIT = round(mistakes(GOAL))  # of 10,000 digits may be wrong
TICKS = 20, 30, 40, 50, 60, 80, 100, 150, 200, 500, 1000, 2000, 5000  # mistakes
LINES = ("o-", BLUE), ("s--", VERMILION), ("^-", "#CC79A7"), ("D:", "black"), ("v-", SKY), ("P--", "0.5")


def spread(results: list[Runs]) -> Picture:
    """Wrong digits of 10,000, a column a step: a dot a run, with the range of its last five epochs."""
    dataset, names = results[0][0].dataset, [title(runs.name) for runs in results]
    numbers = ", ".join(f"{name}: {wrong(runs):.0f}" for name, runs in zip(names, results, strict=True))
    picture, axes = new_picture(headline(results), 4.8, dataset, f"Wrong digits of 10,000 by step. {numbers}")
    style(axes, "", "wrong digits of 10,000")
    axes.grid(visible=False, axis="x")
    axes.set_yscale("log")
    most = max(10, *(mistakes(run.lowest) for runs in results for run in runs))
    least = max(1, min(mistakes(max(run.last_five)) for runs in results for run in runs))
    if dataset == MNIST:
        axes.axhspan(0.1, LIMIT, color=GREEN, alpha=0.1, linewidth=0)
        axes.axhline(LIMIT, color=GREEN)
        goal = f"goal: at most {LIMIT} wrong ({GOAL}%)"
        axes.annotate(goal, (0.01, 0.98), xycoords="axes fraction", va="top", color="#006b4f", fontsize=12)
        least = min(least, 0.7 * LIMIT)
    for place, (runs, gain) in enumerate(zip(results, gains(results), strict=True)):
        draw_step(axes, place, runs, gain.verdict if gain else "one run" if place else "start")
    key = "a dot is a run: the mean of its last five epochs, with their range; green: all five at the goal"
    axes.annotate(key, (0.99, 0.03), xycoords="axes fraction", ha="right", color="0.35", fontsize=10)
    labels = [fill(name.replace(" · ", "\n"), 15, replace_whitespace=False) for name in names]
    axes.set_xticks(range(len(results)), [f"step {label}" for label in labels], fontsize=11)
    ticks = [tick for tick in TICKS if least < tick < most]
    axes.set_yticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(most * (most / least) ** 0.24, least * 0.85)
    return picture


def draw_step(axes: Axes, place: int, runs: Runs, words: str) -> None:
    """A step's runs side by side, their mean, and below them the verdict and how many runs hold the goal."""
    for number, run in enumerate(runs):
        x = place + 0.64 * ((number + 0.5) / len(runs) - 0.5)
        colour = GREEN if run.dataset == MNIST and run.holds() else BLUE
        axes.vlines(x, mistakes(max(run.last_five)), mistakes(run.lowest), colour, alpha=0.5, linewidth=1.6)
        axes.plot(x, mistakes(run.end), "o", color=colour, markersize=5 if len(runs) < 20 else 3)
    axes.hlines(wrong(runs), place - 0.4, place + 0.4, "black", linewidth=1.2)
    below = place, mistakes(min(run.lowest for run in runs))
    halo = [withStroke(linewidth=3, foreground="white")]
    beside = {"textcoords": "offset points", "ha": "center", "va": "top", "path_effects": halo}
    axes.annotate(f"{wrong(runs):.0f}", below, (0, -4), fontsize=15, fontweight="bold", **beside)
    words += f"; goal\nin {runs.holding} of {len(runs)} runs" if runs.holding else ""
    axes.annotate(words.replace("close to", "close\nto"), below, (0, -23), fontsize=10.5, **beside)


def headline(results: list[Runs]) -> str:
    """The two steps that take away most of the mistakes, and the one that reaches the goal."""
    falls = {int(after.name[:2]): wrong(before) - wrong(after) for before, after in pairwise(results)}
    most = sorted(sorted(falls, key=falls.get)[-2:])
    shares = len(most) > 1 and sum(falls[step] for step in most) > sum(falls.values()) / 2 > 0
    first = f"Steps {' and '.join(map(str, most))} take away most of the mistakes;\n" if shares else ""
    if results[0][0].dataset != MNIST:
        return f"{first}no goal applies"
    there = [runs for runs in results if runs.holding]
    if not there:
        return f"{first}no run holds the goal"
    last, only = there[-1], "only " if len(there) == 1 else ""
    many = f"all {count(len(last))}" if last.holding == len(last) else f"{last.holding} of {len(last)}"
    return f"{first}{only}step {int(last.name[:2])} holds the goal, in {many} runs"


def curves(results: list[Runs]) -> Picture:
    """Test accuracy by epoch, a panel a step, the first one on an axis of its own; the step before in grey."""
    calm, wild = (choose(results, key=lambda runs: runs.swing) for choose in (min, max))
    words = f"The last five epochs differ by {wild.swing:.2f} points in step {int(wild.name[:2])}"
    words += f", by {calm.swing:.2f} in step {int(calm.name[:2])}"
    rows = math.ceil(len(results) / 3)
    picture, panels = new_picture(words, 0.6 + 2.6 * rows, results[0][0].dataset, nrows=rows, ncols=3, squeeze=False)
    low = min(runs.first for runs in results[1:] or results) - 0.3
    for axes, runs, before in zip(panels.flat, results, [None, *results], strict=False):
        style(axes, "epoch" if axes in panels[-1] else "", "test accuracy, %" if axes in panels[:, 0] else "")
        draw_curves(axes, runs, before)
        top = min(100, max(GOAL, *(run.best for run in runs)) + 0.1)
        axes.set_ylim(low if before else min(runs.first, low) - 1, top)
    for axes in panels.flat[len(results) :]:
        axes.set_visible(False)
    legend_below(picture)
    return picture


def draw_curves(axes: Axes, runs: Runs, before: Runs | None) -> None:
    """The curve of each run and their mean, with the mean of the step before, and the goal."""
    axes.set_title(f"{title(runs.name)}\n{runs.first:.2f} → {runs.end:.2f}%", fontsize=10, loc="left")
    for run in runs:
        axes.plot(*by_epoch([run]), color=BLUE, alpha=0.25, linewidth=1)
    if before:
        axes.plot(*by_epoch(before), ":", color="0.4", label="mean of the step before")
    axes.plot(*by_epoch(runs), color=BLUE, linewidth=2, label="mean of the runs")
    if runs[0].dataset == MNIST:
        axes.axhline(GOAL, color=GREEN, linestyle="-.", label=f"goal, {GOAL}%")


def by_epoch(runs: list[Any]) -> tuple[range, list[float]]:
    """The mean test accuracy of every epoch."""
    rows = list(zip(*(run.history for run in runs), strict=False))
    return range(1, len(rows) + 1), [mean(row["test_accuracy"] for row in each) for each in rows]


def misread(runs: Runs, images: Tensor, labels: Tensor) -> Picture:
    """The digits that every run gets wrong, each with its label and what most runs take it for."""
    shown = list(always_wrong(runs).items())[:8]
    words, columns = f"Wrong in all {count(len(runs))} runs. Would you read them as labelled?", max(1, len(shown))
    picture, panels = new_picture(words, 1 + 8.2 / columns, runs[0].dataset, ncols=columns, squeeze=False)
    for axes, (place, guesses) in zip(panels[0], shown, strict=False):
        axes.imshow(images[place].squeeze(), cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"labelled {labels[place]}\nread as {max(guesses, key=guesses.count)}", fontsize=13)
    return picture


class Point(NamedTuple):
    """A network in the landscape."""

    parameters: int
    name: str
    kind: str
    ends: list[float]  # accuracy, run by run


def landscape(points: list[Point]) -> Picture:
    """Systems by their accuracy, a row each, those with the fewest parameters on top."""
    rows = sorted(points)
    best = next((point for point in rows if mean(point.ends) >= GOAL), rows[0])
    words = f"The fewest parameters that average {GOAL}% here: {best.parameters:,} ({best.name})"
    picture, axes = new_picture(words, 1 + 0.24 * len(rows))
    style(axes, "test accuracy, mean of the last five epochs, %", "")
    kinds = list(dict.fromkeys(point.kind for point in rows))
    for place, point in enumerate(rows):
        mark, colour = LINES[kinds.index(point.kind)]
        axes.hlines(place, min(point.ends), max(point.ends), colour, linewidth=2, alpha=0.5)
        axes.plot(mean(point.ends), place, mark[0], color=colour, label=point.kind)
    axes.axvline(GOAL, color=GREEN, linestyle="-.", label=f"goal, {GOAL}%")
    axes.set_yticks(range(len(rows)), [f"{point.name} · {point.parameters:,}" for point in rows], fontsize=10)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    legend_below(picture, columns=3)
    return picture


def sizes(found: dict[str, list[Runs]]) -> Picture:
    """Accuracy by parameters, a line a kind of network: the mean, and the range of the runs."""
    there = {kind: [runs for runs in line if runs.end >= GOAL] for kind, line in found.items()}
    words = "; ".join(f"{kind}: {line[0].parameters:,.0f}" if line else f"{kind}: none" for kind, line in there.items())
    picture, axes = new_picture(f"Fewest parameters that average {GOAL}%:\n{words}", 4.5)
    style(axes, "parameters", "accuracy on held-out images, %")
    for (mark, colour), (kind, line) in zip(LINES, found.items(), strict=False):
        places = [runs.parameters for runs in line]
        axes.plot(places, [runs.end for runs in line], mark, color=colour, label=kind)
        axes.vlines(places, [min(runs.ends) for runs in line], [max(runs.ends) for runs in line], colour, alpha=0.5)
    axes.axhline(GOAL, color=GREEN, linestyle="-.", label=f"goal, {GOAL}%")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    legend_below(picture, columns=3)
    return picture


def effects(found: list[Setting]) -> Picture:
    """Accuracy with its 95% interval by the parameter that takes most values, a line for each way to set the others."""
    values = {name: list(dict.fromkeys(str(each.values[name]) for each in found)) for name in found[0].values}
    across = max(values, key=lambda name: len(values[name]))
    found = sorted(found, key=lambda each: -each.runs.end)
    best = found[0]
    words = f"Best: {best.runs.end:.2f}% with " + ", ".join(f"{name} {value}" for name, value in best.values.items())
    picture, axes = new_picture(words, 4.5, best.runs[0].dataset)
    style(axes, across, "mean of the last five epochs, %")
    lines: dict[str, dict[int, Runs]] = {}  # by the others' values, the best first: runs by place
    others = [name for name in values if name != across and len(values[name]) > 1]
    for each in found:
        line = lines.setdefault(", ".join(f"{name} {each.values[name]}" for name in others), {})
        line[values[across].index(str(each.values[across]))] = each.runs
    for number, ((mark, colour), (name, line)) in enumerate(zip(LINES, lines.items(), strict=False)):
        places = {place + 0.08 * (number - len(lines) / 2): line[place] for place in sorted(line)}
        axes.plot(list(places), [runs.end for runs in places.values()], mark, color=colour, label=name or None)
        for place, runs in places.items():
            if len(runs) > 1:
                _, low, high = of_mean(runs.ends)
                axes.vlines(place, low, min(high, 100), colour, linewidth=2, alpha=0.5)
    axes.set_xticks(range(len(values[across])), values[across])
    if others:
        legend_below(picture, columns=2)
    return picture


def benchmark(bench: Bench) -> Picture:
    """Test accuracy against processor seconds, a line a contender and round."""
    times = {name: bench.seconds(name, GOAL) for name in bench.rounds}
    there = [f"{TITLES[name]} after {median(found):.0f} s" for name, found in times.items() if None not in found]
    words = f"{GOAL}% first: {', '.join(there)}" if there else f"No contender reaches {GOAL}%"
    picture, axes = new_picture(words.replace("`", ""), 5, bench.record["dataset"])
    style(axes, "processor seconds", "test accuracy, %")
    for (mark, colour), (name, rounds) in zip(LINES, bench.rounds.items(), strict=False):
        for number, each in enumerate(rounds):
            label = None if number else TITLES[name].replace("`", "")
            axes.plot(*zip(*each["curve"], strict=True), mark, color=colour, markersize=4, linewidth=1, label=label)
    best = max(found for rounds in bench.rounds.values() for each in rounds for _, found in each["curve"])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    if best >= MARKS[0]:
        axes.set_ylim(97, 99.7)
        axes.axhline(GOAL, color=GREEN, linestyle="-.", label=f"goal, {GOAL}%")
    legend_below(picture, columns=3)
    return picture
