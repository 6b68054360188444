"""What there is to run: a task for each notebook, setting and seed, and where its results belong."""

import hashlib
import json
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from common.config import literals
from series.plans import Plan, cells_of, parameters_of


@dataclass(frozen=True)
class Task:
    """A run of a notebook; all of it is JSON, so that it can travel."""

    notebook: str
    seed: int
    parameters: dict[str, Any]  # that are asked for; the others are as the notebook has them
    name: str  # of its setting, of its stage, or of both
    minutes: float | None = None  # after so many it is given up

    @property
    def title(self) -> str:
        return f"{self.name}, seed {self.seed}"


@dataclass(frozen=True)
class Job:
    """A task, and the folder that its results belong in.

    Metrics lie in `metrics/<stage>`, or `metrics/<setting>/<stage>`; those of a plan with variants in `<variant>`.
    """

    task: Task
    folder: Path
    identity: dict[str, Any]  # all that shapes the result: what has the same need not be run again
    by_variant: bool
    keep_copy: bool  # and the weights, of one seed; those of all seeds would only fill the disk
    attempts: int = 1

    @property
    def title(self) -> str:
        """What the run is called; variants of many plans may have the same names."""
        return f"{self.folder.name}/{self.task.title}" if self.by_variant else self.task.title

    def path(self, kind: str, suffix: str = "json") -> Path:
        """Where a file of this run lies."""
        return self.folder / kind / self.task.name / f"seed-{self.task.seed}.{suffix}"

    @property
    def metrics(self) -> Path:
        return self.path("" if self.by_variant else "metrics")

    @property
    def copy(self) -> Path:
        return self.folder / ("executed" if "/" in self.task.name else "") / f"{self.task.name}.ipynb"

    @property
    def stamp(self) -> Path:
        """The file that marks the run as finished."""
        return self.path(".done")

    @property
    def stamp_text(self) -> str:
        return json.dumps(self.identity, indent=1, sort_keys=True) + "\n"


def make_jobs(plan: Plan, folder: Path, root: Path, minutes: float | None = None) -> list[Job]:
    """All the work of a plan: seed by seed, so that one that is cut short has all settings."""
    shapes = {name: (parameters_of(name, root), digest(name, root)) for name in plan.notebooks}
    by_variant, jobs = bool(plan.variants), []
    for seed, (setting, values), notebook in product(plan.seeds, plan.settings(), plan.notebooks):
        defaults, source = shapes[notebook]
        stage = "" if by_variant and len(shapes) == 1 else plan.stage or notebook
        name = "/".join(filter(None, [setting, stage]))
        asked = plan.parameters | values
        identity = {"parameters": defaults | asked | {"seed": seed, "out": ""}, "source": source}
        seeds = {*plan.seeds, *seeds_in(folder / ("" if by_variant else "metrics") / name)}
        task = Task(notebook, seed, asked, name, minutes)
        jobs.append(Job(task, folder, identity, by_variant, plan.copies and seed == min(seeds), plan.attempts))
    return jobs


def seeds_in(folder: Path) -> set[int]:
    """The seeds that a folder has metrics of."""
    found = (re.fullmatch(r"seed-(\d+)", path.stem, re.ASCII) for path in folder.glob("seed-*.json"))
    return {int(name[1]) for name in found if name}


def digest(notebook: str, root: Path) -> str:
    """A digest of what shapes a run: the notebook's code, all of `common` that it imports, the files that it names."""
    code = cells_of(notebook, root)[1]
    paths = {path.stem: path for path in sorted(root.glob("common/*.py"))}
    public = literals(paths["__init__"].read_text(encoding="utf-8"))["MODULES"] if paths else {}
    homes = {name: module for module, names in public.items() for name in names}
    modules, waiting = {}, list(code)
    while waiting:
        for name in imported(waiting.pop(), homes) & paths.keys() - modules.keys():
            modules[name] = paths[name].read_text(encoding="utf-8")
            waiting.append(modules[name])
    texts = [*code, *(modules[name] for name in sorted(modules))]
    files = [path for path in sorted(root.glob("notebooks/*.*")) if path.name in "".join(code)]
    return hashlib.sha256(b"\0".join([*map(str.encode, texts), *map(Path.read_bytes, files)])).hexdigest()


def imported(code: str, homes: dict[str, str]) -> set[str]:
    """The modules of `common` that code may import; `homes` are those of the public names."""
    direct = re.findall(r"^\s*(?:from|import)\s+(?:common)?\.(\w+)", code, re.MULTILINE)
    lists = re.findall(r"^\s*from\s+(?:common|\.)\s+import\s+(\([^)]*\)|.*)", code, re.MULTILINE)
    return {*direct, *(homes.get(name, name) for names in lists for name in re.findall(r"\w+", names))}
