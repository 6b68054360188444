"""Tables of the published systems: runs in, lines of markdown out."""

import math
from collections.abc import Callable
from statistics import mean, stdev

from common import tables
from common.intervals import T, end, in_words, step
from common.published import AT_TARGET, SYSTEMS, System
from common.runs import MNIST, TARGET, Runs

MISSING = "not run yet"
ENOUGH = 3  # seeds for a verdict


def table(head: str, rows: list[list[str]]) -> list[str]:
    """A markdown table; all columns but the first hold figures."""
    columns = head.count("|") + 1
    return [f"| {head} |", "|---|" + "---:|" * (columns - 1), *(f"| {' | '.join(row)} |" for row in rows)]


def verdicts(results: dict[str, Runs], ours: dict[str, Runs] | None = None) -> list[str]:
    """A row a system: what was published, what came of it here, and whether they agree; below them `ours`, by name."""
    head = (
        "system | parameters, published | parameters, here | best, published | best, here | last five, published"
        " | last five, here | reproduced"
    )
    rows = [verdict_row(name, SYSTEMS[name], runs) for name, runs in results.items()]
    for name, runs in (ours or {}).items():
        rows.append([name, "–", f"{runs.parameters:,}", "–", told(runs, best), "–", told(runs, end), "–"])
    return table(head, rows)


def verdict_row(name: str, system: System, runs: Runs) -> list[str]:
    """A system in the table; its name leads to the executed notebook."""
    return [
        f"{f'[{name}]({name}.ipynb)' if runs else name}, {system.what}{' †' if system.own else ''}",
        system.stated,
        f"{system.parameters:,}",
        f"{system.best:.2f}" if system.best else "–",
        told(runs, best),
        f"“{TARGET}”" if system.holding else f"{mean(system.last_five):.3f}" if system.last_five else "–",
        told(runs, end),
        verdict(system, runs),
    ]


def best(run: dict) -> float:
    """A run's highest test accuracy: what most write-ups give."""
    return max(row["test_accuracy"] for row in run["history"])


def told(runs: Runs, figure: Callable[[dict], float]) -> str:
    """Mean and standard deviation over the seeds."""
    return tables.plus_minus([figure(run) for run in runs]) if runs else MISSING


def verdict(system: System, runs: Runs) -> str:
    """Whether the published figure could be that of a further seed of ours."""
    if not runs:
        return MISSING
    if runs[0]["dataset"] != MNIST:
        return f"not applicable ({runs[0]['dataset']})"
    if system.holding:
        return f"held by {runs.holding} of {len(runs)}"
    if not system.best:
        return "no figure published"
    if len(runs) < ENOUGH:
        return f"takes {ENOUGH} seeds, {len(runs)} so far"
    stated, figure = (mean(system.last_five), end) if system.last_five else (system.best, best)
    low, high = reach([figure(run) for run in runs])
    words = "yes" if low <= stated <= high else "no, published higher" if stated > high else "no, published lower"
    return f"{words} ({low:.2f} to {high:.2f})"


def reach(figures: list[float]) -> tuple[float, float]:
    """Where one more seed would lie with 95 %, as far as these tell."""
    margin = T[min(len(figures) - 1, len(T)) - 1] * stdev(figures) * math.sqrt(1 + 1 / len(figures))
    return mean(figures) - margin, mean(figures) + margin


def recipes() -> list[str]:
    """How each system is trained here; in italics what its write-up leaves open."""
    names = ("batch_size", "epochs", "learning_rate", "schedule", "momentum", "augment")
    rows = []
    for name, system in SYSTEMS.items():
        values = {key: getattr(system.recipe, key) for key in names}
        values["augment"] = ", ".join(f"{key} {value:g}" for key, value in values["augment"].items()) or "none"
        cells = [f"*{value}*" if key in system.recipe.taken else f"{value}" for key, value in values.items()]
        rows.append([name, *cells])
    return table("system | batch | epochs | rate | schedule | momentum | augmentation", rows)


def heads(before: Runs, after: Runs) -> list[str]:
    """C1 against C2, by the seeds that both have."""
    if not before or not after:
        return [f"C1 and C2: {MISSING}."]
    return [f"C2 less C1, last five epochs, paired by seed: {in_words(*step(before, after))}."]


def train(results: dict[str, Runs]) -> list[str]:
    """Train accuracy as it was published, and both kinds of it here."""
    rows = []
    for name, runs in results.items():
        if SYSTEMS[name].train:
            last = [f"{runs.running:.2f}", f"{runs.clean:.2f}", f"{runs.test(-1):.2f}"] if runs else [MISSING] * 3
            rows.append([name, f"{SYSTEMS[name].train:.2f}", f"{SYSTEMS[name].best:.2f}", *last])
    head = (
        "system | best train, published | best test, published | train, running, here | train, clean, here | test, here"
    )
    return table(head, rows)


def rates(results: dict[str, Runs]) -> list[str]:
    """D5 from either rate."""
    rows = [["published", f"{SYSTEMS['D5-0.02'].best:.2f}", "–", f"{AT_TARGET}"]]
    counts = {name: [at_target(run) for run in results[name]] for name in ("D5-0.02", "D5-0.2")}
    for name, found in counts.items():
        runs = results[name]
        rows.append([name, told(runs, best), told(runs, end), ", ".join(map(str, found)) or MISSING])
    lines = table(f"system | best | last five | of the first 15 epochs, at {TARGET} % or more (by seed)", rows)
    if not all(counts.values()):
        return lines
    epochs = " and ".join(f"{max(found)} from {name[3:]}" for name, found in counts.items())
    as_many = [name[3:] for name, found in counts.items() if max(found) >= AT_TARGET]
    words = f"speaks for {as_many[0]}" if len(as_many) == 1 else "tells neither from the other"
    return [*lines, "", f"Here it was at most {epochs}: that {words}, as far as a network of ours can say."]


def at_target(run: dict) -> int:
    """How many of the first 15 epochs reach the target."""
    return sum(row["test_accuracy"] >= TARGET - 1e-9 for row in run["history"][:15])
