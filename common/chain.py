"""Runs the series: stages and seeds side by side through papermill, then the tables."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

import psutil

from common import InputError
from common.appendix import is_recorded, plan_systems
from common.cli import APPENDICES, SMOKE, Options, from_caller, read_options
from common.execution import Outcome, Task, execute, forget_failure, in_a_line, is_done
from common.files import PART, write_whole
from common.plan import is_full_series, plan, refuse_smaller, seeds_in
from common.points import Point, plan_sweep

ROOT = Path(__file__).resolve().parent.parent
# Where in a folder of results files are written, and in which of these places below folders of stages or settings.
DEEP = "metrics/", "weights/", "executed/"
PLACES = ".done/", "failed/", "figures/", "html/", "html/figures/"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run what the arguments ask for; the exit code."""
    try:
        options = read_options(arguments, root)
        if os.environ.get("MNIST_DIR"):
            os.environ["MNIST_DIR"] = str(from_caller(os.environ["MNIST_DIR"]))
        return (run_series if options.task in ("series", "sweep", *APPENDICES) else run_other)(options, root)
    except InputError as problem:
        print("run_all:", in_a_line(str(problem)), file=sys.stderr)
        return 2
    except OSError as problem:  # a disk that is full, or fails
        print("run_all:", in_a_line(f"{problem}; mend that, and the same command goes on"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun_all: stopped; the same command goes on from here", file=sys.stderr)
        return 130


class Kind(NamedTuple):
    """What there is to do in a kind of work, what of it is done, what to make of it, and how often to try."""

    plan: Callable[[Options, str, Path], list[Task]]
    is_there: Callable[[Task], bool]
    summarise: Callable[[list[Task]], str]
    attempts: int = 1


def kind_of(task: str) -> Kind:
    """The kind of work that an option stands for."""
    if task == "published":
        return Kind(plan_systems, is_recorded, lambda tasks: summarise_systems(tasks[0].folder))
    if task == "smaller":
        return Kind(plan, is_done, lambda tasks: summarise_smaller(tasks[0].folder))
    if task == "sweep":
        return Kind(plan_sweep, is_done, summarise_sweep, attempts=3)
    return Kind(plan, is_done, lambda tasks: summarise(tasks[0].folder) if seeds_in(tasks[0].folder) else "")


def run_series(options: Options, root: Path) -> int:
    """Check, run, summarise, and record what is the full series."""
    dataset, kind = prepare(options), kind_of(options.task)
    tasks = kind.plan(options, dataset, root)
    folder = tasks[0].folder
    for task in tasks:
        refuse_smaller(task)
    with sole_use(folder):
        clear(folder)
        todo = [task for task in tasks if options.fresh or not kind.is_there(task)]
        executor, where = make_executor(options, todo)
        print(f"{len(todo)} of {len(tasks)} runs to do on {dataset}, {where}")
        print(f"Results: {shown(folder)}", flush=True)
        failed = [outcome for outcome in run(todo, executor, kind.attempts) if outcome.error]
        if told := kind.summarise(tasks):
            print(f"\n{told}")
        if (report := folder / "html" / "index.html").exists():
            print(f"Report: {shown(report)}")
        for outcome in failed:
            print(f"run_all: {describe(outcome)}", file=sys.stderr)
        if is_full_series(options, dataset) and not failed:
            record(tasks, root / "outputs", options.task)
    return 1 if failed else 0


def run_other(options: Options, root: Path) -> int:
    """Do what is asked for in place of the series."""
    if options.task == "rewrite":
        rewrite(root)
        return 0
    from common import choices

    dataset = prepare(options)
    if options.task == "benchmark":
        with sole_use(root / "outputs"):
            run_benchmark(dataset, SMOKE.items() <= options.parameters.items(), root / "outputs")
        return 0
    with sole_use(choices.FOLDER):
        print(choices.answer(options.jobs or cores()))
    return 0


def rewrite(root: Path) -> None:
    """Bring all that is written from recorded runs up to them."""
    from benchmarks import sweep_text
    from common import choices

    with sole_use(root / "outputs"):
        if root == ROOT:
            choices.write_tables()
            sweep_text.rewrite()
        print(summarise_systems(root / "outputs" / "published"))
        print(summarise_smaller(root / "outputs" / "smaller"))
        print(summarise(root / "outputs"))  # last: its pages tell of the others, too


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

    if not options.scheduler:  # else it is for the workers to have
        runtime.choose_device(options.parameters.get("device", "auto"))
    # Choices are made on MNIST alone; the others take what there is.
    return data.prepare("mnist" if options.task == "choices" else options.parameters.get("data", "auto"))


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


def summarise_smaller(folder: Path) -> str:
    """The same for the smaller network."""
    from common import smaller

    return smaller.summarise(folder)


def summarise_sweep(points: list[Point]) -> str:
    """The same for the points of a sweep."""
    from common import sweep

    return sweep.summarise(points)


def make_executor(options: Options, tasks: list[Task]) -> tuple[Executor, str]:
    """What the work is handed to, and where that is in words: any `concurrent.futures` executor may stand here."""
    if options.scheduler and tasks:
        from common.cluster import Cluster

        return Cluster(options.scheduler, tasks), f"on the workers of {options.scheduler}"
    jobs = options.jobs or max(1, min(len(tasks), cores()))
    # Threads are enough, as every kernel is a process: one that dies takes nothing else with it.
    return ThreadPoolExecutor(jobs), f"{jobs} at a time"


def run(tasks: list[Task], executor: Executor, attempts: int = 1) -> list[Outcome]:
    """The outcome of every task, told in a line as it comes; what fails is tried again, `attempts` times in all."""
    outcomes: list[Outcome] = []
    tries: Counter[Path] = Counter()
    pending: set[Future] = set()
    ended: SimpleQueue[Future] = SimpleQueue()

    def hand_over(task: Task) -> None:
        tries[task.stamp] += 1
        future = executor.submit(execute, task)
        pending.add(future)
        future.add_done_callback(ended.put)

    with executor:
        try:
            for task in tasks:
                hand_over(task)
            while pending:
                future = next_of(ended)
                outcome = future.result()
                pending.remove(future)  # with all that came of it
                again = bool(outcome.error) and tries[outcome.task.stamp] < attempts
                if again:
                    hand_over(outcome.task)
                else:
                    outcomes.append(outcome)
                words = "; it is tried again" if again else ""
                print(f"[{len(outcomes)}/{len(tasks)}] {describe(outcome)}{words}", flush=True)
        except BaseException:
            stop(pending)
            raise
    return outcomes


def next_of(ended: SimpleQueue) -> Future:
    """The next future to end; awake every half second, since a signal need not end a wait without limit."""
    while True:
        with contextlib.suppress(Empty):
            return ended.get(timeout=0.5)


def stop(futures: set[Future]) -> None:
    """End all work at once, kernels too."""
    running = [future for future in futures if not future.cancel() and not future.done()]
    while not all(future.done() for future in running):  # again and again: a kernel may be about to start
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.1)
    for future in running:
        if not future.exception():
            forget_failure(future.result().task)  # it was stopped, it didn't fail


def record(tasks: list[Task], outputs: Path, kind: str) -> None:
    """Make these results the recorded ones, if they are of all seeds that stand there or beside them."""
    place = outputs if kind == "series" else outputs / kind
    seeds = {task.seed for task in tasks}
    known = seeds | seeds_in(place) | seeds_in(tasks[0].folder)
    if seeds != known:
        print(f"Not recorded in {shown(place)}: that takes --seeds {' '.join(map(str, sorted(known)))}")
        return
    with sole_use(outputs):
        for task in tasks:
            for path in filter(Path.exists, [task.metrics, *([task.copy, task.weights] if task.keep_copy else [])]):
                write_whole(place / path.relative_to(task.folder), path.read_text(encoding="utf-8"))
        if kind == "smaller":
            summarise_smaller(place)
        if seeds_in(outputs):
            summarise(outputs)  # which tells of the smaller network, too
    print(f"Recorded in {shown(place)}")


def clear(folder: Path) -> None:
    """Remove what a runner that was killed has left half done."""
    for workplace in folder.glob(".running/*-seed-*"):
        shutil.rmtree(workplace, ignore_errors=True)
    # In the places where a runner writes, and by names that only it gives: the folder may hold anything else.
    for place in ("", *PLACES, *(f"{place}*/" for place in DEEP), *(f"{place}*/*/" for place in DEEP)):
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
    task = outcome.task
    if outcome.error:
        see = f"; see {shown(task.failed_copy)}" if task.failed_copy.exists() else ""
        return f"{task.title} failed: {outcome.error}{see}"
    accuracies = " ".join(f"{accuracy:.2f}" for accuracy in outcome.accuracies)
    return f"{task.title}: test accuracy {accuracies} %, {outcome.seconds:.0f} s"


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
