"""Plans: TOML files that say which notebooks are run, with which parameters, for which seeds.

What is not in FORMS is a parameter of the notebooks: a value, or a list of values, each of which is run.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from common.config import RULES, InputError, Rule, abridged, refuse_bad, whole
from series.sources import parameters_of, stages_of

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, to which JupyterLab brings this
    import tomli as tomllib

SMOKE = {"epochs": 1, "limit": 2000}
ONE_VALUE = ("data", "device", "split")  # of a plan's runs, which are to be compared
ELSEWHERE = {"seed": "seeds = [0, 1, 2]", "out": "the option --out"}
LONGEST = 150  # characters of a setting's name, since file names may have 255


@dataclass(frozen=True)
class Plan:
    """What is to be run, and what is said of it."""

    name: str  # that of its file
    notebooks: list[str]
    seeds: list[int] = field(default_factory=lambda: [0])
    parameters: dict[str, Any] = field(default_factory=dict)  # of all runs
    grid: dict[str, list] = field(default_factory=dict)  # parameters that take several values
    variants: dict[str, dict[str, Any] | str] = field(default_factory=dict)
    place: str = ""  # the folder below outputs/ where its runs are recorded; "." is outputs/ itself
    stage: str = ""  # what its notebook calls its runs, where that is not the notebook's name
    title: str = ""
    note: str = ""
    taken: str = ""  # the variant that the series has
    copies: bool = False  # whether executed notebooks and weights are kept, of the lowest seed
    attempts: int = 3  # so often a run is tried that fails

    def settings(self) -> list[tuple[str, dict[str, Any]]]:
        """The settings by name, with the parameters that set their runs apart: variants in every combination."""
        tables = {name: table for name, table in self.variants.items() if isinstance(table, dict)}
        found = []
        for name, table in (tables if self.variants else {"": {}}).items():
            for values in product(*self.grid.values()):
                setting = dict(zip(self.grid, values, strict=True))
                words = "-".join(f"{parameter}-{value}" for parameter, value in setting.items())
                found.append(("/".join(filter(None, [plain(name), plain(words)])), table | setting))
        return found


def is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether this is a list of such things, each of them once."""
    return isinstance(value, list) and bool(value) and all(map(holds, value)) and not twice(value)


def twice(values: list) -> bool:
    """Whether a value stands in a list more than once."""
    return len(set(map(repr, values))) < len(values)


def is_place(value: Any) -> bool:
    """Whether this names a folder that lies below another one, or that one itself."""
    return isinstance(value, str) and re.fullmatch(r"\.|\w[\w.+-]*(/\w[\w.+-]*)*", value) is not None


TEXT = Rule(lambda value: isinstance(value, str) and bool(value.strip()), "a text")
NUMBERS = Rule(lambda value: is_list(value, lambda one: type(one) is int), "a list of numbers, each of them once")
FORMS = {  # what a plan may say beside parameters
    "notebooks": Rule(lambda value: is_list(value, TEXT.holds), "a list of names, each of them once"),
    "steps": NUMBERS,
    "stages": NUMBERS,
    "seeds": Rule(lambda value: is_list(value, RULES["seed"].holds), f"a list, each {RULES['seed'].words}, and once"),
    "variants": Rule(lambda value: isinstance(value, dict) and bool(value), "a table of named settings"),
    "place": Rule(is_place, "the path of a folder below outputs/"),
    "stage": Rule(lambda value: is_place(value) and "/" not in value, "a name (several stages: stages = [1, 2])"),
    "title": TEXT,
    "note": TEXT,
    "taken": TEXT,
    "copies": Rule(lambda value: isinstance(value, bool), "true or false"),
    "attempts": whole(1, 100),
}


def read_plan(path: Path, root: Path) -> Plan:
    """The plan of a TOML file; InputError, in a line that begins with the file, for what makes no sense."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"{path} can't be read ({problem.strerror}): name the TOML file of a plan") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is no TOML file: {' '.join(str(problem).split())}") from None
    try:
        return make_plan(path.stem, content, root)
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None


def make_plan(name: str, content: dict[str, Any], root: Path) -> Plan:
    """The plan of a file's content."""
    for key, rule in FORMS.items():
        if key in content and not rule.holds(content[key]):
            raise InputError(f"{key} must be {rule.words}, not {abridged(content[key])}")
    notebooks = choose_notebooks(content, root)
    defaults = {notebook: parameters_of(notebook, root) for notebook in notebooks}
    given = {key: value for key, value in content.items() if key not in FORMS}
    grid = {key: several(key, values, defaults) for key, values in given.items() if isinstance(values, list)}
    parameters = {key: fitted(key, value, defaults) for key, value in given.items() if key not in grid}
    variants = {key: variant(key, value, grid, defaults) for key, value in content.get("variants", {}).items()}
    said = {key: content[key] for key in FORMS.keys() - {"notebooks", "steps", "stages", "variants"} & content.keys()}
    plan = Plan(name, notebooks, parameters=parameters, grid=grid, variants=variants, **said)
    refuse_names(plan)
    refuse_values(plan, root)
    return plan


