"""Runs as their metrics files tell of them, and what several of them show together."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

from common.config import ROOT, InputError, write_whole

OUTPUTS = ROOT / "outputs"
GOAL = 99.4  # % of MNIST's test set, in each of the last five epochs
MNIST = "MNIST"
UNUSED = "shift_y", "brightness", "contrast"  # in older files: the same as another setting, or always 0
OLDER = {"shift_x": "shift", "kernels": "kernel_rate"}  # names of parameters in older files, and today's


class MissingRuns(Exception):
    """A sentence asks for runs that are not there."""


def is_number(value: Any) -> bool:
    """Whether this is a number that is finite."""
    return type(value) in (int, float) and -math.inf < value < math.inf


def is_count(value: Any) -> bool:
    """Whether this is a whole number of things."""
    return type(value) is int and value >= 0


def is_text(value: Any) -> bool:
    """Whether this is a line without anything that markdown or HTML would take for markup."""
    return isinstance(value, str) and re.fullmatch(r"[\w .,+/()-]*", value) is not None


def is_history(history: Any) -> bool:
    """Whether these are the epochs of a run, from the first to one whose clean accuracy was measured."""
    rows = history if isinstance(history, list) else []
    return (
        bool(rows) and all(map(is_row, rows, range(1, len(rows) + 1))) and "train_accuracy_clean" in measured(rows[-1])
    )


def is_row(row: Any, epoch: int) -> bool:
    """Whether this is an epoch of a history: finite numbers by name, accuracies from 0 to 100."""
    found = measured(row) if isinstance(row, dict) else {}
    accuracies = [value for name, value in found.items() if "accuracy" in name]
    return (
        all(map(is_number, found.values()))
        and all(0 <= value <= 100 for value in accuracies)
        and found.keys() >= {"lr", "train_loss", "train_accuracy", "test_loss", "test_correct", "test_accuracy"}
        and row.get("epoch") == epoch
    )


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """What was measured in an epoch: clean accuracy is not, in most."""
    return {name: value for name, value in row.items() if (name, value) != ("train_accuracy_clean", None)}


FORMS = {
    "stage": lambda value: isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None,
    "versions": lambda value: isinstance(value, dict) and all(is_text(word) for pair in value.items() for word in pair),
    "images": lambda value: isinstance(value, dict) and all(is_count(value.get(half)) for half in ("train", "test")),
    "hyperparameters": lambda value: isinstance(value, dict),
    "history": is_history,
    "seconds": is_number,
    "wrong": lambda value: isinstance(value, list) and all(map(is_count, value)),
    "taken_for": lambda value: isinstance(value, list) and all(is_count(digit) and digit < 10 for digit in value),
    "scales": lambda value: isinstance(value, dict) and all(map(is_number, chain(*value.values()))),
    **dict.fromkeys(("seed", "parameters", "epochs", "batch_size", "receptive_field"), is_count),
    **dict.fromkeys(("dataset", "split", "device", "commit"), is_text),
}


@dataclass(frozen=True)
class Run:
    """One run, as its metrics file holds it."""

    stage: str
    seed: int
    dataset: str
    split: str
    parameters: int
    epochs: int
    batch_size: int
    device: str
    versions: dict[str, str]
    commit: str
    images: dict[str, int]
    hyperparameters: dict[str, Any]
    history: list[dict[str, Any]]
    receptive_field: int | None = None
    seconds: float | None = None
    wrong: list[int] | None = None  # places in the test set of the digits that it gets wrong
    taken_for: list[int] | None = None  # and what it takes each of them for
    scales: dict[str, list[float]] | None = None  # of the fresh network, block by block

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value is None and field.default is None) and not FORMS[field.name](value):
                raise InputError(f"its {field.name} is not as it must be")
        if self.epochs != len(self.history):
            raise InputError("its epochs are not those of its history")
        if len(self.taken_for or self.wrong or []) != len(self.wrong or []):
            raise InputError("its wrong digits are not those that it took for others")
        if any(place >= self.images["test"] for place in self.wrong or []):
            raise InputError("its wrong digits are more than it was tested on")

    @classmethod
    def read(cls, path: Path) -> "Run":
        """The run of a metrics file; InputError if it isn't one, or not of the seed that the file is named after."""
        try:
            run = cls(**json.loads(path.read_text(encoding="utf-8")))
            if path.name != f"seed-{run.seed}.json":
                raise InputError("it is of another seed")
            if path.parts[-3:-1] == ("metrics", path.parent.name) and run.stage != path.parent.name:
                raise InputError("it is of another stage")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
            reason = " ".join(str(problem).replace("Run.__init__() ", "").split())
            raise InputError(
                f"{path} is no metrics file of this series ({reason}): delete it, or make it again"
            ) from None
        return run

    def save(self, folder: Path) -> Path:
        """Write the metrics file, whole or not at all, and never over one of a larger run."""
        path = metrics_path(folder, self.stage, self.seed)
        if path.exists() and lacks(self.size, Run.read(path).size):
            raise InputError(f"{path} holds a larger run: write this one to another folder (parameter `out`)")
        content = {name: value for name, value in vars(self).items() if value is not None}
        write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return path

    @property
    def size(self) -> tuple[bool, int, int]:
        """Ranks runs: MNIST before the stand-in, then epochs, then images."""
        return self.dataset == MNIST, self.epochs, self.images["train"]

    @property
    def data(self) -> tuple:
        """What runs must have in common to be compared."""
        return self.dataset, self.split, self.images["train"], self.images["test"], self.epochs

    @property
    def recipe(self) -> dict[str, Any]:
        """What shapes a run beside its data and seed; older files have other names for it."""
        named = {OLDER.get(name, name): value for name, value in self.hyperparameters.items()}
        settings = {name: value for name, value in named.items() if name not in UNUSED}
        return settings | {"parameters": self.parameters, "batch_size": self.batch_size}

    @property
    def last_five(self) -> list[float]:
        """Test accuracies of the last five epochs."""
        return [row["test_accuracy"] for row in self.history[-5:]]

    def __getattr__(self, name: str) -> float:
        """One of the figures below."""
        if name not in FIGURES:
            raise AttributeError(name)
        return FIGURES[name](self)

    def holds(self, goal: float = GOAL) -> bool:
        """Whether every one of the last five epochs reaches the goal; a shorter run shows nothing."""
        return len(self.history) >= 5 and self.lowest >= goal - 1e-9


