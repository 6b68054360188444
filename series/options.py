"""The command line: `./run_all.sh [COMMAND] [options]`."""

import argparse
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from common.config import LARGEST, RULES, SPLITS, InputError, Rule, abridged, number, whole
from series.plans import SMOKE, Plan, parameters_of, stages_of

COMMANDS = {
    "series": "Run the stages of the series: executed copies, metrics, figures, a table, a report.",
    "sweep": "Run every combination of notebooks, settings and seeds that a file names.",
    "published": "Run the published systems.",
    "smaller": "Run the network with fewer parameters.",
    "choices": "Run what the choices rest on, on images held out of the training set.",
    "benchmark": "Measure how long training takes until it is at the goal, beside others; or what a GPU makes of it.",
    "publish": "Write tables, texts and links again from the recorded runs, without training.",
}
FORMER = {f"--{name}": name for name in COMMANDS} | {"--sweep": "sweep FILE", "--rewrite": "publish"}
WORDS = """\
The same command goes on where an interrupted one stopped. Only the full series on MNIST replaces the recorded results
in outputs/; any other run has its own folder in outputs/scratch/.

commands, each with options of its own (./run_all.sh COMMAND --help):
"""
# Parameters that have an option of their own, which `-p NAME VALUE` would only bypass.
OPTIONS = {"epochs": "--epochs", "device": "--device", "data": "--data", "split": "--split"}
ALL_OPTIONS = OPTIONS | {"seed": "--seeds", "out": "--out"}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are InputErrors: one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self.prog} --help lists the options")


def read_options(arguments: list[str], root: Path) -> argparse.Namespace:
    """The command, and its options: each has an effect on it, and what is not given is None."""
    for before, word in zip(["an argument", *arguments], arguments, strict=False):
        name, sign, value = word.partition("=")
        if name in FORMER:
            raise InputError(f"{name} is a command now: ./run_all.sh {FORMER[name]}")
        if not word.strip() or (sign and name.startswith("--") and not value.strip()):
            raise InputError(f"{name.strip() or before} is empty: give a value, or leave it out")
    named = arguments[:1] and arguments[0] in COMMANDS
    command = arguments[0] if named else "series"
    read = make_parser(command, list(stages_of(root))).parse_args(arguments[bool(named) :])
    if read.smoke and read.epochs:
        raise InputError("--epochs goes not with --smoke, which is 1 epoch: leave one of them out")
    if read.scheduler and read.jobs:
        raise InputError("--jobs is of this machine: with --scheduler, as many runs go on as the workers have threads")
    if read.device and (read.rounds or read.contenders):
        raise InputError("--rounds and --contenders are of the processor's benchmark: leave --device out, or them")
    return read


def make_parser(command: str, stages: list[int]) -> OneLineParser:
    """The parser of a command: it knows the options that have an effect on it."""
    runs, plans = "series sweep published smaller", "series sweep published smaller choices"
    several = {"nargs": "+", "action": "extend", "metavar": "N"}
    device = "try what a GPU makes of the series" if command == "benchmark" else "where to train (auto)"
    parameter = {"nargs": 2, "action": "append", "metavar": ("NAME", "VALUE")}
    count, seed, epochs = (reader(rule, 0) for rule in (whole(1, LARGEST), RULES["seed"], RULES["epochs"]))
    minutes = reader(number("above 0", lambda value: 0 < value < math.inf), 0.0)
    options: dict[str, tuple[str, dict[str, Any]]] = {
        "file": ("sweep", {"metavar": "FILE", "help": "a plan, as docs/sweeps.md describes"}),
        "questions": ("choices", {"nargs": "*", "metavar": "QUESTION", "help": "only these (all)"}),
        "--stages": ("series", several | {"type": int, "choices": stages, "help": "only these (all)"}),
        "--system": ("published", {"metavar": "NAME", "help": "only this one (all)"}),
        "--seeds": ("series published smaller", several | {"type": seed, "help": "a run each"}),
        "--epochs": (runs, {"type": epochs, "metavar": "N", "help": "of each run (as planned)"}),
        "--smoke": (f"{runs} benchmark", {"action": "store_true", "help": "in small: does all of it work?"}),
        "--split": (runs, {"choices": SPLITS, "metavar": "SPLIT", "help": f"what to test on: {', '.join(SPLITS)}"}),
        "--parameter": (runs, parameter | {"help": "any other parameter of the notebooks; may be repeated"}),
        "--data": (f"{runs} benchmark", {"choices": ["auto", "mnist", "rendered"], "help": "MNIST, or the stand-in"}),
        "--rounds": ("benchmark", {"type": count, "metavar": "N", "help": "of each contender (3; slow ones 1)"}),
        "--contenders": ("benchmark", {"nargs": "+", "metavar": "NAME", "help": "only these (all), without a record"}),
        "--device": (f"{plans} benchmark", {"choices": ["auto", "cpu", "cuda"], "help": device}),
        "--jobs": (plans, {"type": count, "metavar": "N", "help": "runs side by side (as many as cores)"}),
        "--timeout": (plans, {"type": minutes, "metavar": "MINUTES", "help": "give up a notebook after so long"}),
        "--scheduler": (plans, {"metavar": "ADDRESS", "help": "run on the workers of this Dask scheduler"}),
        "--out": (runs, {"metavar": "DIR", "help": "another folder for the results"}),
        "--fresh": (runs, {"action": "store_true", "help": "run again what is there already"}),
    }
    parser = OneLineParser(
        prog="./run_all.sh" if command == "series" else f"./run_all.sh {command}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=COMMANDS[command],
        epilog=WORDS + "\n".join(f"  {name:10}  {words}" for name, words in COMMANDS.items()),
    )
    parser.set_defaults(command=command)
    for name, (commands, settings) in options.items():
        if command in commands.split():
            parser.add_argument(*(["-p"] if name == "--parameter" else []), name, **settings)
        else:
            parser.set_defaults(**{name.strip("-"): None})
    return parser


def reader(rule: Rule, default: Any) -> Callable[[str], Any]:
    """What makes a value that the rule allows, of the default's type, of a text."""

    def read(text: str) -> Any:
        if not rule.holds(value := from_text(text, default)):
            raise argparse.ArgumentTypeError(f"{abridged(text)} is not {rule.words}")
        return value

    return read


def from_text(text: str, default: Any) -> Any:
    """A text as a value of the default's type, or as it is: `1_0`, ` 1 ` and digits of other scripts are no numbers."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int | float) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text, re.ASCII | re.IGNORECASE):
        with suppress(ValueError):
            return type(default)(text)
    return text


def asked_for(read: argparse.Namespace, plan: Plan, root: Path) -> dict[str, Any]:
    """The parameters that the command names."""
    asked = dict(SMOKE) if read.smoke else {}
    if read.command == "choices":  # made on MNIST alone; the others take what there is
        asked["data"] = "mnist"
    asked |= {name: getattr(read, name) for name in OPTIONS if getattr(read, name) is not None}
    for name, text in read.parameter or []:
        if name in ALL_OPTIONS:
            raise InputError(f"parameter {name} has an option of its own: {ALL_OPTIONS[name]}")
        if name in asked:
            raise InputError(f"parameter {name} is given twice: give one value, or several in the file of a sweep")
        asked[name] = from_text(text, parameters_of(plan.notebooks[0], root).get(name))
    return asked


def from_caller(path: str) -> Path:
    """A path as the caller of run_all.sh means it: the script itself moves to the repository."""
    return Path(os.environ.get("CALLED_FROM", ""), Path(path).expanduser()).absolute()
