"""Runs jobs side by side, shows their progress, and puts their results in place."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tqdm import tqdm

from common.config import InputError, write_whole
from series.execute import Result, execute, in_a_line, in_words, kill_children, own_folder
from series.tasks import Job, Task, seeds_in

PAUSE = 0.5  # seconds between two looks at the progress
EVERY = 60  # seconds between two lines in a log
BAR = "{percentage:3.0f}% {bar:5} {elapsed}<{remaining} {desc}"
BAR_WIDTH = 28  # characters at most before the description


class Workers:
    """What executes tasks."""

    where: str  # in words

    def submit(self, task: Task) -> Future:
        """Have a task executed: the future of its result."""
        raise NotImplementedError

    def progress(self) -> dict[str, dict[str, Any]]:
        """The latest epoch of each running task, as far as it is known, by the task's title."""
        return {}


class Threads(Workers):
    """Threads of this process: they are enough, as every kernel is a process."""

    def __init__(self, executor: Executor, jobs: int, folder: Path, root: Path) -> None:
        self.executor, self.folder, self.root, self.where = executor, folder, root, f"{jobs} at a time"
        self.numbers = count()
        self.pending: dict[Future, tuple[str, Path]] = {}  # the task's title, and where its kernel writes its progress

    def submit(self, task: Task) -> Future:
        file = self.folder / f"{next(self.numbers)}.jsonl"
        future = self.executor.submit(execute, task, self.root, file)
        self.pending[future] = task.title, file
        future.add_done_callback(self.pending.pop)
        return future

    def progress(self) -> dict[str, dict[str, Any]]:
        return {title: row for title, file in list(self.pending.values()) if (row := last_line(file))}


@contextlib.contextmanager
def threads(jobs: int, root: Path) -> Iterator[Threads]:
    """Workers on this machine; an exception ends what they run at once."""
    with own_folder() as folder, ThreadPoolExecutor(jobs) as executor:
        workers = Threads(executor, jobs, folder, root)
        try:
            yield workers
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            while workers.pending:  # again and again: a kernel may be about to start
                kill_children()
                time.sleep(0.1)
            raise


def run(jobs: list[Job], workers: Workers) -> list[str]:
    """Run jobs, with a line as each ends; the lines of those that failed, as often as they may be tried."""
    failed, progress = [], Progress(len(jobs))
    pending: dict[Future, tuple[Job, int]] = {}
    ended: SimpleQueue[Future] = SimpleQueue()

    def submit(job: Job, attempt: int) -> None:
        future = workers.submit(job.task)
        pending[future] = job, attempt
        future.add_done_callback(ended.put)

    with contextlib.closing(progress):
        for job in jobs:
            submit(job, 1)
        while pending:
            with contextlib.suppress(Empty):
                future = ended.get(timeout=PAUSE)  # with a limit, since a signal need not end a wait without
                job, attempt = pending.pop(future)
                fine, line = deliver(job, future.result())
                again = not fine and attempt < job.attempts
                if again:
                    submit(job, attempt + 1)
                else:
                    progress.done += 1
                    failed += [] if fine else [line]
                progress.line(f"[{progress.done}/{len(jobs)}] {line}{'; it is tried again' if again else ''}")
            progress.update(workers.progress())
    return failed


