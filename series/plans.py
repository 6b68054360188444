"""Plans: TOML files that say which notebooks are run, with which parameters, for which seeds.

What is not in FORMS is a parameter of the notebooks: a value, or a list of values, each of which is run.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from common.config import RULES, InputError, Rule, abridged, literals, refuse_bad, whole

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, to which JupyterLab brings this
    import tomli as tomllib

SMOKE = {"epochs": 1, "limit": 2000}
ONE_VALUE = ("data", "device")  # of a plan's runs, which are to be compared
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

    def folders(self) -> dict[str, str]:
        """Where the runs of each variant are recorded, below outputs/: in its own folder, or in that which it names."""
        return {
            name: made if isinstance(made, str) else f"{self.place}/{plain(name)}"
            for name, made in self.variants.items()
        }


def is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether this is a list of such things, each of them once."""
    return isinstance(value, list) and 0 < len(value) == len({*map(repr, value)}) and all(map(holds, value))


def is_place(value: Any) -> bool:
    """Whether this names a folder that lies below another one, or that one itself."""
    return isinstance(value, str) and re.fullmatch(r"\.|\w[\w.+-]*(/\w[\w.+-]*)*", value) is not None


TEXT = Rule(lambda value: isinstance(value, str) and bool(value.strip()), "a text")
FORMS = {  # what a plan may say beside parameters
    "notebooks": Rule(lambda value: is_list(value, TEXT.holds), "a list of names, each of them once"),
    "stages": Rule(lambda value: is_list(value, lambda one: type(one) is int), "a list of numbers, each of them once"),
    "seeds": Rule(lambda value: is_list(value, RULES["seed"].holds), f"a list, each {RULES['seed'].words}, and once"),
    "variants": Rule(lambda value: isinstance(value, dict) and bool(value), "a table of named settings"),
    "place": Rule(is_place, "the path of a folder below outputs/"),
    "stage": Rule(lambda value: is_place(value) and "/" not in value, "a name (several stages: stages = [1, 2])"),
    **dict.fromkeys(("title", "note", "taken"), TEXT),
    "copies": Rule(lambda value: isinstance(value, bool), "true or false"),
    "attempts": whole(1, 100),
}


def stages_of(root: Path) -> dict[int, str]:
    """The stages of the series by number: the notebooks whose names begin with two digits."""
    return {int(path.stem[:2]): path.stem for path in sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb"))}


def cells_of(notebook: str, root: Path) -> tuple[str, list[str]]:
    """The code of the cell tagged `parameters`, and of the cells after it, which shape the notebook's runs."""
    path = root / "notebooks" / f"{notebook}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        first = ["parameters" in cell["metadata"].get("tags", []) for cell in cells].index(True)
        parameters, *code = ["".join(cell["source"]) for cell in cells[first:]]
        return parameters, code
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no notebook with a cell tagged `parameters`: mend it") from None


def parameters_of(notebook: str, root: Path) -> dict[str, Any]:
    """The names and defaults of a notebook's parameters."""
    return literals(cells_of(notebook, root)[0])


def read_plan(path: Path, root: Path) -> Plan:
    """The plan of a TOML file; InputError, in a line that begins with the file, for what makes no sense."""
    try:
        return make_plan(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), root)
    except OSError as problem:
        raise InputError(f"{path} can't be read ({problem.strerror}): name the TOML file of a plan") from None
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is no TOML file: {' '.join(str(problem).split())}") from None


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
    others = {key: content[key] for key in FORMS.keys() - {"notebooks", "stages", "variants"} & content.keys()}
    plan = Plan(name, notebooks, parameters=parameters, grid=grid, variants=variants, **others)
    refuse_names(plan)
    return plan


def change(plan: Plan, asked: dict[str, Any], root: Path) -> Plan:
    """The plan with the parameters that a command asks for, in place of its own; refuses values that break a rule."""
    defaults = {notebook: parameters_of(notebook, root) for notebook in plan.notebooks}
    changed = plan.parameters | {name: fitted(name, value, defaults) for name, value in asked.items()}
    for _, setting in plan.settings():
        if both := asked.keys() & setting.keys():
            raise InputError(f"parameter {min(both)} takes its values from the plan {plan.name}: leave it out here")
        for known in defaults.values():
            refuse_bad(known | changed | setting)
    if "split" not in changed | plan.grid:
        raise InputError(f'{plan.name} has no split: write split = "validation" for a choice, "test" for the end')
    return replace(plan, parameters=changed)


def choose_notebooks(content: dict[str, Any], root: Path) -> list[str]:
    """The notebooks that a plan names, by numbers or by names; all stages, if it names none."""
    if "notebooks" in content and "stages" in content:
        raise InputError("notebooks and stages both say what is run: leave one of them out")
    key, there = "stages", stages_of(root)
    if "notebooks" in content:
        key, there = "notebooks", {path.stem: path.stem for path in sorted(root.glob("notebooks/*.ipynb"))}
    asked = content.get(key, list(there))
    if not asked:
        raise InputError(f"{root / 'notebooks'} has no notebooks: there is nothing to run")
    if unknown := [name for name in asked if name not in there]:
        raise InputError(f"{key} has {unknown[0]!r}, which is not there, only {', '.join(map(str, there))}")
    return [there[name] for name in (sorted(asked) if key == "stages" else asked)]


def fitted(name: str, value: Any, defaults: dict[str, dict[str, Any]]) -> Any:
    """A value in the type that it has in all of the notebooks; a whole number may stand for a decimal one."""
    if name in ELSEWHERE:
        raise InputError(f"{name} is not set here, but by {ELSEWHERE[name]}")
    for notebook, known in defaults.items():
        if name not in known:
            raise InputError(f"{notebook} has no parameter {name!r}, only {', '.join(known)}")
        kind = type(known[name])
        if kind is float and type(value) is int and abs(value) < 1e300:
            value = float(value)
        if type(value) is not kind:
            raise InputError(f"parameter {name} must be like {known[name]!r} ({kind.__name__}), not {abridged(value)}")
    return value


def several(name: str, values: list, defaults: dict[str, dict[str, Any]]) -> list:
    """The values that a parameter takes in turn."""
    if name in ONE_VALUE:
        raise InputError(f"{name} must be one value, for all runs of the plan")
    if name == "split" and not {"test", "validation"}.isdisjoint(values):
        raise InputError("several splits must be folds, such as fold-1: others are not to be mixed")
    fit = [fitted(name, value, defaults) for value in values]
    if not is_list(fit, lambda value: True):
        raise InputError(f"{name} must be a value, or a list of values, each of them once")
    return fit


def variant(name: str, table: Any, grid: dict[str, list], defaults: dict[str, dict[str, Any]]) -> dict[str, Any] | str:
    """The parameters of a named setting, or the folder of the recorded runs that are shown for it."""
    if is_place(table):
        return table
    if not isinstance(table, dict):
        raise InputError(f"variant {name!r} must be a table of parameters, or a folder below outputs/")
    if barred := table.keys() & {*ONE_VALUE, "split", *grid}:
        raise InputError(f"variant {name!r} can't set {min(barred)}, which is set for all runs of the plan")
    return {key: fitted(key, value, defaults) for key, value in table.items()}


def refuse_names(plan: Plan) -> None:
    """Refuse names that are no folder's, or two runs', or of nothing in the plan."""
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


def plain(text: str) -> str:
    """A text without characters that mean something in a path or to a shell."""
    return re.sub(r"[^\w.+-]", "_", text)
