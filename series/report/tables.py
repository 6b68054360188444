"""Tables in markdown: of the steps, of the settings of a sweep, and of the answers to the questions of the choices."""

import math
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from common.config import ROOT
from common.intervals import Gain, markdown_table, of_mean, pooled_deviation, signed, student_t
from common.runs import GOAL, MNIST, MissingRuns, Runs, metrics_below
from series.plans import Plan, read_plan
from series.report.notebooks import COLAB, title

# What a step changes, in code; a test looks for it in the notebooks.
CHANGES = {
    "01_skeleton": "`conv_block(8, 12, norm=False)` …, `nn.Conv2d(16, 10, 1)`, `GlobalAveragePool()`",
    "02_batchnorm": "`conv_block(8, 12)` instead of `conv_block(8, 12, norm=False)`",
    "03_dropout": "`conv_block(16, 16, dropout=dropout)`",
    "04_gap_fc": "`GlobalAveragePool(), nn.Linear(16, 10)` instead of `nn.Conv2d(16, 10, 1), GlobalAveragePool()`",
    "05_augmentation": "`Batches(…, Augment(…))`",
    "06_lr_scheduler": "`LambdaLR(optimizer, …)`, `learning_rate = 0.2`",
}
LEARNT, FINE = 90, 99  # %: below the one a run learnt nothing; above the other all recipes spread alike


def plus_minus(figures: list[float]) -> str:
    """Mean and standard deviation; of a single figure only itself."""
    return f"{mean(figures):.3f}" + (f" ± {stdev(figures):.3f}" if len(figures) > 1 else "")


def mistakes(accuracy: float) -> float:
    """How many of 10,000 digits are wrong at an accuracy in %."""
    return 100 * (100 - accuracy)


def wrong(runs: Runs) -> float:
    """How many of 10,000 digits are wrong, in the mean of the last five epochs."""
    return mistakes(runs.end)


def held(runs: Runs) -> str:
    """How many runs hold the goal, which is one of MNIST alone."""
    return f"{runs.holding} of {len(runs)}" if runs[0].dataset == MNIST else "not applicable"


def gains(results: list[Runs]) -> list[Gain | None]:
    """The gain of each step over the one before, by intervals that hold together; None where two seeds are missing."""
    found: list[Gain | None] = [None] * len(results)
    for number, (before, after) in enumerate(pairwise(results), 1):
        with suppress(MissingRuns):
            found[number] = Gain.of(before, after, comparisons=len(results) - 1)
    return found


def overview(results: list[Runs], address: str) -> str:
    """The README's table: what each step changes, what comes of it, and where to run it."""
    rows, counts = [], {len(runs) for runs in results}
    for runs, gain in zip(results, gains(results), strict=True):
        name, many = f"{runs.name}.ipynb", f", {len(runs)} runs" if len(counts) > 1 else ""
        reach = f" ({min(runs.ends):.2f}–{max(runs.ends):.2f}{many})" if len(runs) > 1 else ""
        colab = f"[Colab]({COLAB}/{address}/blob/main/notebooks/{name})" if address else f"[notebook](notebooks/{name})"
        helps = f"{gain.verdict}, {gain:.2f}" if gain else "–"
        cells = [f"{runs.end:.2f}%{reach}", f"{wrong(runs):.0f}", helps, colab]
        rows.append([f"[{title(runs.name)}](outputs/{name})", CHANGES.get(runs.name, ""), *cells])
    accuracy = "Test accuracy" + (f", {max(counts)} runs" if len(counts) == 1 else "")
    head = ["Step", "What changes, in code", accuracy, "Wrong of 10,000", "Does it help?", "Run it"]
    return markdown_table(head, rows)


def evidence(results: list[Runs]) -> str:
    """A row a step: its last five epochs, and what training made of the network."""
    rows = []
    for runs in results:
        lowest = min(run.lowest for run in runs)
        cells = [f"[{runs.name}]({runs.name}.ipynb)", f"{runs.parameters:,.0f}", len(runs), plus_minus(runs.ends)]
        cells += [f"{lowest:.2f}", held(runs), f"{runs.swing:.2f}", f"{runs.clean:.2f}", signed(runs.gap)]
        rows.append([*cells, f"{runs.loss:.4f}"])
    head = ["", "parameters", "runs", "last five epochs, %, mean ± SD", "lowest of all", f"hold {GOAL}%"]
    return markdown_table([*head, "swing", "train, clean", "gap", "test loss"], rows)