FIGURES = {
    "end": lambda run: mean(run.last_five),  # what a run is judged by
    "lowest": lambda run: min(run.last_five),
    "swing": lambda run: max(run.last_five) - min(run.last_five),
    "first": lambda run: run.history[0]["test_accuracy"],
    "last": lambda run: run.history[-1]["test_accuracy"],
    "best": lambda run: max(row["test_accuracy"] for row in run.history),  # what many write-ups give
    "running": lambda run: run.history[-1]["train_accuracy"],  # of the last epoch, as the training saw it
    "clean": lambda run: run.history[-1]["train_accuracy_clean"],  # in eval mode, on images as they are
    "gap": lambda run: run.clean - run.last,
    "loss": lambda run: mean(row["test_loss"] for row in run.history[-5:]),
    "late_rate": lambda run: 100 * run.history[-4]["lr"] / max(row["lr"] for row in run.history),  # % of the highest
}


def metrics_path(folder: Path, stage: str, seed: int) -> Path:
    """Where the metrics of a notebook's run lie."""
    return folder / "metrics" / stage / f"seed-{seed}.json"


def lacks(mine: tuple, theirs: tuple) -> bool:
    """Whether a run of one size may not take the place of one of the other: on like data, it has less of something."""
    if mine[0] != theirs[0]:
        return mine[0] < theirs[0]
    return any(one < other for one, other in zip(mine[1:], theirs[1:], strict=True))


class Runs(list[Run]):
    """Runs that differ in nothing but the seed (and the fold); `runs.swing` is the mean of their swings."""

    def __init__(self, runs: Iterable[Run] = (), name: str = "") -> None:
        super().__init__(sorted(runs, key=lambda run: (run.split, run.seed)))
        self.name = name

    @classmethod
    def read(cls, folder: Path, like: Run | None = None) -> "Runs":
        """The runs whose metrics lie in a folder; given `like`, those on its data, of the recipe nearest to its own."""
        runs = [Run.read(path) for path in folder.rglob("seed-*.json")]
        if like:
            runs = [run for run in runs if run.data == like.data]
            nearest = min(runs, key=lambda run: (len(differences(run, like)), run.seed), default=None)
            runs = [run for run in runs if run.recipe == nearest.recipe]
        return cls(runs, folder.name)

    def __getattr__(self, name: str) -> float:
        """The mean over the runs of one of their figures."""
        if name not in (*FIGURES, "parameters"):
            raise AttributeError(name)
        if not self:
            raise MissingRuns(f"no run of {self.name or 'the kind'} is recorded")
        return mean(getattr(run, name) for run in self)

    def __str__(self) -> str:
        """What they come to, and how many they are."""
        return f"{self.end:.2f}% ({len(self)} run{'s' if len(self) > 1 else ''})"

    def __format__(self, _: str) -> str:
        return str(self)

    @property
    def ends(self) -> list[float]:
        """Every run's mean accuracy of its last five epochs."""
        return [run.end for run in self]

    @property
    def holding(self) -> int:
        """How many runs hold the goal of the series."""
        return sum(run.holds() for run in self)

    def scale(self, what: str, block: int) -> float:
        """Of the fresh network: the spread of the "values" after a block, or the size of its "gradients"."""
        if not self or not all(run.scales for run in self):
            raise MissingRuns("the fresh network was not measured")
        return mean(run.scales[what][block] for run in self)


def differences(run: Run, other: Run) -> list[str]:
    """The settings that both runs have, and not alike."""
    mine, theirs = run.recipe, other.recipe
    return [name for name in mine if name in theirs and mine[name] != theirs[name]]


def recorded(stage: str, like: Run | None = None) -> Runs:
    """The recorded runs of a step, an appendix or a published system; given `like`, those nearest to it."""
    places = [f"metrics/{stage}", f"smaller/metrics/{stage}", f"published/{stage}"]
    there = ["choices"] if stage == "playground" else [place for place in places if (OUTPUTS / place).is_dir()]
    return Runs.read(OUTPUTS / (there or [stage])[0], like)
