"""Runs jobs side by side, tells how far they are, and puts their results in place."""

import contextlib
import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from common.config import InputError, write_whole
from series.execute import Result, execute, in_a_line
from series.kernel import kill_children, own_folder
from series.progress import Progress, last_line
from series.tasks import Job, Task, seeds_in

PAUSE = 0.5  # seconds between two looks at how far the runs are
REPORT = ("", "figures", "html", "html/figures")  # where in a folder of results a report is written


class Workers:
    """What tasks are handed to."""

    where: str  # in words

    def submit(self, task: Task) -> Future:
        """Have a task executed: the future of its result."""
        raise NotImplementedError

    def progress(self) -> dict[str, dict[str, Any]]:
        """The latest epoch of each task that is being run, as far as it is known, by the task's title."""
        return {}

    def stop(self, futures: set[Future]) -> None:
        """End what is being run at once, unless it ends with the context."""


@contextlib.contextmanager
def threads(jobs: int, root: Path) -> Iterator["Threads"]:
    """Workers on this machine: threads are enough, as every kernel is a process."""
    with own_folder() as folder, ThreadPoolExecutor(jobs) as executor:
        yield Threads(executor, jobs, folder, root)


class Threads(Workers):
    """Threads that have notebooks executed; `folder` is where the kernels tell of their epochs."""

    def __init__(self, executor: Executor, jobs: int, folder: Path, root: Path) -> None:
        self.executor, self.folder, self.root, self.where = executor, folder, root, f"{jobs} at a time"
        self.titles: list[str] = []

    def submit(self, task: Task) -> Future:
        file = self.folder / f"{len(self.titles)}.jsonl"
        self.titles.append(task.title)
        future = self.executor.submit(execute, task, self.root, file)
        future.add_done_callback(lambda _: file.unlink(missing_ok=True))
        return future

    def progress(self) -> dict[str, dict[str, Any]]:
        rows = {self.titles[int(file.stem)]: last_line(file) for file in sorted(self.folder.glob("*.jsonl"))}
        return {title: row for title, row in rows.items() if row}

    def stop(self, futures: set[Future]) -> None:
        running = [future for future in futures if not future.cancel()]
        while not all(future.done() for future in running):  # again and again: a kernel may be about to start
            kill_children()
            time.sleep(0.1)


class Outcome(NamedTuple):
    """How a job ended: with the error, if any, and with a line that says so."""

    job: Job
    error: str
    words: str


def run(jobs: list[Job], workers: Workers) -> list[Outcome]:
    """The outcome of every job, told in a line as it comes; what fails is tried again."""
    outcomes, tries, show = [], Counter(), Progress(len(jobs))
    pending: dict[Future, Job] = {}
    ended: SimpleQueue[Future] = SimpleQueue()

    def hand_over(job: Job) -> None:
        tries[job.metrics] += 1
        future = workers.submit(job.task)
        pending[future] = job
        future.add_done_callback(ended.put)

    try:
        for job in jobs:
            hand_over(job)
        while pending:
            with contextlib.suppress(Empty):
                future = ended.get(timeout=PAUSE)  # with a limit, since a signal need not end a wait without
                job = pending.pop(future)
                outcome = deliver(job, future.result())
                again = bool(outcome.error) and tries[job.metrics] < job.attempts
                if again:
                    hand_over(job)
                else:
                    outcomes.append(outcome)
                    show.done += 1
                words = "; it is tried again" if again else ""
                show.line(f"[{len(outcomes)}/{len(jobs)}] {outcome.words}{words}")
            show.update(workers.progress())
    except BaseException:
        workers.stop(set(pending))
        raise
    finally:
        show.close()
    return outcomes


def deliver(job: Job, result: Result) -> Outcome:
    """Put what came of a job in place, the stamp last: what is stopped before it counts as not run."""
    failed, error = job.path("failed", "ipynb"), result.error
    try:
        for path in (failed, failed.with_suffix(".json")):
            path.unlink(missing_ok=True)
        if not error:
            job.stamp.unlink(missing_ok=True)
            for path, kind in ((job.copy, "notebook"), (job.path("weights"), "weights")):
                if job.keep_copy and kind in result.files:
                    write_whole(path, result.files[kind])
            write_whole(job.metrics, result.files["metrics"])
            write_whole(job.stamp, job.stamp_text)
    except OSError as problem:
        error = error or in_a_line(f"{type(problem).__name__}: {problem}")
    if not error:
        accuracies = " ".join(f"{accuracy:.2f}" for accuracy in result.accuracies)
        return Outcome(job, "", f"{job.title}: test accuracy {accuracies}%, {result.seconds:.0f} s")
    with contextlib.suppress(OSError):  # a full disk must not hide the reason
        record = {"notebook": job.task.notebook, "seed": job.task.seed, "error": error} | job.identity
        write_whole(failed.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
        if "notebook" in result.files:
            write_whole(failed, result.files["notebook"])
    see = f"; see {shown(failed)}" if failed.exists() else ""
    return Outcome(job, error, f"{job.title} failed: {error}{see}")


def record(jobs: list[Job], place: Path) -> list[int]:
    """Make the results of these jobs the recorded ones in `place`.

    Nothing is done where there or beside them are results of more seeds: those that it would take, else none.
    """
    seeds, folders = {job.task.seed for job in jobs}, {job.metrics.parent for job in jobs}
    known = seeds.union(*(seeds_in(path) | seeds_in(place / path.relative_to(jobs[0].folder)) for path in folders))
    if seeds != known:
        return sorted(known)
    for job in jobs:
        kept = [job.copy, job.path("weights")] if job.keep_copy else []
        for path in filter(Path.exists, [job.metrics, *kept]):
            write_whole(place / path.relative_to(job.folder), path.read_text(encoding="utf-8"))
    return []


def clear(folder: Path, jobs: list[Job]) -> None:
    """Remove what a runner that was killed has left half written."""
    places = {folder / name for name in REPORT}
    for job in jobs:
        places |= {path.parent for path in (job.metrics, job.copy, job.stamp, job.path("weights"), job.path("failed"))}
    for place in places:  # by names that only a runner gives: the folder may hold anything else
        for part in place.glob(".*.[0-9]*.part"):
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


def shown(path: Path) -> str:
    """A path as short as it can be."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def cores() -> int:
    """The cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
