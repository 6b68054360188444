"""The published systems: what their write-ups say, and what came of them here."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common.intervals import markdown_table, student_t
from common.runs import GOAL, MNIST, Runs
from series.plans import tomllib
from series.report.figures import Point
from series.report.notebooks import NOTEBOOKS
from series.report.tables import plus_minus

MISSING, ENOUGH = "not run yet", 3  # runs for a verdict


def read_facts() -> dict[str, Any]:
    """What is known of the systems, by name, with the peers and the published fields beside them."""
    return tomllib.loads((NOTEBOOKS / "published_systems.toml").read_text(encoding="utf-8"))


def read_runs(folder: Path) -> dict[str, Runs]:
    """The runs of each system; if any are on MNIST, only those."""
    found = {name: Runs.read(folder / name) for name, fact in read_facts().items() if "recipe" in fact}
    real = {name: Runs((run for run in runs if run.dataset == MNIST), name) for name, runs in found.items()}
    return real if any(real.values()) else found


def verdicts(facts: dict[str, Any], found: dict[str, Runs], ours: dict[str, Runs]) -> str:
    """A row a system: what was published, what came of it here, and whether they agree; then this series."""
    rows = []
    for name, runs in found.items():
        fact, five = facts[name], facts[name].get("last_five")
        label = f"[{name}]({name}.ipynb), {fact['what']}{' †' if fact.get('own') else ''}"
        stated = f"{mean(five):.3f}" if five else f"“{GOAL}”" if fact.get("holding") else "–"
        size, best = [fact["stated"], f"{fact['parameters']:,}"], [fact.get("best", "–"), told(runs, "best")]
        rows.append([label, *size, *best, stated, told(runs, "end"), reproduced(fact, runs)])
    for name, runs in ours.items():
        size = f"{runs.parameters:,.0f}"
        rows.append([name, "–", size, "–", told(runs, "best"), "–", told(runs, "end"), holding(runs)])
    head = ["", "parameters, published", "here", "best, published", "here", "last five, published", "here"]
    return markdown_table([*head, "reproduced"], rows)


def told(runs: Runs, figure: str) -> str:
    """Mean and standard deviation over the runs."""
    return plus_minus([getattr(run, figure) for run in runs]) if runs else MISSING


def holding(runs: Runs) -> str:
    """How many runs hold the goal."""
    return f"{runs.holding} of {len(runs)} hold {GOAL}%"


def reproduced(fact: dict[str, Any], runs: Runs) -> str:
    """Whether one more run of ours could have the published figure."""
    if not runs:
        return MISSING
    if runs[0].dataset != MNIST:
        return f"not applicable ({runs[0].dataset})"
    if fact.get("holding"):
        return holding(runs)
    if "best" not in fact:
        return "no figure published"
    if len(runs) < ENOUGH:
        return f"takes {ENOUGH} runs, {len(runs)} so far"
    figure, stated = ("end", mean(fact["last_five"])) if "last_five" in fact else ("best", fact["best"])
    low, high = prediction([getattr(run, figure) for run in runs])
    words = "yes" if low <= stated <= high else f"no, published {'higher' if stated > high else 'lower'}"
    return f"{words} ({low:.2f} to {high:.2f})"


def prediction(figures: list[float]) -> tuple[float, float]:
    """The 95% prediction interval of one more run."""
    margin = student_t(0.95, len(figures) - 1) * stdev(figures) * (1 + 1 / len(figures)) ** 0.5
    return mean(figures) - margin, mean(figures) + margin


def at_goal(runs: Runs) -> list[int]:
    """How many of the first 15 epochs of each run reach the goal."""
    return [sum(row["test_accuracy"] >= GOAL - 1e-9 for row in run.history[:15]) for run in runs]


def train(facts: dict[str, Any], found: dict[str, Runs]) -> str:
    """Train accuracy as it was published, and both kinds of it here."""
    rows = []
    for name in (name for name in found if "train" in facts[name]):
        runs, stated = found[name], [facts[name]["train"], facts[name]["best"]]
        here = [f"{getattr(runs, kind):.2f}" if runs else MISSING for kind in ("running", "clean", "last")]
        rows.append([name, *(f"{figure:.2f}" for figure in stated), *here])
    head = ["", "best train, published", "best test, published", "running train, here", "clean train, here"]
    return markdown_table([*head, "test, here"], rows)


def points(facts: dict[str, Any], found: dict[str, Runs], ours: dict[str, Runs]) -> list[Point]:
    """All networks with parameters and an accuracy, for the picture."""
    points = [Point(round(runs.parameters), name, "this series", runs.ends) for name, runs in ours.items()]
    for name, runs in found.items():
        size, five = facts[name]["parameters"], facts[name].get("last_five")
        kind = "published recipe, our network" if facts[name].get("own") else "published system, trained here"
        points += [Point(size, name, kind, runs.ends)] if runs else []
        points += [Point(size, f"{name}, published", "one run, published", [mean(five)])] if five else []
    peers = facts["peers"].items()
    return points + [Point(int(size), "peer", "one run, published", [mean(five)]) for size, five in peers]
