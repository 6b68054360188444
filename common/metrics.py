"""What a metrics file must hold before any of it is counted or shown: the file may come from anybody."""

import math
import re
from collections.abc import Callable
from typing import Any

NOTEBOOKS_ONLY = ("receptive_field", "wrong")  # a run that chooses between recipes does without
OPTIONAL = ("taken_for", "scales")  # the first runs had none, and of the stages only two measure scales
NUMBERS = ("lr", "train_loss", "test_loss", "seconds")
ACCURACIES = ("train_accuracy", "test_accuracy")


def is_name(value: Any) -> bool:
    """Whether this may stand in file names, tables and headings."""
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


def is_text(value: Any) -> bool:
    """Whether this is a line without anything that markdown or HTML would take for markup."""
    return isinstance(value, str) and re.fullmatch(r"[\w .,+/()-]*", value) is not None


def is_count(value: Any) -> bool:
    """Whether this is a whole number of things."""
    return type(value) is int and value >= 0


def is_number(value: Any) -> bool:
    """Whether this is a number that is finite."""
    return type(value) in (int, float) and -math.inf < value < math.inf


def is_percentage(value: Any) -> bool:
    """Whether this is a share in percent."""
    return is_number(value) and 0 <= value <= 100


def is_row(row: Any) -> bool:
    """Whether this is an epoch of a history."""
    return (
        isinstance(row, dict)
        and all(is_number(row.get(name)) for name in NUMBERS)
        and all(is_percentage(row.get(name)) for name in ACCURACIES)
        and "train_accuracy_clean" in row
        and (row["train_accuracy_clean"] is None or is_percentage(row["train_accuracy_clean"]))
        and is_count(row.get("test_correct"))
    )


def is_history(history: Any) -> bool:
    """Whether these are the epochs of a run, from the first to one whose clean accuracy was measured."""
    return (
        isinstance(history, list)
        and len(history) > 0
        and all(is_row(row) and row.get("epoch") == number for number, row in enumerate(history, 1))
        and history[-1]["train_accuracy_clean"] is not None
    )


def is_scale(sizes: Any) -> bool:
    """Whether these are sizes, a number a block."""
    return isinstance(sizes, list) and len(sizes) > 0 and all(map(is_number, sizes))


FORMS: dict[str, Callable[[Any], bool]] = {
    "stage": is_name,
    "seed": is_count,
    "dataset": is_text,
    "split": is_text,
    "parameters": is_count,
    "epochs": is_count,
    "batch_size": is_count,
    "device": is_text,
    "versions": lambda of: isinstance(of, dict) and all(is_text(word) for pair in of.items() for word in pair),
    "images": lambda of: isinstance(of, dict) and is_count(of.get("train")) and is_count(of.get("test")),
    "hyperparameters": lambda of: isinstance(of, dict),
    "history": is_history,
    "receptive_field": is_count,
    "wrong": lambda of: isinstance(of, list) and all(map(is_count, of)),
    "taken_for": lambda of: isinstance(of, list) and all(is_count(digit) and digit < 10 for digit in of),
    "scales": lambda of: isinstance(of, dict) and all(is_scale(of.get(name)) for name in ("values", "gradients")),
}


def complaint(run: Any) -> str:
    """What is wrong with the content of a metrics file, in a few words; "" if nothing is."""
    if not isinstance(run, dict):
        return "it is no table of names and values"
    for name in (name for name in FORMS if name in run or is_needed(name, run)):
        if not FORMS[name](run.get(name)):
            return f"its {name} is " + ("not as it must be" if name in run else "missing")
    return misfit(run)


def is_needed(name: str, run: dict) -> bool:
    """Whether a run can't do without an entry."""
    return name not in OPTIONAL and (name not in NOTEBOOKS_ONLY or is_of_notebook(run))


def misfit(run: dict) -> str:
    """Which of a run's entries, each as it must be, do not fit together; "" if all do."""
    wrong = run.get("wrong", [])
    if run["epochs"] != len(run["history"]):
        return "its epochs are not those of its history"
    if any(place >= run["images"]["test"] for place in wrong):
        return "its wrong digits are more than it was tested on"
    if len(run.get("taken_for", wrong)) != len(wrong):
        return "its wrong digits are not those that it took for others"
    return ""


def is_of_notebook(run: dict) -> bool:
    """Whether a run is of a notebook, whose names begin with a number."""
    return re.match(r"\d\d_", str(run.get("stage"))) is not None
