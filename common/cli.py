"""The options of `run_all.sh`: read, and checked against the notebooks; nothing is run or written."""

import argparse
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from common import InputError
from common.grid import Sweep, combinations, read_sweep
from common.parameters import abridged, literals, refuse_bad, refuse_misfit

SMOKE = {"epochs": 1, "images": 2000}
# Parameters that have an option of their own, which `-p NAME VALUE` would only bypass.
OPTIONS = {"epochs": "--epochs", "device": "--device", "data": "--data", "split": "--split"}
ALL_OPTIONS = OPTIONS | {"seed": "--seeds", "out": "--out"}
APPENDICES = {  # the work that a notebook of the appendix is for
    "published": Path("notebooks", "appendix", "published_systems.ipynb"),
    "smaller": Path("notebooks", "appendix", "smaller_network.ipynb"),
}
SEEDS = {"published": [0, 1, 2], "smaller": list(range(10))}
OTHER_TASKS = {
    "published": "instead: the published systems, with seeds 0 1 2; one of them by -p system NAME",
    "smaller": "instead: a network with fewer parameters in the place of the last stage's, with seeds 0 to 9",
    "benchmark": "instead: measure how fast the series trains, beside the conventional pipeline",
    "choices": "instead: the runs on the validation split behind the choices, and their tables",
    "rewrite": "instead: bring all tables and texts up to the recorded runs, without training",
}
HEEDED = {"benchmark": {"smoke", "data"}, "choices": {"jobs"}, "rewrite": set()}  # options that go with these


@dataclass(frozen=True)
class Options:
    """What to run, and how."""

    notebooks: list[Path]
    every_stage: bool
    seeds: list[int]
    parameters: dict[str, Any]  # of the notebooks, where asked for; the others keep their defaults
    jobs: int | None
    minutes: float | None
    out: Path | None
    fresh: bool
    task: str  # "series", or what is done in its place: "sweep", or one of OTHER_TASKS
    grid: dict[str, list]  # of a sweep: the values of each parameter that takes several
    sweep: str  # its name
    copies: bool  # whether its executed notebooks are kept
    scheduler: str | None  # of the workers that run the notebooks, in place of this machine


def read_options(arguments: list[str] | None, root: Path) -> Options:
    """The options, checked; InputError for what is unknown or impossible."""
    notebooks = {int(path.name[:2]): path for path in sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb"))}
    read = make_parser(list(notebooks)).parse_args(arguments)
    task = "sweep" if read.sweep else read.task
    refuse_together(read)
    sweep = read_sweep(from_caller(read.sweep), list(notebooks)) if read.sweep else Sweep()
    chosen = [notebooks[stage] for stage in sorted(set(read.stages or sweep.stages or notebooks))]
    if task in APPENDICES:
        chosen = [root / APPENDICES[task]]
    asked = dict(SMOKE) if read.smoke else {}
    asked |= {name: getattr(read, name) for name in OPTIONS if getattr(read, name) is not None}
    asked |= {name: parse(name, text, chosen) for name, text in read.parameter}
    if both := asked.keys() & sweep.grid.keys():
        raise InputError(f"parameter {min(both)} takes its values from {read.sweep}: leave it out of the command")
    fixed = {name: alike(name, value, chosen) for name, value in sweep.fixed.items()}
    grid = {name: [alike(name, value, chosen) for value in values] for name, values in sweep.grid.items()}
    parameters = fixed | asked
    if task == "sweep" and "split" not in parameters:
        raise InputError(f'{read.sweep} has no split: write split = "validation" for a choice, "test" for the end')
    for name, values in grid.items():
        if len(set(values)) < len(values):
            raise InputError(f"{read.sweep}: {name} has a value twice")
    for values in combinations(grid):
        refuse_bad(parameters | values)
        for notebook in chosen:
            refuse_misfit(parameters_of(notebook) | parameters | values)
    return Options(
        notebooks=chosen,
        every_stage=task in APPENDICES or chosen == list(notebooks.values()),
        seeds=sorted(set(read.seeds or sweep.seeds or SEEDS.get(task, [0]))),
        parameters=parameters,
        jobs=read.jobs,
        minutes=read.timeout,
        out=from_caller(read.out) if read.out else None,
        fresh=read.fresh,
        task=task,
        grid=grid,
        sweep=Path(read.sweep or "").stem,
        copies=sweep.copies,
        scheduler=read.scheduler,
    )


def refuse_together(read: argparse.Namespace) -> None:
    """Refuse options that contradict one another."""
    if read.task in APPENDICES and read.stages:
        hint = "choose a published system by -p system NAME" if read.task == "published" else "leave --stages out"
        raise InputError(f"--stages are those of the series: {hint}")
    if read.sweep and read.task != "series":
        raise InputError(f"--sweep and --{read.task} are two commands: give one of them")
    if read.sweep and (read.stages or read.seeds):
        raise InputError(f"stages and seeds of a sweep stand in its file: write them into {read.sweep}")
    if read.task == "published" and read.fresh and not read.out:
        raise InputError("--fresh would replace recorded runs one by one: give another folder with --out")
    names = [name for name, _ in read.parameter]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"parameter {min(twice)} is given twice: give one value, or several in a --sweep file")
    if read.scheduler and read.jobs:
        raise InputError("--jobs is of this machine: with --scheduler, as many runs go on as the workers have threads")
    given = {name for name, value in vars(read).items() if value} - {"task"}
    if read.task in HEEDED and (idle := given - HEEDED[read.task]):
        raise InputError(f"--{min(idle)} has no effect on --{read.task}: leave it out")


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are InputErrors: one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; ./run_all.sh --help lists the options")