def steps(results: list[Runs]) -> str:
    """A row a step: its gain over the one before, seed by seed."""
    rows = []
    for (before, after), gain in zip(pairwise(results), gains(results)[1:], strict=True):
        interval = f"{signed(gain.low, 3)} to {signed(gain.high, 3)}" if gain else ""
        paired = [gain.pairs, gain.verdict] if gain else [0, "–"]
        difference = gain.mean if gain else after.end - before.end
        rows.append([f"{before.name} → {after.name}", signed(difference, 3), interval, *paired])
    return markdown_table(["", "difference, points", "interval, 95% for all five", "pairs", "verdict"], rows)


def terminal(results: list[Runs]) -> str:
    """The results for somebody at a terminal."""
    lines = [f"{'':18} parameters   runs  last five epochs, % of {results[0][0].dataset}"]
    for runs in results:
        figures = f"{runs.parameters:10,.0f}  {len(runs):5}  {plus_minus(runs.ends)}"
        lines.append(f"{runs.name:18} {figures}  (hold {GOAL}%: {held(runs)})")
    return "\n".join(lines)


def always_wrong(runs: Runs) -> dict[int, list[int]]:
    """The test digits that every run gets wrong, by place, with what each run takes them for."""
    if not runs or any(run.taken_for is None for run in runs):
        raise MissingRuns("it is not recorded what wrong digits are taken for")
    taken = [dict(zip(run.wrong, run.taken_for, strict=True)) for run in runs]
    return {place: [guesses[place] for guesses in taken] for place in sorted(set.intersection(*map(set, taken)))}


class Setting(NamedTuple):
    """A setting of a sweep: the values that set it apart, and its runs."""

    values: dict[str, Any]
    runs: Runs


def settings(plan: Plan, folder: Path) -> list[Setting]:
    """The settings of a plan with their runs, in the order of its grid."""
    found = []
    for name, values in plan.settings():
        variant = {"variant": name.partition("/")[0]} if plan.variants else {}
        swept = variant | {key: value for key, value in values.items() if key in plan.grid}
        for stage in [plan.stage] if plan.stage else plan.notebooks:
            places = [folder / name / stage, folder / name] if plan.variants else [folder / "metrics" / name / stage]
            runs = next((runs for place in places if (runs := Runs.read(place))), Runs())
            found.append(Setting({"notebook": stage, **swept}, runs))
    return found


def sweep(found: list[Setting], asked: int) -> str:
    """A row a setting, of `asked` runs each."""
    rows = []
    for values, runs in found:
        middle, low, high = of_mean(runs.ends)
        interval = f"{max(low, 0):.3f} to {min(high, 100):.3f}" if math.isfinite(low) else "takes two seeds"
        seeds = f"{len(runs)}" if len(runs) >= asked else f"{len(runs)} of {asked}"
        rows.append([*values.values(), f"{middle:.3f}" if runs else "–", interval, seeds])
    return markdown_table([*found[0].values, "accuracy, %", "95% interval", "seeds"], rows)


class Spread:
    """The deviation between runs of one recipe, pooled over all recipes tried: the fine ones, and the others."""

    def __init__(self, folder: Path) -> None:
        recipes = [Runs.read(path) for path in {path.parent for path in metrics_below(folder)}]
        self.count, learnt = sum(map(len, recipes)), [runs.ends for runs in recipes if min(runs.ends) > LEARNT]
        self.fine = pooled_deviation([ends for ends in learnt if mean(ends) > FINE])
        self.other = pooled_deviation([ends for ends in learnt if mean(ends) <= FINE])

    def margin(self, *several: Runs) -> float:
        """The half-width of the 95% interval of a mean, or of the difference of two."""
        deviation, freedom = self.fine if min(runs.end for runs in several) > FINE else self.other
        scale = math.sqrt(sum(1 / len(runs) for runs in several))
        return student_t(0.95, freedom) * deviation * scale if freedom else math.inf

    def compare(self, taken: Runs, runs: Runs) -> str:
        """The difference of an answer from the one taken, with its interval and verdict."""
        gain, margin = runs.end - taken.end, self.margin(taken, runs)
        return f"{signed(gain, 3)} ± {margin:.3f}: {Gain(gain, gain - margin, gain + margin, 0).verdict}"


def question(plan: Plan, outputs: Path, spread: Spread) -> str:
    """A row an answer: its mean with the interval, and its difference from the answer that the series took."""
    found = {name: Runs.read(outputs / folder) for name, folder in plan.folders().items()}
    rows, taken = [], found.get(plan.taken)
    for name, runs in found.items():
        size, accuracy, difference = f"{runs.parameters:,.0f}" if runs else "", "not run", ""
        if runs and min(runs.ends) < LEARNT:
            accuracy, difference = ", ".join(f"{end:.2f}" for end in runs.ends), "learned nothing"
        elif runs:
            accuracy = f"{runs.end:.3f} ± {spread.margin(runs):.3f}"
            difference = spread.compare(taken, runs) if taken and runs is not taken else ""
        label = name.replace("_", " ")
        rows.append([f"**{label}**" if name == plan.taken else label, size, len(runs), accuracy, difference])
    return markdown_table(["", "parameters", "runs", "last five, %, ± 95%", "minus the bold answer, points"], rows)


