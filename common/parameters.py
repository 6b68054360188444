"""What the parameters of a notebook may be; the command line keeps to the same rules."""

import ast
import contextlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common import InputError

ROOT = Path(__file__).resolve().parent.parent
INJECTED = "# Parameters"  # the first line of the cell that papermill puts behind the notebook's own parameters


class Rule(NamedTuple):
    """Whether a value makes sense, and the words that say what would."""

    holds: Callable[[Any], bool]
    words: str


def whole(lowest: int, highest: int) -> Rule:
    """A whole number within bounds."""
    return Rule(
        lambda value: type(value) is int and lowest <= value <= highest,
        f"a whole number from {lowest} to {highest}",
    )


def number(words: str, fits: Callable[[float], bool]) -> Rule:
    """A number that fits; one that is none (nan) fits nothing."""
    return Rule(lambda value: type(value) in (int, float) and fits(value), f"a number {words}")


def one_of(*names: str) -> Rule:
    """One of a few names."""
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def is_folder(value: Any) -> bool:
    """Whether this names a folder that is there or can be made."""
    if not isinstance(value, str):
        return False
    try:
        return stat.S_ISDIR((ROOT / value).stat().st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # below a file, a name that is too long, a link to itself
        return False


AMOUNT = number("from 0 (off) to 1000", lambda value: 0 <= value <= 1000)
BELOW_ONE = number("from 0 (off) to below 1", lambda value: 0 <= value < 1)
SHARE = number("from 0 to 1", lambda value: 0 <= value <= 1)
LARGEST = 2**31 - 1
RULES = {
    "seed": whole(0, 2**32 - 1),
    "epochs": whole(1, 10_000),
    "batch_size": whole(1, LARGEST),
    "images": whole(0, LARGEST),
    "learning_rate": number("above 0, up to 1000", lambda value: 0 < value <= 1000),
    "weight_decay": AMOUNT,
    "dropout": BELOW_ONE,
    "rotation": AMOUNT,
    "shift": AMOUNT,
    "scale": BELOW_ONE,
    "shear": number("from 0 (off) to below 90", lambda value: 0 <= value < 90),
    "brightness": AMOUNT,
    "contrast": AMOUNT,
    "warmup": SHARE,
    "settle": SHARE,
    "device": one_of("auto", "cpu", "cuda"),
    "data": one_of("auto", "mnist", "rendered"),
    "split": one_of("test", "validation"),
    "out": Rule(is_folder, 'the path of a folder, or "" for the scratch folder'),
}


def check(names: dict[str, Any]) -> None:
    """Refuse parameters that no run can be made with; `names` are the globals of the notebook."""
    refuse_unknown(names.get("In", []))
    refuse_bad(names)
    refuse_misfit(names)


def refuse_bad(values: dict[str, Any]) -> None:
    """Refuse a value that breaks the rule of its parameter; one without a rule may be anything."""
    for name, rule in RULES.items():
        if name in values and not rule.holds(values[name]):
            raise InputError(f"parameter {name} must be {rule.words}, not {abridged(values[name])}")


def refuse_misfit(values: dict[str, Any]) -> None:
    """Refuse values that make no sense together."""
    warmup, settle = values.get("warmup", 0), values.get("settle", 1)
    if warmup > settle:
        raise InputError(f"parameter warmup is {warmup}, settle {settle}: the rate can't fall before it has risen")


def refuse_unknown(executed: list[str]) -> None:
    """Refuse what papermill injects without a parameter of that name: it only warns, and the defaults would win.

    `executed` are the cells so far, which IPython keeps as `In`.
    """
    known: dict[str, Any] = {}
    for code in executed:
        if code.startswith(INJECTED) and (unknown := names_set(code) - known.keys()):
            raise InputError(f"there is no parameter {min(unknown)!r}, only {', '.join(known)}")
        known |= literals(code)


def names_set(code: str) -> set[str]:
    """The names that the lines of code set."""
    lines = [line for line in ast.parse(code).body if isinstance(line, ast.Assign)]
    return {target.id for line in lines for target in line.targets}


def literals(code: str) -> dict[str, Any]:
    """The names that code sets to literals, as the cell tagged `parameters` does; none if it isn't Python."""
    found = {}
    with contextlib.suppress(SyntaxError):  # somebody's slip in a cell of their own
        for line in ast.parse(code).body:
            with contextlib.suppress(AttributeError, ValueError):  # no assignment of a literal
                found |= {target.id: ast.literal_eval(line.value) for target in line.targets}
    return found


def abridged(value: Any) -> str:
    """A value as it is written, on one line and not too long."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
