"""A sweep as its file describes it: which stages and seeds, and which values of which parameters."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from common import InputError
from common.parameters import RULES

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, to which JupyterLab brings this
    import tomli as tomllib

# Of a whole sweep, not of a point: its runs are to be compared, and the runner says where they go.
ONE_VALUE = ("data", "device", "split")
ELSEWHERE = {"seed": "seeds = [0, 1, 2]", "out": "the option --out"}


@dataclass(frozen=True)
class Sweep:
    """What a file asks for; empty is what it leaves to the runner."""

    stages: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    fixed: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list] = field(default_factory=dict)
    copies: bool = False  # whether executed notebooks are kept, too


def read_sweep(path: Path, stages: list[int]) -> Sweep:
    """The sweep of a TOML file: all but `stages`, `seeds` and `copies` are parameters, each a value or a list."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"{path} can't be read ({problem.strerror}): name the TOML file of a sweep") from None
    except ValueError as problem:
        raise InputError(f"{path} is no TOML file: {' '.join(str(problem).split())}") from None
    parameters = {name: value for name, value in content.items() if name not in ("stages", "seeds", "copies")}
    for name, value in parameters.items():
        refuse_form(path, name, value)
    if not isinstance(content.get("copies", False), bool):
        raise InputError(f"{path}: copies must be true or false")
    return Sweep(
        several(path, "stages", content, lambda value: value in stages, f"some of {stages}"),
        several(path, "seeds", content, RULES["seed"].holds, f"each {RULES['seed'].words}"),
        {name: value for name, value in parameters.items() if not isinstance(value, list)},
        {name: value for name, value in parameters.items() if isinstance(value, list)},
        content.get("copies", False),
    )


def several(path: Path, name: str, content: dict[str, Any], fits: Any, words: str) -> list[int]:
    """The whole numbers of a list; none if it isn't there."""
    found = content.get(name, [])
    sound = isinstance(found, list) and all(type(value) is int and fits(value) for value in found)
    if not sound or (name in content and not found):
        raise InputError(f"{path}: {name} must be a list, {words}")
    return found


def refuse_form(path: Path, name: str, value: Any) -> None:
    """Refuse what can't be the value, or the values, of a parameter."""
    if name in ELSEWHERE:
        raise InputError(f"{path}: {name} is not set here, but by {ELSEWHERE[name]}")
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, bool | int | float | str) for one in values):
        raise InputError(f"{path}: {name} must be a value, or a list of values to run with")
    if name in ONE_VALUE and isinstance(value, list):
        raise InputError(f"{path}: {name} must be one value, for all points of the sweep")


def combinations(grid: dict[str, list]) -> list[dict[str, Any]]:
    """Every way to take a value of each; one that takes none, where there is nothing to choose from."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
