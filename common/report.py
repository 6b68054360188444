"""A run's metrics file, and the Target / Result / Analysis block that is written from it."""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from common import InputError

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "outputs"
TARGET = 99.4  # % of MNIST's test set, in each of the last five epochs
MNIST = "MNIST"
Claim = Callable[[], tuple[str, bool]]  # a sentence with its figures filled in, and whether they bear it out


class MissingRun(Exception):
    """A claim asks for a stage that has no run to compare with."""


class Runs(list):
    """The runs of one stage that can be compared with one another, by seed; a figure is the mean over them."""

    def __init__(self, stage: str, runs: list[dict]) -> None:
        super().__init__(sorted(runs, key=lambda run: run["seed"]))
        self.stage = stage

    def over(self, figure: Callable[[dict], float]) -> float:
        """The mean of `figure` over the runs."""
        if not self:
            raise MissingRun(self.stage)
        return mean(figure(run) for run in self)

    def test(self, epoch: int) -> float:
        """Test accuracy after `epoch` (from 1; -1 is the last)."""
        return self.over(lambda run: at(run, epoch)["test_accuracy"])

    @property
    def last_five(self) -> float:
        """Mean test accuracy of the last five epochs."""
        return self.over(lambda run: mean(last_five(run)))

    def gain(self, before: "Runs") -> float:
        """Points of `last_five` on those of another stage."""
        return self.last_five - before.last_five

    @property
    def swing(self) -> float:
        """From the lowest to the highest of the last five epochs."""
        return self.over(lambda run: max(last_five(run)) - min(last_five(run)))

    @property
    def clean(self) -> float:
        """Train accuracy at the end, in eval mode on images as they are: what may be compared with test accuracy."""
        return self.over(lambda run: run["history"][-1]["train_accuracy_clean"])

    @property
    def running(self) -> float:
        """Train accuracy of the last epoch as the training saw it."""
        return self.over(lambda run: run["history"][-1]["train_accuracy"])

    @property
    def gap(self) -> float:
        """Clean train accuracy less test accuracy, after the last epoch."""
        return self.clean - self.test(-1)

    @property
    def parameters(self) -> int:
        """Of the network."""
        return round(self.over(lambda run: run["parameters"]))

    @property
    def holding(self) -> int:
        """How many of the runs are at the series' target in every one of their last five epochs."""
        return sum(holds(run, TARGET) for run in self)


def at(run: dict, epoch: int) -> dict:
    """The row of `epoch` in a run's history; the last one where the run is shorter."""
    return run["history"][-1 if epoch < 0 else min(epoch, len(run["history"])) - 1]


def last_five(run: dict) -> list[float]:
    """Test accuracies of the last five epochs."""
    return [row["test_accuracy"] for row in run["history"][-5:]]


def holds(run: dict, target: float) -> bool:
    """Whether every one of the last five epochs reaches `target`; a shorter run shows nothing."""
    return len(run["history"]) >= 5 and min(last_five(run)) >= target - 1e-9


def describe(
    stage: str,
    seed: int,
    split: str,
    batch_size: int,
    digits: tuple,
    rows: list,
    history: list[dict],
    hyperparameters: dict,
    wrong: list[int],
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
        "wrong": wrong,
        "history": history,
    }


def output_folder(out: str) -> Path:
    """The folder that the parameter `out` means; "" is the scratch folder for runs by hand."""
    return ROOT / (out or "outputs/scratch/by-hand")


def metrics_path(folder: Path | str, stage: str, seed: int) -> Path:
    """Where the metrics file of a run lies."""
    if not re.fullmatch(r"\w[\w.-]*", stage):  # it also stands in file names, tables and headings
        raise InputError(f"stage {stage!r} is no name: use letters, digits, _, - and dots")
    return Path(folder) / "metrics" / stage / f"seed-{seed}.json"


def size(run: dict) -> tuple[bool, int, int]:
    """Ranks runs: MNIST before the stand-in, more epochs before fewer, more images before fewer."""
    return run["dataset"] == MNIST, run["epochs"], run["images"]["train"]


def write_metrics(folder: Path | str, run: dict) -> Path:
    """Write a run's metrics file, whole or not at all, and never over one of a larger run."""
    path = metrics_path(folder, run["stage"], run["seed"])
    if path.exists() and size(read_run(path)) > size(run):
        raise InputError(f"{path} holds a larger run: write this one to another folder (parameter `out`)")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(run, indent=1, allow_nan=False) + "\n")
    return path


