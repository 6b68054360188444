"""Runs as their metrics files tell of them, and what several of them show together."""

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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


def is_text(value: Any, letters: str = r"[\w .,+/()-]*") -> bool:
    """Whether this is a line of these letters, none of which markdown or HTML would take for markup."""
    return isinstance(value, str) and re.fullmatch(letters, value) is not None


def listed(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether something is a list whose items all fit."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


def named(fits: Callable[[Any], bool], *names: str) -> Callable[[Any], bool]:
    """Whether something has values by name that all fit, some names among them."""
    return lambda value: isinstance(value, dict) and value.keys() >= {*names} and all(map(fits, value.values()))


def is_epoch(row: Any) -> bool:
    """Whether this is an epoch of a history: finite numbers by name, accuracies from 0 to 100; few have a clean one."""
    found = {k: v for k, v in row.items() if (k, v) != ("train_accuracy_clean", None)} if isinstance(row, dict) else {}
    accuracies = [value for name, value in found.items() if "accuracy" in name]
    return named(is_number, *ROW)(found) and all(0 <= value <= 100 for value in accuracies)


ROW = "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_correct", "test_accuracy"
FORMS = {
    "stage": lambda value: is_text(value, r"\w[\w.-]*"),
    "versions": lambda value: named(is_text)(value) and all(map(is_text, value)),
    "images": named(is_count, "train", "test"),
    "hyperparameters": lambda value: isinstance(value, dict),
    "history": listed(is_epoch),
    "seconds": is_number,
    "wrong": listed(is_count),
    "taken_for": listed(lambda digit: is_count(digit) and digit < 10),
    "scales": named(listed(is_number)),
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
        for name, fits in FORMS.items():
            value, optional = getattr(self, name), hasattr(Run, name)
            if not (fits(value) or (optional and value is None)):
                raise InputError(f"its {name} is not as it must be")
        wrong = self.wrong or []
        if not self.history or [row["epoch"] for row in self.history] != [*range(1, self.epochs + 1)]:
            raise InputError("its epochs are not those of its history")
        if self.history[-1].get("train_accuracy_clean") is None:
            raise InputError("its clean accuracy was not measured at the end")
        if len(self.taken_for or wrong) != len(wrong) or max(wrong, default=-1) >= self.images["test"]:
            raise InputError("its wrong digits are not as it must be")

    @classmethod
    def read(cls, path: Path) -> "Run":
        """The run of a metrics file; InputError if it isn't one, or not the one that the path names."""
        try:
            run = cls(**json.loads(path.read_text(encoding="utf-8")))
            if path.name != f"seed-{run.seed}.json":
                raise InputError("it is of another seed")
            if path.parts[-3:-1] == ("metrics", path.parent.name) and run.stage != path.parent.name:
                raise InputError("it is of another stage")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
            reason = " ".join(str(problem).replace("Run.__init__() ", "").split())
            raise InputError(f"{path} is no metrics file of ours ({reason}): delete it, or make it again") from None
        return run

    def save(self, folder: Path) -> Path:
        """Write the metrics file, whole or not at all, and never over one of a larger run."""
        path = folder / "metrics" / self.stage / f"seed-{self.seed}.json"
        if path.exists() and self.lacks(Run.read(path)):
            raise InputError(f"{path} holds a larger run: write this one to another folder (parameter `out`)")
        content = {name: value for name, value in vars(self).items() if value is not None}
        write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return path

    @property
    def size(self) -> tuple[bool, int, int]:
        """Ranks runs: MNIST before the stand-in, then epochs, then images."""
        return self.dataset == MNIST, self.epochs, self.images["train"]

    def lacks(self, other: "Run") -> bool:
        """Whether it may not take the place of the other: MNIST is better, and so is more of the same data."""
        if self.dataset != other.dataset:
            return self.size < other.size
        return any(mine < theirs for mine, theirs in zip(self.size, other.size, strict=True))

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

    def tested(self, way: str) -> "Run":
        """The run as tested with other statistics of batch norm; "usual" are those that training leaves."""
        if any(f"{way}_correct" not in row for row in self.history):
            raise MissingRuns(f"seed {self.seed} was not tested in the {way} way")
        found = [{"test_loss": row[f"{way}_loss"], "test_correct": row[f"{way}_correct"]} for row in self.history]
        accuracies = [{"test_accuracy": 100 * new["test_correct"] / self.images["test"]} for new in found]
        rows = zip(self.history, found, accuracies, strict=True)
        return replace(self, history=[row | new | accuracy for row, new, accuracy in rows])

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
}


def metrics_below(folder: Path) -> list[Path]:
    """The metrics files in a folder, without what the runner keeps beside them: `.done` and `failed`."""
    beside = {".done", "failed"}
    return [path for path in folder.rglob("seed-*.json") if beside.isdisjoint(path.relative_to(folder).parts)]


class Runs(list[Run]):
    """Runs that differ in nothing but the seed (and the fold); `runs.swing` is the mean of their swings."""

    def __init__(self, runs: Iterable[Run] = (), name: str = "") -> None:
        super().__init__(sorted(runs, key=lambda run: (run.split, run.seed)))
        self.name = name

    @classmethod
    def read(cls, folder: Path, like: Run | None = None) -> "Runs":
        """The runs whose metrics lie in a folder; given `like`, those on its data, of the recipe nearest to its own."""
        runs = [Run.read(path) for path in metrics_below(folder)]
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

    def tested(self, way: str) -> "Runs":
        """The runs as tested with other statistics of batch norm."""
        return Runs([run.tested(way) for run in self], self.name)

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
