"""What a notebook says of its run: the metrics file, and the Target / Result / Analysis block."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import stdev

from common.choices import tried
from common.intervals import against, in_words, interval, step
from common.runs import MNIST, ROOT, TARGET, MissingRun, Runs, comparable, holds, last_five, stages, write_metrics

__all__ = [
    "against",
    "block",
    "comparable",
    "describe",
    "held_out",
    "in_words",
    "interval",
    "output_folder",
    "tried",
    "write_metrics",
]  # what notebooks use
Claim = Callable[[], tuple[str, bool]]  # a sentence with its figures filled in, and whether they bear it out


def describe(
    stage: str,
    seed: int,
    split: str,
    batch_size: int,
    digits: tuple,
    rows: list,
    history: list[dict],
    hyperparameters: dict,
    mistakes: dict[str, list[int]],
    environment: dict,
) -> dict:
    """All that a metrics file says of a run."""
    return {
        "stage": stage,
        "seed": seed,
        "dataset": digits.name,
        "split": split,
        "parameters": sum(row.params for row in rows),
        "epochs": len(history),
        "batch_size": batch_size,
        **environment,
        "images": {"train": len(digits.train[1]), "test": len(digits.test[1])},
        "hyperparameters": hyperparameters,
        "receptive_field": max(row.r_out for row in rows if row.operation.startswith("Conv2d")),
        "seconds": sum(row["seconds"] for row in history),
        **mistakes,
        "history": history,
    }


def output_folder(out: str) -> Path:
    """The folder that the parameter `out` means; "" is the scratch folder for runs by hand."""
    return ROOT / (out or "outputs/scratch/by-hand")


def block(
    folder: Path | str,
    run: dict,
    runs: Runs,
    goal: float,
    target: str,
    because: list[Claim],
    analysis: list[Claim],
    before: Runs | None = None,
) -> str:
    """The markdown that closes a notebook; `before` are the runs of the stage that it builds on."""
    notice = "" if run["dataset"] == MNIST else f" ({run['dataset']})"
    parts = [
        f"## Target / Result / Analysis: {run['stage']}, seed {run['seed']}{notice}",
        f"In target and analysis, figures are means over all {len(runs)} seeds." if len(runs) > 1 else "",
        f"**Target.** {target}",
        sentences(because),
        "**Result.**",
        "\n".join(result(run, runs, goal, before)),
        comparison(folder, run),
        "**Analysis.**",
        sentences(analysis),
    ]
    return "\n\n".join(part for part in parts if part)


def sentences(claims: list[Claim]) -> str:
    """The claims as a list, each sentence once: several may miss the same stage."""
    return "\n".join(dict.fromkeys(map(sentence, claims)))


def sentence(claim: Claim) -> str:
    """A claim as a list item that says so where this run does not bear it out, or can't."""
    try:
        text, true = claim()
    except MissingRun as missing:
        return f"- _{missing}_"
    return f"- {text}" if true else f"- **Not borne out here:** ~~{text}~~"


def held_out(runs: Runs) -> str:
    """What an answer that was tried came to, and by how many seeds."""
    return f"{runs.last_five:.2f} % ({len(runs)} seed{'s' if len(runs) > 1 else ''})"


def result(run: dict, runs: Runs, goal: float, before: Runs | None) -> list[str]:
    """The figures of a run, and of all its seeds where there are several."""
    last = run["history"][-1]
    clean = last["train_accuracy_clean"]
    kind = "test" if run["split"] == "test" else "validation"
    five = "  ".join(f"{accuracy:.2f}" for accuracy in last_five(run))
    lines = [
        f"- Parameters: {run['parameters']:,}. Receptive field of the last convolution: {run['receptive_field']}"
        " pixels.",
        f"- This run: {kind} accuracy in the last epochs {five} %.",
        f"- This run: train accuracy after the last epoch {clean:.2f} % clean, {last['train_accuracy']:.2f} % running;"
        f" clean train less {kind}: {clean - last['test_accuracy']:+.2f} points.",
        f"- Target: {verdict(run, runs, goal)}.",
    ]
    if len(runs) > 1:
        lines.append(f"- All {len(runs)} seeds: {spread(runs)}.")
    if before:
        lines.append(f"- Against {before.stage}, paired by seed: {in_words(*step(before, runs), runs.stage)}.")
    return lines


def verdict(run: dict, runs: Runs, goal: float) -> str:
    """Met, missed or not applicable; of several seeds, by how many."""
    if run["dataset"] != MNIST:
        return f"not applicable ({run['dataset']})"
    if len(run["history"]) < 5:
        return f"not applicable (it takes five epochs, this run has {len(run['history'])})"
    figures = f"(lowest of the last five {min(last_five(run)):.2f} %, asked {goal:.2f} %)"
    if len(runs) == 1:
        return f"{'met' if holds(run, goal) else 'missed'} {figures}"
    seeds = f"met by {runs.held(goal)} of {len(runs)} seeds (lowest epoch {runs.lowest:.2f} %)"
    return f"{seeds}, {'and' if holds(run, goal) else 'not'} by this one {figures}"


def spread(runs: Runs) -> str:
    """Mean, standard deviation and minimum of the last five epochs, and how many seeds hold the target."""
    deviation = stdev(runs.ends) if len(runs) > 1 else math.nan
    held = f", {TARGET} % held in 5 of 5 by {runs.holding} of {len(runs)}" if runs[0]["dataset"] == MNIST else ""
    return f"mean of the last five {runs.last_five:.3f} ± {deviation:.3f} %, lowest epoch {runs.lowest:.2f} %{held}"


def comparison(folder: Path | str, run: dict) -> str:
    """A markdown table of the stages up to that of `run`, each the mean over its seeds."""
    head = "seeds | parameters | last five, % | swing | train, clean, % | clean − test, last epoch"
    lines = [
        f"| stage ({run['dataset']}) | {head} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for runs in (comparable(folder, stage, run) for stage in stages(folder) if stage <= run["stage"]):
        if runs:
            lines.append(
                f"| {runs.stage} | {len(runs)} | {runs.parameters:,} | {runs.last_five:.2f} | {runs.swing:.2f}"
                f" | {runs.clean:.2f} | {runs.gap:+.2f} |"
            )
    return "\n".join(lines)
