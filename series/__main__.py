"""`python -m series`: checks what the command line asks for, runs it, prints a summary, and records it."""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from common.config import ROOT, InputError, choose_device
from common.runs import MNIST
from series.execute import in_a_line
from series.options import asked_for, from_caller, read_options
from series.plans import SMOKE, Plan, change, parameters_of, plain, read_plan, stages_of
from series.pool import Workers, clear, cores, record, run, shown, sole_use, threads
from series.resume import is_done, refuse_smaller
from series.tasks import Job, make_jobs

PLANS = Path(__file__).parent / "plans"


def prepare(parameters: dict[str, Any], here: bool) -> str:
    """Prepare the data, and check the device if the runs are made here; the name of the data set."""
    from common import data  # here, since torch takes seconds that --help should not wait for

    if here:
        choose_device(parameters.get("device", "auto"))
    return data.prepare(parameters.get("data", "auto"))


class Work(NamedTuple):
    """What is to be done, once it is checked."""

    plan: Plan  # the first one, where there are several
    jobs: list[Job]
    folder: Path
    dataset: str
    recorded: Path | None  # where all of it is recorded when it is done


@dataclass(frozen=True)
class Runner:
    """Does what the command line asks for, in the repository at `root`."""

    root: Path = ROOT
    plans: Path = PLANS
    prepare: Callable[[dict[str, Any], bool], str] = prepare
    reports: str = "series.report"  # a module, imported when it is needed, since that takes seconds

    def main(self, arguments: list[str]) -> int:
        """Do what the arguments ask for; the exit code."""
        try:
            read = read_options(arguments, self.root)
            if os.environ.get("MNIST_DIR"):
                os.environ["MNIST_DIR"] = str(from_caller(os.environ["MNIST_DIR"]))
            return (self.run_other if read.command in ("publish", "benchmark") else self.run_plans)(read)
        except KeyboardInterrupt:
            print("\nrun_all: stopped; the same command goes on from here", file=sys.stderr)
            return 130
        except InputError as problem:
            words = str(problem)
        except OSError as problem:  # a disk that is full, or fails
            words = f"{problem}; mend that, and the same command goes on"
        print("run_all:", in_a_line(words), file=sys.stderr)
        return 2

    def report(self, name: str, *arguments: Any) -> str:
        """Write a report; what there is to print of it."""
        return getattr(import_module(self.reports), name)(*arguments)

    def run_other(self, read: argparse.Namespace) -> int:
        """Measure the speed, or bring all that is written from recorded runs up to them."""
        outputs = self.root / "outputs"
        with sole_use(outputs):
            if read.command == "publish":
                print(self.report("publish", self.root))
            else:
                asked = {"data": read.data or "auto", "device": read.device or "cpu"}
                print(self.report("benchmark", self.measure(self.prepare(asked, True), outputs, read)))
        return 0

    def measure(self, dataset: str, outputs: Path, read: argparse.Namespace) -> Path:
        """Measure the speed on this machine's processor, or what its GPU makes of the series; where the record lies."""
        if read.device:
            return import_module("series.cuda").run(dataset, outputs, read.device, read.smoke)
        return import_module("series.benchmark").run(dataset, outputs, read.smoke, read.rounds or 0, read.contenders)

    def run_plans(self, read: argparse.Namespace) -> int:
        """Run what is not done, report on all of it, and record what is to be recorded."""
        work = self.make_work(read)
        with sole_use(work.folder):
            clear(work.folder)
            todo = [job for job in work.jobs if read.fresh or not is_done(job)]
            with self.make_workers(read, len(todo)) as workers:
                print(f"{len(todo)} of {len(work.jobs)} runs to do on {work.dataset}, {workers.where}")
                print(f"Results: {shown(work.folder)}", flush=True)
                failed = run(todo, workers)
            if any(job.metrics.exists() for job in work.jobs):
                subject = {"sweep": [work.plan, work.folder], "choices": []}.get(read.command, [work.folder])
                print(f"\n{self.report(read.command, *subject)}")
            if (page := work.folder / "html" / "index.html").exists():
                print(f"Report: {shown(page)}")
            for words in failed:
                print(f"run_all: {words}", file=sys.stderr)
            if work.recorded and not failed:
                self.record(work.jobs, work.recorded)
        return 1 if failed else 0

    def record(self, jobs: list[Job], folder: Path) -> None:
        """Make the runs the recorded ones, if they are of all the seeds that are."""
        with sole_use(self.root / "outputs"):
            if seeds := record(jobs, folder):
                print(f"Not recorded in {shown(folder)}: that takes --seeds {' '.join(map(str, seeds))}")
            else:
                self.report("publish", self.root)
                print(f"Recorded in {shown(folder)}")

    def make_workers(self, read: argparse.Namespace, count: int) -> AbstractContextManager[Workers]:
        """What executes the work."""
        if read.scheduler and count:
            from series.dask_pool import dask_workers

            return dask_workers(read.scheduler, self.root)
        return threads(read.jobs or max(1, min(count, cores())), self.root)

    def make_work(self, read: argparse.Namespace) -> Work:
        """All that is asked for, checked before anything is written."""
        outputs, planned = self.root / "outputs", self.choose_plans(read)
        plans = [change(plan, asked_for(read, plan, self.root), self.root) for plan in planned]
        dataset = self.prepare(plans[0].parameters, not read.scheduler)
        # The data set is named, so that no run can fall back to another one than its neighbours.
        named = {"data": "mnist" if dataset == MNIST else "rendered"}
        plans = [replace(plan, parameters=plan.parameters | named) for plan in plans]
        as_planned = dataset == MNIST and not read.out and [*map(self.changed, plans)] == [*map(self.changed, planned)]
        in_place = as_planned and plans[0].variants and plans[0].place  # one run at a time
        if in_place and read.fresh:
            raise InputError("--fresh would replace recorded runs one by one: give another folder with --out")
        folders = [outputs / plan.place if in_place else self.folder_of(plan, read) for plan in plans]
        jobs = [
            job
            for plan, folder in zip(plans, folders, strict=True)
            for job in make_jobs(plan, folder, self.root, read.timeout)
        ]
        for job in jobs:
            refuse_smaller(job)
        whole = as_planned and plans[0].place and not in_place and not read.stages
        folder = outputs / "choices" if read.command == "choices" else folders[0]
        return Work(plans[0], jobs, folder, dataset, outputs / plans[0].place if whole else None)

    def choose_plans(self, read: argparse.Namespace) -> list[Plan]:
        """The plans that a command is about, with the stages, seeds and variants that it names."""
        if read.command == "choices":
            files = {path.stem: path for path in sorted((self.plans / "choices").glob("*.toml"))}
            if unknown := [name for name in read.questions if name not in files]:
                raise InputError(f"there is no question {unknown[0]!r}, only {', '.join(files)}")
            return [read_plan(files[name], self.root) for name in read.questions or files]
        path = from_caller(read.file) if read.command == "sweep" else self.plans / f"{read.command}.toml"
        plan = read_plan(path, self.root)
        if read.stages:
            stages = stages_of(self.root)
            plan = replace(plan, notebooks=[stages[number] for number in sorted(set(read.stages))])
        if read.system:
            if read.system not in plan.variants:
                raise InputError(f"system {read.system!r} is unknown: choose one of {', '.join(plan.variants)}")
            plan = replace(plan, variants={read.system: plan.variants[read.system]})
        return [replace(plan, seeds=sorted(set(read.seeds or plan.seeds)))]

    def folder_of(self, plan: Plan, read: argparse.Namespace) -> Path:
        """Where the runs of a plan go: runs that may be compared share a folder, others don't."""
        if read.out:
            return from_caller(read.out)
        values = parameters_of(plan.notebooks[0], self.root) | self.changed(plan)
        epochs = values.get("epochs")
        length, hidden = (f"{epochs}-epochs" if epochs else "as-published"), ["epochs"]
        if SMOKE.items() <= values.items():
            length, hidden = "smoke", [*SMOKE]
        others = [f"{name}-{value}" for name, value in sorted(self.changed(plan).items()) if name not in hidden]
        before = {"series": [], "sweep": ["sweep", plan.name]}.get(read.command, [plan.name])
        name = "-".join([*before, plan.parameters["data"], length, *others])
        # Names that are no folder's are shortened, but must not become another's.
        short, digest = plain(name)[:100], hashlib.sha256(name.encode()).hexdigest()[:10]
        return self.root / "outputs" / "scratch" / (name if short == name else f"{short[:88]}-{digest}")

    def changed(self, plan: Plan) -> dict[str, Any]:
        """The parameters that make another experiment of one of the plan's notebooks."""
        own = [parameters_of(notebook, self.root) for notebook in plan.notebooks]
        asked = {name: value for name, value in plan.parameters.items() if name not in ("device", "data")}
        return {name: value for name, value in asked.items() if any(known[name] != value for known in own)}


def heed_signals() -> None:
    """Let SIGINT, which shells switch off for background jobs, and SIGTERM, from batch systems, stop the run alike."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    heed_signals()
    sys.exit(Runner().main(sys.argv[1:]))
