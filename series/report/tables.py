"""Tables over steps, and over the settings of a sweep: runs in, markdown out."""

import math
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from common.intervals import Gain, markdown_table, of_mean, signed
from common.runs import GOAL, MNIST, MissingRuns, Runs
from series.report.notebooks import COLAB, title

# What a step changes, in code; a test looks for it in the notebooks.
CHANGES = {
    "01_skeleton": "`conv_block(8, 12, norm=False)` …, `nn.Conv2d(16, 10, 1)`, `GlobalAveragePool()`",
    "02_batchnorm": "`conv_block(8, 12)` for `conv_block(8, 12, norm=False)`",
    "03_dropout": "`conv_block(16, 16, dropout=dropout)`",
    "04_gap_fc": "`GlobalAveragePool(), nn.Linear(16, 10)` for `nn.Conv2d(16, 10, 1), GlobalAveragePool()`",
    "05_augmentation": "`Batches(…, Augment(…))`",
    "06_lr_scheduler": "`LambdaLR(optimizer, …)`",
}


class Setting(NamedTuple):
    """A setting of a sweep: the values that set it apart, and its runs."""

    values: dict[str, Any]
    runs: Runs


def plus_minus(figures: list[float]) -> str:
    """Mean and standard deviation; of a single figure only itself."""
    return f"{mean(figures):.3f}" + (f" ± {stdev(figures):.3f}" if len(figures) > 1 else "")


def wrong(runs: Runs) -> float:
    """How many of 10,000 digits are wrong, in the mean of the last five epochs."""
    return 100 * (100 - runs.end)


def gains(results: list[Runs]) -> list[Gain | None]:
    """What each step has on the one before, by intervals that hold together; None where there is nothing to compare."""

    def gain(before: Runs, after: Runs) -> Gain | None:
        try:
            return Gain.of(before, after, comparisons=len(results) - 1)
        except MissingRuns:
            return None

    return [None, *(gain(*pair) for pair in pairwise(results))]


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
    accuracy = f"Test accuracy, {max(counts)} runs" if len(counts) == 1 else "Test accuracy"
    return markdown_table(
        ["Step", "What changes, in code", accuracy, "Wrong of 10,000", "Does it help?", "Run it"], rows
    )


def evidence(results: list[Runs]) -> str:
    """A row a step: its last five epochs, and what training made of the network."""
    rows = []
    for runs in results:
        held = f"{runs.holding} of {len(runs)}" if runs[0].dataset == MNIST else "not applicable"
        cells = [
            f"{runs.parameters:,.0f}",
            len(runs),
            plus_minus(runs.ends),
            f"{min(run.lowest for run in runs):.2f}",
            held,
        ]
        figures = [f"{runs.swing:.2f}", f"{runs.clean:.2f}", signed(runs.gap), f"{runs.loss:.4f}"]
        rows.append([f"[{runs.name}]({runs.name}.ipynb)", *cells, *figures])
    head = ["", "parameters", "runs", "last five epochs, %", "lowest epoch", f"hold {GOAL}%"]
    return markdown_table([*head, "swing", "train, clean", "gap", "test loss"], rows)


def steps(results: list[Runs]) -> str:
    """A row a step: what it has on the one before, seed by seed."""
    rows = []
    for (before, after), gain in zip(pairwise(results), gains(results)[1:], strict=True):
        interval = (
            [f"{signed(gain.low, 3)} to {signed(gain.high, 3)}", gain.pairs, gain.verdict] if gain else ["", 0, "–"]
        )
        rows.append([f"{before.name} → {after.name}", signed(after.end - before.end, 3), *interval])
    return markdown_table(["", "difference, points", "95% interval", "pairs", "verdict"], rows)


def always_wrong(runs: Runs) -> dict[int, list[int]]:
    """The test digits that every run gets wrong, each with what it is taken for, run by run."""
    if not runs or any(run.taken_for is None for run in runs):
        raise MissingRuns("it is not recorded what wrong digits are taken for")
    taken = [dict(zip(run.wrong, run.taken_for, strict=True)) for run in runs]
    return {place: [guesses[place] for guesses in taken] for place in sorted(set.intersection(*map(set, taken)))}


def settings(plan: Any, folder: Path) -> list[Setting]:
    """The settings of a plan with their runs, in the order of its grid."""
    found = []
    for name, values in plan.settings():
        variant = {"variant": name.partition("/")[0]} if plan.variants else {}
        swept = variant | {name: value for name, value in values.items() if name in plan.grid}
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


def terminal(results: list[Runs]) -> str:
    """The results for somebody at a terminal."""
    lines = [f"{'':18} parameters   runs  last five epochs, % of {results[0][0].dataset}"]
    for runs in results:
        held = f"{GOAL}% held by {runs.holding} of {len(runs)}" if runs[0].dataset == MNIST else "no goal applies"
        lines.append(f"{runs.name:18} {runs.parameters:10,.0f}  {len(runs):5}  {plus_minus(runs.ends)}  ({held})")
    return "\n".join(lines)
