"""`python -m series`: what the command line asks for is checked, run, told, and recorded."""

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
from series.execute import in_a_line
from series.options import asked_for, from_caller, read_options
from series.plans import SMOKE, Plan, change, plain, read_plan
from series.pool import Workers, clear, cores, record, run, shown, sole_use, threads
from series.sources import parameters_of, stages_of
from series.tasks import MNIST, Job, make_jobs

PLANS = Path(__file__).parent / "plans"


class Report:
    """`series.report`, imported when it is first used, since it takes seconds."""

    def __getattr__(self, name: str) -> Callable[..., str]:
        return getattr(import_module("series.report"), name)


def prepare(parameters: dict[str, Any], here: bool) -> str:
    """See to the data, and to the device if the runs are made here; the name of the data set."""
    from common import data  # here, since torch takes seconds that --help should not wait for

    if here:
        choose_device(parameters.get("device", "auto"))
    return data.prepare(parameters.get("data", "auto"))


class Work(NamedTuple):
    """What is to be done, once all that could be wrong with it was looked at."""

    plan: Plan  # the first one, where there are several
    jobs: list[Job]
    folder: Path
    dataset: str
    place: Path | None  # where all of it is recorded when it is done


@dataclass(frozen=True)
class Runner:
    """Does what the command line asks for, in the repository at `root`."""

    root: Path = ROOT
    plans: Path = PLANS
    prepare: Callable[[dict[str, Any], bool], str] = prepare
    report: Any = Report()  # noqa: RUF009

    def main(self, arguments: list[str]) -> int:
        """Do what the arguments ask for; the exit code."""
        try:
            read = read_options(arguments, self.root)
            if os.environ.get("MNIST_DIR"):
                os.environ["MNIST_DIR"] = str(from_caller(os.environ["MNIST_DIR"]))
            return (self.run_other if read.command in ("publish", "benchmark") else self.run_plans)(read)
        except InputError as problem:
            print("run_all:", in_a_line(str(problem)), file=sys.stderr)
            return 2
        except OSError as problem:  # a disk that is full, or fails
            print("run_all:", in_a_line(f"{problem}; mend that, and the same command goes on"), file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nrun_all: stopped; the same command goes on from here", file=sys.stderr)
            return 130

    def run_other(self, read: argparse.Namespace) -> int:
        """Measure the speed, or bring all that is written from recorded runs up to them."""
        outputs = self.root / "outputs"
        with sole_use(outputs):
            if read.command == "publish":
                print(self.report.publish(self.root))
            else:
                asked = {"data": read.data or "auto", "device": read.device or "cpu"}
                print(self.report.benchmark(self.measure(self.prepare(asked, True), outputs, read)))
        return 0

    def measure(self, dataset: str, outputs: Path, read: argparse.Namespace) -> Path:
        """Measure the speed on this machine's processor, or what its GPU makes of the series; where the record lies."""
        if read.device:
            return import_module("series.cuda").run(dataset, outputs, read.device, read.smoke)
        return import_module("series.benchmark").run(dataset, outputs, read.smoke, read.rounds or 0, read.contenders)

    def run_plans(self, read: argparse.Namespace) -> int:
        """Run what is not done, write what there is to say of all of it, and record what is to be recorded."""
        work = self.make_work(read)
        with sole_use(work.folder):
            clear(work.folder, work.jobs)
            failed = self.run_jobs(work, read)
            if any(job.metrics.exists() for job in work.jobs):
                print(f"\n{self.summarise(read.command, work)}")
            if (page := work.folder / "html" / "index.html").exists():
                print(f"Report: {shown(page)}")
            for words in failed:
                print(f"run_all: {words}", file=sys.stderr)
            if work.place and not failed:
                self.record(work)
        return 1 if failed else 0

    def record(self, work: Work) -> None:
        """Make the runs the recorded ones, if they are of all the seeds that are."""
        with sole_use(self.root / "outputs"):
            if seeds := record(work.jobs, work.place):
                print(f"Not recorded in {shown(work.place)}: that takes --seeds {' '.join(map(str, seeds))}")
            else:
                self.report.publish(self.root)
                print(f"Recorded in {shown(work.place)}")

    def run_jobs(self, work: Work, read: argparse.Namespace) -> list[str]:
        """Run what is not done; what there is to say of each job that failed."""
        todo = [job for job in work.jobs if read.fresh or not job.is_done()]
        with self.make_workers(read, len(todo)) as workers:
            print(f"{len(todo)} of {len(work.jobs)} runs to do on {work.dataset}, {workers.where}")
            print(f"Results: {shown(work.folder)}", flush=True)
            return [outcome.words for outcome in run(todo, workers) if outcome.error]

    def make_workers(self, read: argparse.Namespace, count: int) -> AbstractContextManager[Workers]:
        """What the work is handed to."""
        if read.scheduler and count:
            from series.dask_pool import dask_workers

            return dask_workers(read.scheduler, self.root)
        return threads(read.jobs or max(1, min(count, cores())), self.root)

    def summarise(self, command: str, work: Work) -> str:
        """Bring tables, figures and texts up to the runs that are there; the table for the terminal."""
        if command == "sweep":
            return self.report.sweep(work.plan, work.folder)
        return self.report.choices() if command == "choices" else getattr(self.report, command)(work.folder)

    def make_work(self, read: argparse.Namespace) -> Work:
        """All that is asked for, checked before anything is written."""
        planned = self.choose_plans(read)
        plans = [change(plan, asked_for(read, plan, self.root), self.root) for plan in planned]
        dataset = self.prepare(plans[0].parameters, not read.scheduler)
        # The data set is named, so that no run can fall back to another one than its neighbours.
        named = {"data": "mnist" if dataset == MNIST else "rendered"}
        plans = [replace(plan, parameters=plan.parameters | named) for plan in plans]
        as_planned = (
            dataset == MNIST and not read.out and list(map(self.changed, plans)) == list(map(self.changed, planned))
        )
        folders = [self.folder_of(plan, read, as_planned) for plan in plans]
        in_place = as_planned and plans[0].place and plans[0].variants
        if in_place and read.fresh:
            raise InputError("--fresh would replace recorded runs one by one: give another folder with --out")
        found = [make_jobs(plan, folder, self.root, read.timeout) for plan, folder in zip(plans, folders, strict=True)]
        jobs = [job for some in found for job in some]
        for job in jobs:
            job.refuse_smaller()
        folder = self.root / "outputs" / "choices" if read.command == "choices" else folders[0]
        whole = as_planned and plans[0].place and not in_place and not read.stages
        return Work(plans[0], jobs, folder, dataset, self.root / "outputs" / plans[0].place if whole else None)

    def choose_plans(self, read: argparse.Namespace) -> list[Plan]:
        """The plans that a command is about, with the stages, seeds and variants that it names."""
        if read.command == "choices":
            return self.choose_questions(read.questions)
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

    def choose_questions(self, names: list[str]) -> list[Plan]:
        """The plans of the choices, or those that are named."""
        found = sorted((self.plans / "choices").rglob("*.toml"))
        paths = {path.relative_to(self.plans / "choices").with_suffix("").as_posix(): path for path in found}
        if unknown := [name for name in names if name not in paths]:
            raise InputError(f"there is no question {unknown[0]!r}, only {', '.join(paths)}")
        return [read_plan(paths[name], self.root) for name in names or paths]

    def folder_of(self, plan: Plan, read: argparse.Namespace, as_planned: bool) -> Path:
        """Where the runs of a plan go: runs that may be compared share a folder, others don't."""
        if read.out:
            return from_caller(read.out)
        if as_planned and plan.place and plan.variants:
            return self.root / "outputs" / plan.place
        values = self.changed(plan)
        epochs = values.get("epochs", parameters_of(plan.notebooks[0], self.root).get("epochs"))
        length, hidden = (f"{epochs}-epochs" if epochs else "as-published"), ["epochs"]
        if SMOKE.items() <= values.items():
            length, hidden = "smoke", [*SMOKE]
        others = [f"{name}-{value}" for name, value in sorted(values.items()) if name not in hidden]
        before = {"series": [], "sweep": ["sweep", plan.name]}.get(read.command, [plan.name])
        name = "-".join([*before, plan.parameters["data"], length, *others])
        # What a folder's name can't hold must tell it from others all the same.
        short, digest = plain(name)[:100], hashlib.sha256(name.encode()).hexdigest()[:10]
        return self.root / "outputs" / "scratch" / (name if short == name else f"{short[:88]}-{digest}")

    def changed(self, plan: Plan) -> dict[str, Any]:
        """The parameters that make another experiment of one of the plan's notebooks."""
        own = [parameters_of(notebook, self.root) for notebook in plan.notebooks]
        asked = {name: value for name, value in plan.parameters.items() if name not in ("device", "data")}
        return {name: value for name, value in asked.items() if any(known[name] != value for known in own)}


def heed_signals() -> None:
    """Take Ctrl-C, which shells switch off for background jobs, and what batch systems send, alike."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    heed_signals()
    sys.exit(Runner().main(sys.argv[1:]))
