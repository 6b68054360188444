"""The pieces of work behind the options: where they go, what identifies them, what they may not replace."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import InputError
from common.cli import SMOKE, Options, parameters_of
from common.execution import Task
from common.runs import MNIST, lacks, size

TRAINING_IMAGES = {"test": 60_000, "validation": 50_000}
# Modules that no run's numbers depend on; any other, a new one too, is part of a run's identity.
WITHOUT_INFLUENCE = {
    "appendix",
    "canvas",
    "chain",
    "changes",
    "choices",
    "cli",
    "cluster",
    "effects",
    "execution",
    "files",
    "grid",
    "held_out",
    "inference",
    "intervals",
    "kernel",
    "landscape",
    "metrics",
    "notebooks",
    "outpost",
    "pages",
    "parameters",
    "plan",
    "plots",
    "points",
    "published",
    "recipes",
    "remote",
    "report",
    "requirements",
    "runs",
    "smaller",
    "speed",
    "summary",
    "sweep",
    "systems",
    "tables",
    "verdicts",
    "weights",
}

# Cells that find the package, refuse what is wrong, or show what a trained network does may change, too.
SHOWING = ("setup", "check", "inference", "block")


def plan(options: Options, dataset: str, root: Path) -> list[Task]:
    """All the work asked for: seed by seed, through the stages."""
    beside = "" if options.task == "series" else f"{options.task}-"
    folder = options.out or root / "outputs" / "scratch" / f"{beside}{folder_name(options, dataset)}"

    def lowest(stage: str) -> int:
        return min({*options.seeds, *seeds_in(folder, stage)})

    return make_tasks(options, dataset, root, folder, lowest, [(Task, options.parameters)])


Setting = tuple[Callable[..., Task], dict[str, Any]]  # what makes its tasks, and its parameters


def make_tasks(
    options: Options,
    dataset: str,
    root: Path,
    folder: Path,
    kept: Callable[[str], int | None],
    settings: list[Setting],
) -> list[Task]:
    """A task a seed, setting and stage; executed copies are kept of the seed that `kept` names for a stage."""
    shapes = {notebook: (parameters_of(notebook), source_digest(notebook, root)) for notebook in options.notebooks}
    # The data set is named, so that no run can fall back to another one than its neighbours.
    named = [(make, parameters | {"data": short(dataset)}) for make, parameters in settings]
    return [
        make(
            notebook=notebook,
            seed=seed,
            parameters=parameters | {"seed": seed},
            identity={"dataset": dataset, "parameters": defaults | parameters, "source": source, "seed": seed},
            folder=folder,
            keep_copy=seed == kept(notebook.stem),
            minutes=options.minutes,
        )
        for seed in options.seeds
        for make, parameters in named
        for notebook, (defaults, source) in shapes.items()
    ]


def is_full_series(options: Options, dataset: str) -> bool:
    """Whether this is what `outputs/` records: every stage, or the smaller network, as it stands, on MNIST."""
    as_it_stands = options.every_stage and options.out is None and not changed(options)
    return options.task in ("series", "smaller") and dataset == MNIST and as_it_stands


def folder_name(options: Options, dataset: str) -> str:
    """A name that says what is run: runs that may be compared share a folder, others don't."""
    values = changed(options)
    if SMOKE.items() <= values.items():
        length = "smoke"
    else:
        epochs = values.get("epochs", parameters_of(options.notebooks[0])["epochs"])
        length = f"{epochs}-epochs" if epochs else "as-published"
    hidden = SMOKE if length == "smoke" else {"epochs"}
    others = [f"{name}-{value}" for name, value in sorted(values.items()) if name not in hidden]
    name = "-".join([short(dataset), length, *others])
    plain = re.sub(r"[^\w.+-]", "_", name)[:100]
    # What a folder's name can't hold must tell it from others all the same.
    return plain if plain == name else f"{plain[:88]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def short(dataset: str) -> str:
    """The data set as the parameter `data` calls it."""
    return "mnist" if dataset == MNIST else "rendered"


def changed(options: Options) -> dict[str, Any]:
    """The parameters asked for that make another experiment of a notebook."""
    defaults = [parameters_of(notebook) for notebook in options.notebooks]
    asked = {name: value for name, value in options.parameters.items() if name not in ("device", "data")}
    return {name: value for name, value in asked.items() if any(own[name] != value for own in defaults)}


def source_digest(notebook: Path, root: Path) -> str:
    """A digest of the code that shapes a run: the notebook's own, and the modules it may import."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    shaping = [cell for cell in cells if cell["cell_type"] == "code" and cell["id"] not in SHOWING]
    code = ["".join(cell["source"]) for cell in shaping]
    modules = [path for path in sorted(root.glob("common/*.py")) if path.stem not in WITHOUT_INFLUENCE]
    code += [path.read_text(encoding="utf-8") for path in modules]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def seeds_in(folder: Path, stage: str = "*", below: str = "metrics/") -> set[int]:
    """The seeds that a folder of results has metrics of, of one stage or of any."""
    files = folder.glob(f"{below}{stage}/seed-*.json")
    found = (re.fullmatch(r"seed-(\d+)", path.stem, re.ASCII) for path in files)
    return {int(name[1]) for name in found if name}


def refuse_smaller(task: Task) -> None:
    """Let no run replace a longer one, one on more images, or one on MNIST where it isn't itself."""
    asked = task.identity["parameters"]
    available = TRAINING_IMAGES[asked["split"]]
    new = task.identity["dataset"] == MNIST, asked["epochs"], min(asked["images"] or available, available)
    try:
        bigger = lacks(new, size(json.loads(task.metrics.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing there, or nothing of use
    if bigger:
        raise InputError(f"{task.metrics} is of a bigger run: choose another folder with --out")