def make_parser(stages: list[int]) -> argparse.ArgumentParser:
    """What can be said on the command line."""
    parser = OneLineParser(
        prog="./run_all.sh",
        allow_abbrev=False,
        description="Run the notebooks through papermill: executed copies, metrics, figures and a table.",
        epilog="The same command goes on where an interrupted one stopped. Only the full series on MNIST "
        "replaces the recorded results in outputs/; any other run has its own folder in outputs/scratch/.",
    )
    add = parser.add_argument
    add("--stages", type=int, nargs="+", action="extend", choices=stages, metavar="N", help="only these (all)")
    add("--seeds", type=whole(0, 2**32 - 1), nargs="+", action="extend", metavar="N", help="a run each (0)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=whole(1), metavar="N", help="of each run (15)")
    length.add_argument("--smoke", action="store_true", help="1 epoch on 2,000 images: does all of it work?")
    add("--device", choices=["auto", "cpu", "cuda"], help="where to train (auto)")
    add("--data", choices=["auto", "mnist", "rendered"], help="MNIST, or the rendered stand-in (auto)")
    add("--split", choices=["test", "validation"], help="what to measure on (test)")
    parameter = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    add("-p", "--parameter", **parameter, help="any other parameter of the notebooks; may be repeated")
    add("--jobs", type=whole(1), metavar="N", help="runs side by side, one thread each (as many as cores)")
    add("--timeout", type=time_limit, metavar="MINUTES", help="give up a notebook after so long (never)")
    add("--out", metavar="DIR", help="another folder for the results")
    add("--sweep", metavar="FILE", help="instead: every combination of stages, seeds and values that the file names")
    add("--scheduler", metavar="ADDRESS", help="run the notebooks on the workers of this Dask scheduler")
    others = parser.add_mutually_exclusive_group()
    for task, words in OTHER_TASKS.items():
        others.add_argument(f"--{task}", action="store_const", const=task, default="series", dest="task", help=words)
    add("--fresh", action="store_true", help="run again what is there already")
    return parser


def whole(smallest: int, largest: float = math.inf) -> Callable[[str], int]:
    """A reader of whole numbers within bounds."""

    def read(text: str) -> int:
        number = int(text)
        if not smallest <= number <= largest:
            bounds = f"at least {smallest}" if largest == math.inf else f"from {smallest} to {largest}"
            raise argparse.ArgumentTypeError(f"{number} is not {bounds}")
        return number

    read.__name__ = "whole number"  # by this name argparse complains
    return read


def time_limit(text: str) -> float:
    """A reader of minutes."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a time above 0")
    return number


def from_caller(path: str) -> Path:
    """A path as the caller of run_all.sh means it: the script itself moves to the repository."""
    return Path(os.environ.get("CALLED_FROM", ""), Path(path).expanduser()).absolute()


def parse(name: str, text: str, notebooks: list[Path]) -> Any:
    """The value of `-p NAME VALUE`, a parameter that every one of the notebooks must have."""
    if name in ALL_OPTIONS:
        raise InputError(f"parameter {name} has an option of its own: {ALL_OPTIONS[name]}")
    for notebook in notebooks:
        value = convert(name, text, default_of(name, notebook))
    return value


def convert(name: str, text: str, default: Any) -> Any:
    """`text` as a value of the default's type; a whole number may stand for a decimal one."""
    kind = type(default)
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError, TypeError):
        raise not_like(name, text, default) from None


def alike(name: str, value: Any, notebooks: list[Path]) -> Any:
    """A value from a file, for a parameter that every one of the notebooks must have."""
    for notebook in notebooks:
        default = default_of(name, notebook)
        if type(default) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise not_like(name, value, default)
    return value


def default_of(name: str, notebook: Path) -> Any:
    """What a parameter is in a notebook, unless told otherwise."""
    defaults = parameters_of(notebook)
    if name not in defaults:
        raise InputError(f"{notebook.stem} has no parameter {name!r}, only {', '.join(defaults)}")
    return defaults[name]


def not_like(name: str, value: Any, default: Any) -> InputError:
    """The complaint of a value of the wrong type."""
    return InputError(f"parameter {name} must be like {default!r} ({type(default).__name__}), not {abridged(value)}")


def parameters_of(notebook: Path) -> dict[str, Any]:
    """The names and defaults in the cell tagged `parameters`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cell = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    return literals("".join(cell["source"]))
