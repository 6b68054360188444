"""Runs the series: stages and seeds side by side through papermill, then the tables."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path

import psutil

from common import InputError
from common.appendix import is_recorded, plan_systems
from common.cli import SMOKE, Options, from_caller, read_options
from common.execution import Outcome, Task, execute, forget_failure, in_a_line, is_done
from common.files import PART, write_whole
from common.plan import is_full_series, plan, refuse_smaller, seeds_in

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run what the arguments ask for; the exit code."""
    try:
        options = read_options(arguments, root)
        return (run_series if options.task in ("series", "published") else run_other)(options, root)
    except InputError as problem:
        print("run_all:", in_a_line(str(problem)), file=sys.stderr)
        return 2
    except OSError as problem:  # a disk that is full, or fails
        print("run_all:", in_a_line(f"{problem}; mend that, and the same command goes on"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun_all: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def run_series(options: Options, root: Path) -> int:
    """Check, run, summarise, and record what is the full series."""
    dataset = prepare(options)
    published = options.task == "published"
    tasks = (plan_systems if published else plan)(options, dataset, root)
    is_there = is_recorded if published else is_done
    folder = tasks[0].folder
    for task in tasks:
        refuse_smaller(task)
    with sole_use(folder):
        clear(folder)
        todo = [task for task in tasks if options.fresh or not is_there(task)]
        jobs = options.jobs or max(1, min(len(todo), cores()))
        print(f"{len(todo)} of {len(tasks)} runs to do on {dataset}, {jobs} at a time")
        print(f"Results: {shown(folder)}", flush=True)
        failed = [outcome for outcome in run(todo, make_executor(jobs)) if outcome.error]
        if published or seeds_in(folder):
            print(f"\n{(summarise_systems if published else summarise)(folder)}")
        for outcome in failed:
            print(f"run_all: {describe(outcome)}", file=sys.stderr)
        if is_full_series(options, dataset) and not failed:
            record(tasks, root / "outputs")
    return 1 if failed else 0


def run_other(options: Options, root: Path) -> int:
    """Do what is asked for in place of the series."""
    if options.task == "rewrite":
        with sole_use(root / "outputs"):
            print(summarise_systems(root / "outputs" / "published"))
            print(summarise(root / "outputs"))  # last: its pages tell of the systems, too
        return 0
    from common import choices

    dataset = prepare(options)
    if options.task == "benchmark":
        run_benchmark(dataset, SMOKE.items() <= options.parameters.items(), root / "outputs")
        return 0
    with sole_use(choices.FOLDER):
        print(choices.answer(options.jobs or cores()))
    return 0


def run_benchmark(dataset: str, smoke: bool, outputs: Path) -> None:
    """Measure, show the table, and bring the README up to a record of the full benchmark."""
    from benchmarks import benchmark
    from common import speed

    record = benchmark.run(dataset, outputs, smoke)
    print("\n".join(speed.section(record)))
    if record.parent == outputs:
        summarise(outputs)
    print(f"Written to {shown(record)}")


def prepare(options: Options) -> str:
    """See to device and data before anything starts; the name of the data set."""
    from common import data, runtime  # here, since torch takes seconds that --help should not wait for

    if os.environ.get("MNIST_DIR"):
        os.environ["MNIST_DIR"] = str(from_caller(os.environ["MNIST_DIR"]))
    runtime.choose_device(options.parameters.get("device", "auto"))
    return data.prepare(options.parameters.get("data", "auto"))


def summarise(folder: Path) -> str:
    """Bring tables, figures, texts and pages up to all results in the folder; the table for the terminal."""
    from common import pages, summary

    table = summary.summarise(folder)
    pages.write_report(folder)
    return table


def summarise_systems(folder: Path) -> str:
    """The same for the published systems."""
    from common import systems

    return systems.summarise(folder)


def make_executor(jobs: int) -> Executor:
    """What the work is handed to: any `concurrent.futures` executor may stand here.

    Threads are enough, as every kernel is a process: one that dies takes nothing else with it.
    """
    return ThreadPoolExecutor(jobs)


def run(tasks: list[Task], executor: Executor) -> list[Outcome]:
    """All outcomes; each is told in a line as it comes."""
    outcomes: list[Outcome] = []
    futures: list[Future] = []
    with executor:
        try:
            futures.extend(executor.submit(execute, task) for task in tasks)
            for future in as_finished(futures):
                outcomes.append(future.result())
                print(f"[{len(outcomes)}/{len(tasks)}] {describe(outcomes[-1])}", flush=True)
        except BaseException:
            stop(futures)
            raise
    return outcomes


def as_finished(futures: list[Future]) -> Iterator[Future]:
    """The futures as they end; awake every half second, since a signal need not end a wait without limit."""
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from ended


def stop(futures: list[Future]) -> None:
    """End all work at once, kernels too."""
    running = [future for future in futures if not future.cancel() and not future.done()]
    while not all(future.done() for future in running):  # again and again: a kernel may be about to start
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.1)
    for future in running:
        forget_failure(future.result().task)  # it was stopped, it didn't fail


def record(tasks: list[Task], outputs: Path) -> None:
    """Make these results the recorded ones, if they are of all seeds that stand there or beside them."""
    seeds = {task.seed for task in tasks}
    known = seeds | seeds_in(outputs) | seeds_in(tasks[0].folder)
    if seeds != known:
        print(f"Not recorded in {shown(outputs)}: that takes --seeds {' '.join(map(str, sorted(known)))}")
        return
    with sole_use(outputs):
        for task in tasks:
            for path in filter(Path.exists, [task.metrics, *([task.copy, task.weights] if task.keep_copy else [])]):
                write_whole(outputs / path.relative_to(task.folder), path.read_text(encoding="utf-8"))
        summarise(outputs)
    print(f"Recorded in {shown(outputs)}")


def clear(folder: Path) -> None:
    """Remove what a runner that was killed has left half done."""
    for workplace in folder.glob(".running/*-seed-*"):
        shutil.rmtree(workplace, ignore_errors=True)
    # In the places where a runner writes, and by names that only it gives: the folder may hold anything else.
    for place in ("", ".done/", "failed/", "figures/", "metrics/*/"):
        for part in folder.glob(f"{place}.*.[0-9]*{PART}"):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep other runners out of the folder; the system opens it again, even if we are killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another run writes to {folder}: wait for it, or choose --out") from None
    except OSError as problem:
        raise InputError(f"can't write to {folder}: {problem.strerror}") from None
    try:
        yield
    finally:
        os.close(lock)


def describe(outcome: Outcome) -> str:
    """How a run ended, in a line."""
    title = f"{outcome.task.stage}, seed {outcome.task.seed}"
    if outcome.error:
        return f"{title} failed: {outcome.error}; see {shown(outcome.task.failed_copy)}"
    accuracies = " ".join(f"{accuracy:.2f}" for accuracy in outcome.accuracies)
    return f"{title}: test accuracy {accuracies} %, {outcome.seconds:.0f} s"


def cores() -> int:
    """The cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shown(path: Path) -> str:
    """A path as short as it can be."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def heed_signals() -> None:
    """Take Ctrl-C, which shells switch off for background jobs, and what batch systems send, alike."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    heed_signals()
    sys.exit(main())