def read_run(path: Path) -> dict:
    """What a metrics file says."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): delete it, or make it anew") from None


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def comparable(folder: Path | str, stage: str, run: dict) -> Runs:
    """The runs of `stage` made of the same data for as many epochs as `run`: beside it, else the recorded ones."""
    return load_runs(folder, stage, run) or load_runs(RECORDED, stage, run)


def comparison(folder: Path | str, run: dict) -> str:
    """A markdown table of the stages up to that of `run`, each the mean over its seeds."""
    stages = sorted({path.name for place in (folder, RECORDED) for path in Path(place).glob("metrics/*")})
    lines = [
        f"| stage ({run['dataset']}) | seeds | parameters | last five, % | swing | train, clean, % | clean − test |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for runs in (comparable(folder, stage, run) for stage in stages if stage <= run["stage"]):
        if runs:
            lines.append(
                f"| {runs.stage} | {len(runs)} | {runs.parameters:,} | {runs.last_five:.2f} | {runs.swing:.2f}"
                f" | {runs.clean:.2f} | {runs.gap:+.2f} |"
            )
    return "\n".join(lines)


def load_runs(folder: Path | str, stage: str, like: dict | None = None) -> Runs:
    """The runs of `stage` under `folder`; given `like`, only those made of the same data for as many epochs."""
    files = (Path(folder) / "metrics" / stage).glob("seed-*.json")
    runs = [read_run(file) for file in files]
    kept = ("dataset", "split", "images", "epochs")
    return Runs(stage, [run for run in runs if not like or all(run[key] == like[key] for key in kept)])


def block(
    folder: Path | str,
    run: dict,
    runs: Runs,
    goal: float,
    target: str,
    because: list[Claim],
    analysis: list[Claim],
) -> str:
    """The markdown that closes a notebook."""
    notice = "" if run["dataset"] == MNIST else f" ({run['dataset']})"
    parts = [
        f"## Target / Result / Analysis: {run['stage']}, seed {run['seed']}{notice}",
        f"**Target.** {target}",
        sentences(because),
        "**Result.**",
        "\n".join(result(run, runs, goal)),
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
        return f"- _A comparison with `{missing}` is left out: it has not been run alike._"
    return f"- {text}" if true else f"- **Not borne out here:** ~~{text}~~"


def result(run: dict, runs: Runs, goal: float) -> list[str]:
    """The figures of a run, and of all its seeds where there are several."""
    last = run["history"][-1]
    clean = last["train_accuracy_clean"]
    kind = "Test" if run["split"] == "test" else "Validation"
    lines = [
        f"- Parameters: {run['parameters']:,}. Receptive field: {run['receptive_field']} pixels.",
        f"- {kind} accuracy, last epochs: {'  '.join(f'{accuracy:.2f}' for accuracy in last_five(run))} %.",
        f"- Train accuracy after the last epoch: {clean:.2f} % clean, {last['train_accuracy']:.2f} % running;"
        f" clean train less {kind.lower()}: {clean - last['test_accuracy']:+.2f} points.",
        f"- Target: {verdict(run, goal)}.",
    ]
    if len(runs) > 1:
        lines.append(f"- Over {len(runs)} seeds: {spread(runs)}.")
    return lines


def verdict(run: dict, goal: float) -> str:
    """Met, missed or not applicable."""
    if run["dataset"] != MNIST:
        return f"not applicable ({run['dataset']})"
    if len(run["history"]) < 5:
        return f"not applicable (it takes five epochs, this run has {len(run['history'])})"
    low = min(last_five(run))
    return f"{'met' if holds(run, goal) else 'missed'} (lowest of the last five {low:.2f} %, asked {goal:.2f} %)"


def spread(runs: Runs) -> str:
    """Mean, standard deviation and minimum of the last five epochs, and how many seeds hold the target."""
    means = [mean(last_five(run)) for run in runs]
    deviation = stdev(means) if len(means) > 1 else math.nan
    low = min(min(last_five(run)) for run in runs)
    held = f", {TARGET} % held in 5 of 5 by {runs.holding} of {len(runs)}" if runs[0]["dataset"] == MNIST else ""
    return f"mean of the last five {mean(means):.3f} ± {deviation:.3f} %, lowest epoch {low:.2f} %{held}"