def deliver(job: Job, result: Result) -> tuple[bool, str]:
    """Put the files of a job in place, the stamp last; whether that went well, and a line that says so."""
    failed, error = job.path("failed", "ipynb"), result.error
    try:
        for path in (failed, failed.with_suffix(".json")):
            path.unlink(missing_ok=True)
        if not error:
            job.stamp.unlink(missing_ok=True)  # what is stopped from here on counts as not run
            for path, kind in ((job.copy, "notebook"), (job.path("weights"), "weights")):
                if job.keep_copy and kind in result.files:
                    write_whole(path, result.files[kind])
            write_whole(job.metrics, result.files["metrics"])
            write_whole(job.stamp, job.stamp_text)
            accuracies = " ".join(f"{accuracy:.2f}" for accuracy in result.accuracies)
            return True, f"{job.title}: test accuracy {accuracies}%, {result.seconds:.0f} s"
    except OSError as problem:
        error = error or in_a_line(in_words(problem))
    with contextlib.suppress(OSError):  # a full disk must not hide the reason
        about = {"notebook": job.task.notebook, "seed": job.task.seed, "error": error} | job.identity
        write_whole(failed.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
        if "notebook" in result.files:
            write_whole(failed, result.files["notebook"])
    see = f"; see {shown(failed)}" if failed.exists() else ""
    return False, f"{job.title} failed: {error}{see}"


class Progress:
    """Shows how far the runs are: in a bar at a terminal, else in a line a minute."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.started = self.printed = time.monotonic()
        at_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, bar_format=BAR, dynamic_ncols=True, leave=False) if at_terminal else None

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        print(text, flush=True) if self.bar is None else self.bar.write(text)

    def update(self, rows: dict[str, dict[str, Any]]) -> None:
        """Show the latest epoch of each run, and the time left."""
        now, share = time.monotonic(), self.done + sum(row["epoch"] / row["epochs"] for row in rows.values())
        words = [*map(in_short, rows, rows.values())]
        if self.bar is not None:
            self.bar.n = share
            words = fitting(words, shutil.get_terminal_size().columns - BAR_WIDTH)
            self.bar.set_description_str(words or f"{self.done} of {self.total} runs")
        elif now - self.printed > EVERY:
            self.printed += EVERY
            passed = (now - self.started) / 60
            left = f", about {passed * (self.total - share) / share:.0f} min left" if share else ""
            self.line("; ".join([f"{self.done} of {self.total} runs after {passed:.0f} min{left}", *words]))

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def in_short(title: str, row: dict[str, Any]) -> str:
    """The latest epoch of a run; a stage is named by its number."""
    name = re.sub(r"\b(\d\d)_\w+", r"\1", title).replace(", seed", " seed")
    return f"{name}: {row['epoch']}/{row['epochs']} {row['test_accuracy']:.2f}%"


def fitting(words: list[str], width: int) -> str:
    """As many of the words as fit in a line, and how many more there are."""
    for number in range(len(words), 0, -1):
        more = [f"+{len(words) - number}"] if number < len(words) else []
        if len(text := "; ".join(words[:number] + more)) <= width:
            return text
    return ""


def last_line(file: Path) -> dict[str, Any]:
    """The epoch in the last whole line of a file; nothing, if there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        row = json.loads(file.read_text(encoding="utf-8").rpartition("\n")[0].rpartition("\n")[2])
        if 0 < row["epoch"] <= row["epochs"] and row["test_accuracy"] >= 0:
            return row
    return {}


def record(jobs: list[Job], folder: Path) -> list[int]:
    """Record these jobs' results in `folder`; if there are results of more seeds, only say which seeds it takes."""
    seeds, folders = {job.task.seed for job in jobs}, {job.metrics.parent for job in jobs}
    known = seeds.union(*(seeds_in(path) | seeds_in(folder / path.relative_to(jobs[0].folder)) for path in folders))
    if seeds != known:
        return sorted(known)
    for job in jobs:
        kept = [job.copy, job.path("weights")] if job.keep_copy else []
        for path in filter(Path.exists, [job.metrics, *kept]):
            write_whole(folder / path.relative_to(job.folder), path.read_text(encoding="utf-8"))
    return []


def clear(folder: Path) -> None:
    """Remove what a runner that was killed has left half written; the folder may hold anything else."""
    for path in folder.rglob(".*.part"):
        if re.fullmatch(r"\..+\.[a-z]+\.\d+\.part", path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Lock the folder against other runners; the system unlocks it, even if we are killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another run writes to {folder}: wait for it, or choose --out") from None
    except OSError as problem:
        raise InputError(f"can't write to {folder}: {problem.strerror}") from None
    with lock:
        yield


def shown(path: Path) -> str:
    """A path as short as it can be."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def cores() -> int:
    """The cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