def change(plan: Plan, asked: dict[str, Any], root: Path) -> Plan:
    """The plan with the parameters that a command asks for, which go before its own."""
    defaults = {notebook: parameters_of(notebook, root) for notebook in plan.notebooks}
    asked = {name: fitted(name, value, defaults) for name, value in asked.items()}
    swept = {name for _, setting in plan.settings() for name in setting}
    if both := asked.keys() & swept:
        raise InputError(f"parameter {min(both)} takes its values from the plan {plan.name}: leave it out here")
    changed = replace(plan, parameters=plan.parameters | asked)
    if "split" not in changed.parameters:
        raise InputError(f'{plan.name} has no split: write split = "validation" for a choice, "test" for the end')
    refuse_values(changed, root)
    return changed


def choose_notebooks(content: dict[str, Any], root: Path) -> list[str]:
    """The notebooks that a plan names, by numbers or by names; all stages, if it names none."""
    stages = stages_of(root)
    given = [key for key in ("notebooks", "steps", "stages") if key in content]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} both say what is run: leave one of them out")
    there = sorted(path.stem for path in root.glob("notebooks/*.ipynb")) if given == ["notebooks"] else list(stages)
    asked = content[given[0]] if given else list(stages)
    if not asked:
        raise InputError(f"{root / 'notebooks'} has no notebooks: there is nothing to run")
    if unknown := [name for name in asked if name not in there]:
        raise InputError(f"{given[0]} has {unknown[0]!r}, which is not there, only {', '.join(map(str, there))}")
    return asked if given == ["notebooks"] else [stages[number] for number in sorted(asked)]


def fitted(name: str, value: Any, defaults: dict[str, dict[str, Any]]) -> Any:
    """A value as every one of the notebooks can take it: a whole number may stand for a decimal one."""
    if name in ELSEWHERE:
        raise InputError(f"{name} is not set here, but by {ELSEWHERE[name]}")
    for notebook, known in defaults.items():
        if name not in known:
            raise InputError(f"{notebook} has no parameter {name!r}, only {', '.join(known)}")
        default = known[name]
        if type(default) is float and type(value) is int and abs(value) < 1e300:
            value = float(value)
        if type(value) is not type(default):
            kind = type(default).__name__
            raise InputError(f"parameter {name} must be like {default!r} ({kind}), not {abridged(value)}")
    return value


def several(name: str, values: list, defaults: dict[str, dict[str, Any]]) -> list:
    """The values that a parameter takes in turn."""
    if not values:
        raise InputError(f"{name} must be a value, or a list of values to run with")
    if name in ONE_VALUE:
        raise InputError(f"{name} must be one value, for all runs of the plan")
    fit = [fitted(name, value, defaults) for value in values]
    if twice(fit):
        raise InputError(f"{name} has a value twice")
    return fit


def variant(name: str, table: Any, grid: dict[str, list], defaults: dict[str, dict[str, Any]]) -> dict[str, Any] | str:
    """The parameters of a named setting, or the folder of the runs that serve for it."""
    if is_place(table):
        return table
    if not isinstance(table, dict):
        raise InputError(f"variant {name!r} must be a table of parameters, or a folder below outputs/")
    if barred := table.keys() & {*ONE_VALUE, *grid}:
        raise InputError(f"variant {name!r} can't set {min(barred)}, which is set for all runs of the plan")
    return {key: fitted(key, value, defaults) for key, value in table.items()}


def refuse_names(plan: Plan) -> None:
    """Refuse names that make no folder of their own, or are of nothing in the plan."""
    names = [name for name, _ in plan.settings()]
    if len(set(names)) < len(names):
        raise InputError("two of its values make the same file name: write them differently")
    if max(map(len, names), default=0) > LONGEST:
        raise InputError("so many parameters make file names too long: split the plan")
    if bad := [name for name in names if name and not is_place(name)]:
        raise InputError(f"variant {bad[0]!r} must begin with a letter or a digit")
    if plan.variants and plan.taken and plan.taken not in plan.variants:
        raise InputError(f"taken must be one of the variants, not {abridged(plan.taken)}")
    if plan.stage and len(plan.notebooks) > 1:
        raise InputError("stage names the runs of one notebook: leave it out, or run one")


def refuse_values(plan: Plan, root: Path) -> None:
    """Refuse a plan with a run whose parameters break a rule."""
    for notebook in plan.notebooks:
        defaults = parameters_of(notebook, root)
        for _, setting in plan.settings():
            refuse_bad(defaults | plan.parameters | setting)


def plain(text: str) -> str:
    """A text without what a path, or a shell, could take for something else."""
    return re.sub(r"[^\w.+-]", "_", text)