def choices(plans: list[Plan], outputs: Path) -> dict[str, str]:
    """The content of the page of the choices, by mark."""
    spread = Spread(outputs / "choices")
    sections = [[f"## {plan.title}", plan.note, question(plan, outputs, spread)] for plan in plans]
    words = f"{len(plans)} questions, {spread.count} runs. The standard deviation between runs of one recipe is"
    words += (
        f" {spread.fine[0]:.3f} points ({spread.fine[1]} degrees of freedom), and {spread.other[0]:.2f} below {FINE}%."
    )
    return {"spread": words, "questions": "\n\n".join(part for section in sections for part in section if part)}


def compared(plan: Plan, outputs: Path) -> str:
    """A row an answer to a held-out question: its difference from the one taken, in pairs of the same fold and seed.

    One deviation serves all answers: what is left when the means of answers and of pairs are taken away.
    """
    found = {name: Runs.read(outputs / folder) for name, folder in plan.folders().items()}
    pairs = [{(run.split, run.seed): run.end for run in runs} for runs in found.values()]
    asked = {*product(plan.grid["split"], plan.seeds)}
    if any(one.keys() != asked for one in pairs):
        return f"{sum(map(len, pairs))} of {len(asked) * len(pairs)} runs are done. Nothing is judged before all are."
    lines = list(zip(*(one.values() for one in pairs), strict=True))
    centred = [[end - mean(line) for end in line] for line in lines]
    deviation, _ = pooled_deviation([list(answer) for answer in zip(*centred, strict=True)])
    deviation *= math.sqrt(len(found) / (len(found) - 1))  # the pairs' means were taken away, too
    freedom = (len(found) - 1) * (len(lines) - 1)
    margin = student_t(1 - 0.05 / (len(found) - 1), freedom) * deviation * math.sqrt(2 / len(lines))
    rows = []
    for name, runs in found.items():
        gain = runs.end - found[plan.taken].end
        against = Gain(gain, gain - margin, gain + margin, len(lines))
        label, difference = name.replace("_", " "), "" if name == plan.taken else f"{against}: {against.verdict}"
        rows.append([label, f"{runs.parameters:,.0f}", len(runs), plus_minus(runs.ends), held(runs), difference])
    head = ["", "parameters", "runs", "last five, %, mean ± SD", f"hold {GOAL}%", f"minus {plan.taken}"]
    return markdown_table(head, rows)


def curve(outputs: Path) -> list[tuple[Plan, list[Runs]]]:
    """The plans of ever smaller networks, with their runs."""
    plans = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/curve/*.toml"))]
    return [(plan, networks(plan, outputs)) for plan in plans]


def networks(plan: Plan, outputs: Path) -> list[Runs]:
    """The runs of each network of a plan, those with the fewest parameters first."""
    found = [Runs.read(outputs / folder) for folder in plan.folders().values()]
    return sorted(filter(None, found), key=lambda runs: runs.parameters)


def sizes(found: list[Runs]) -> str:
    """A row a network: its channels, and how it ends."""
    rows = [
        [f"{runs.parameters:,.0f}", runs[0].hyperparameters["widths"], len(runs), plus_minus(runs.ends), held(runs)]
        for runs in found
    ]
    return markdown_table(["parameters", "channels", "runs", "last five, %, mean ± SD", f"hold {GOAL}%"], rows)


def statistics(runs: Runs) -> str:
    """A row a way of testing the same weights: by where batch norm's statistics are from."""
    rows = [["all training images", len(runs), plus_minus(runs.ends), f"{runs.swing:.3f}", held(runs), ""]]
    for way, name in {"few": "10,000 training images", "usual": "training (usual)"}.items():
        there = Runs(run for run in runs if f"{way}_correct" in run.history[-1])
        if not there:
            continue
        each = there.tested(way)
        gain = Gain(*of_mean([run.end - other.end for run, other in zip(there, each, strict=True)]), len(each))
        cells = [plus_minus(each.ends), f"{each.swing:.3f}", held(each), f"{gain}: {gain.verdict}"]
        rows.append([name, len(each), *cells])
    head = ["statistics from", "runs", "last five, %, mean ± SD", "swing", f"hold {GOAL}%", "all images minus this"]
    return markdown_table(head, rows)
