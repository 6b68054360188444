"""Tables over stages and seeds: runs in, lines of markdown out."""

import math
import os
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

from common import REPOSITORY, InputError
from common.intervals import step, verdict
from common.runs import MNIST, ROOT, TARGET, Runs

# What a stage adds, and every later one keeps: the columns of the table that the series answers.
ADDED = ("Batch normalization", "Dropout", "FC layer", "Image augmentation", "LR scheduler")
COLAB = REPOSITORY.replace("github.com", "colab.research.google.com/github")


def evidence(results: list[Runs]) -> list[str]:
    """A row a stage: its last five epochs over the seeds, and what training made of the network."""
    real = results[0][0]["dataset"] == MNIST
    head = f"{TARGET} % in 5 of 5" if real else "target"
    lines = [
        f"| stage | parameters | seeds | last five epochs, % | lowest epoch | {head} | train, clean | clean − test |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for runs in results:
        held = f"{runs.holding} of {len(runs)}" if real else "not applicable"
        lines.append(
            f"| [{runs.stage}]({runs.stage}.ipynb) | {runs.parameters:,} | {len(runs)} | {plus_minus(runs.ends)}"
            f" | {runs.lowest:.2f} | {held} | {runs.clean:.2f} | {runs.gap:+.2f} |"
        )
    return lines


def steps(results: list[Runs]) -> list[str]:
    """A row a step from stage to stage, by the seeds that both have."""
    lines = ["| step | difference of the last five, points | 95 % interval | |", "|---|---:|---:|---|"]
    for before, after in pairwise(results):
        difference, low, high = step(before, after)
        interval = f"{low:+.3f} to {high:+.3f}" if math.isfinite(low) else "needs two seeds or more"
        words = verdict(low, high, after.stage) if math.isfinite(low) else ""
        lines.append(f"| {before.stage} → {after.stage} | {difference:+.3f} | {interval} | {words} |")
    return lines if len(results) > 1 else []


def series(results: list[Runs]) -> list[str]:
    """The columns of the published table, filled."""
    lines = [
        f"| Experiment | Parameters | {' | '.join(ADDED)} | Test accuracy, last five epochs | |",
        "|---|---:|" + ":---:|" * len(ADDED) + "---:|---|",
    ]
    for runs in results:
        number = int(runs.stage[:2])
        ticks = ["✓" if added < number - 1 else "–" for added in range(len(ADDED))]
        accuracy = f"{plus_minus(runs.ends)} %"
        colab = f"{COLAB}/blob/main/notebooks/{runs.stage}.ipynb"
        links = f"[rendered](outputs/{runs.stage}.ipynb) · [Colab]({colab})"
        lines.append(
            f"| [{title(runs.stage)}](notebooks/{runs.stage}.ipynb) | {runs.parameters:,} | {' | '.join(ticks)}"
            f" | {accuracy} | {links} |"
        )
    counts = [len(runs) for runs in results]
    seeds = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else counts[0]
    note = f"Mean ± standard deviation over {seeds} seeds" if max(counts) > 1 else "One seed"
    return [
        *lines,
        "",
        f"{note}; {TARGET} % is held in all of the last five epochs by {results[-1].holding} of {len(results[-1])} runs"
        " of the last stage. The figures of every run, and what can be told apart: [outputs](outputs/README.md).",
    ]


def title(stage: str) -> str:
    """A stage by number and by what it adds."""
    number = int(stage[:2])
    name = ("Skeleton", *ADDED)[number - 1] if number <= 1 + len(ADDED) else stage[3:].replace("_", " ")
    return f"{number} · {name}"


def loss(results: list[Runs]) -> list[str]:
    """The loss of the last epoch, a row a stage."""
    lines = ["| stage | seeds | train loss, running | test loss |", "|---|---:|---:|---:|"]
    for runs in results:
        train, test = (runs.over(lambda run, key=key: run["history"][-1][key]) for key in ("train_loss", "test_loss"))
        lines.append(f"| {runs.stage} | {len(runs)} | {train:.4f} | {test:.4f} |")
    return lines


def errors(results: list[Runs], picture: Path) -> list[str]:
    """How many test digits the last stage gets wrong, and how many in every seed; shown where there is a picture."""
    runs = results[-1]
    counts = [len(run["wrong"]) for run in runs]
    total = runs[0]["images"]["test"]
    if len(runs) == 1:
        return [f"After its last epoch the network of the last stage gets {counts[0]} of {total:,} test digits wrong."]
    always, ever = always_wrong(runs), {index for run in runs for index in run["wrong"]}
    alike = sum(len(set(guesses)) == 1 for guesses in always.values())
    lines = [
        f"After its last epoch the network of the last stage gets {min(counts)} to {max(counts)} of {total:,} test"
        f" digits wrong, depending on the seed. {len(ever)} are wrong in at least one of the {len(runs)} seeds,"
        f" {len(always)} in all of them, and {alike} of these are taken for the same other digit by every seed. With"
        f" the right seed chosen for each digit, {100 - 100 * len(always) / total:.2f} % would be right."
    ]
    if picture.exists():
        place = Path(os.path.relpath(picture, ROOT)).as_posix()
        lines[0] += " Look at those that all get wrong: some read as the networks read them, and not as labelled."
        lines += ["", f"![The digits that every seed gets wrong, each with its label and its usual answer]({place})"]
    return lines


def always_wrong(runs: Runs) -> dict[int, list[int]]:
    """The test digits that every run gets wrong, each with what it is taken for, run by run."""
    if not all("taken_for" in run for run in runs):
        raise InputError(f"the metrics of {runs.stage} don't say what its wrong digits were taken for: run it anew")
    taken = [dict(zip(run["wrong"], run["taken_for"], strict=True)) for run in runs]
    common = sorted(set.intersection(*map(set, taken)))
    return {index: [answers[index] for answers in taken] for index in common}


def terminal(results: list[Runs]) -> str:
    """The results for somebody at a terminal."""
    dataset = results[0][0]["dataset"]
    lines = [f"{'stage':18} parameters  seeds  last five epochs, % of {dataset}"]
    for runs in results:
        held = f"{TARGET} % held by {runs.holding} of {len(runs)}" if dataset == MNIST else "target not applicable"
        lines.append(f"{runs.stage:18} {runs.parameters:10,}  {len(runs):5}  {plus_minus(runs.ends)}  ({held})")
    return "\n".join(lines)


def plus_minus(figures: list[float]) -> str:
    """Mean and standard deviation; of a single figure only itself."""
    return f"{mean(figures):.3f}" + (f" ± {stdev(figures):.3f}" if len(figures) > 1 else "")
