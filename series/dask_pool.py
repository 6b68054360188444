"""Runs on the workers of a Dask scheduler, which need nothing of this repository: the code travels with the runs."""

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from common.config import ROOT, InputError, commit
from series.execute import THREADS, Result, in_a_line, in_words, versions
from series.pool import Workers
from series.tasks import Task

try:
    from distributed import Client, get_worker
except ModuleNotFoundError:
    raise InputError("--scheduler needs Dask: pip install -r requirements-cluster.txt") from None

CACHE = "mnist-six-steps-data"  # beside the workers' own folders, so that those of one machine share it


@contextlib.contextmanager
def dask_workers(address: str, root: Path, seconds: float = 10) -> Iterator["DaskWorkers"]:
    """The workers of a scheduler; what runs on them ends with the context."""
    for name in ("distributed", "distributed.client", "tornado", "tornado.application"):  # it is told in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as problem:
        reason = in_a_line(str(problem))
        raise InputError(f"no Dask scheduler can be reached at {address} ({reason}): start one there") from None
    try:
        yield DaskWorkers(client, address, archive(root))
    finally:
        client.close(timeout=2)


class DaskWorkers(Workers):
    """Workers elsewhere, whose results come back as if they had been made here."""

    def __init__(self, client: Client, address: str, code: bytes) -> None:
        self.client, self.address, self.commit = client, address, commit()
        self.where = f"on the {len(client.nthreads())} workers of {address}"
        self.code = client.submit(bytes, code)  # a task, so that it is made again where it is lost
        self.carry_out = make_carry_out(versions(), THREADS)
        self.count, self.runs = 0, set()  # Dask cancels what nobody holds
        self.unfit: set[str] = set()  # addresses of workers whose runs fail, whatever they are

    def submit(self, task: Task) -> Future:
        """Have a task executed: the future of its result."""
        future: Future[Result] = Future()
        self.hand_over(task, future)
        return future

    def hand_over(self, task: Task, future: Future) -> None:
        """Send a task to a worker, but to none that is unfit."""
        self.count += 1
        fit = list(self.client.nthreads().keys() - self.unfit) if self.unfit else None
        settings = {"pure": False, "retries": 2, "priority": -self.count, "workers": fit}
        run = self.client.submit(self.carry_out, self.code, asdict(task), **settings)
        self.runs.add(run)
        run.add_done_callback(lambda run: self.take(task, run, future))

    def take(self, task: Task, run: Any, future: Future) -> None:
        """Take what a worker sent; what an unfit one was given goes to another, if there is one."""
        self.runs.discard(run)
        try:
            worker, answer = run.result()
        except CancelledError:
            gone = f"the scheduler at {self.address} is gone; when it is back, the same command goes on"
            return future.set_exception(InputError(gone))
        except Exception as problem:  # of Dask's: workers that died, again and again
            worker, answer = "", {"error": in_a_line(in_words(problem))}
        # Parameters were checked before, so that an InputError is of what the worker has: data, versions, a device.
        kind, _, words = answer["error"].partition("InputError: ")
        if words and not kind:
            self.unfit.add(worker)
            if not self.client.nthreads().keys() - self.unfit:
                return future.set_exception(InputError(f"worker {worker} is not fit: {words}"))
            print(f"worker {worker} is not fit: {words}; {task.title} goes to another", flush=True)
            return self.hand_over(task, future)
        if metrics := answer.get("files", {}).get("metrics"):  # of this machine's code
            run = json.loads(metrics)
            named = run | {"commit": self.commit} if "commit" in run else run
            answer["files"]["metrics"] = json.dumps(named, indent=1, allow_nan=False) + "\n"
        return future.set_result(Result(**answer))


def make_carry_out(versions: dict[str, str], threads: str) -> Callable[[bytes, dict], tuple[str, dict]]:
    """What workers do. A function within a function travels whole, with what it needs of Python's library."""

    def carry_out(code: bytes, task: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        worker, key = get_worker(), get_worker().get_current_task()
        place = Path(worker.local_directory).absolute()
        cache = place.with_name(CACHE)
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as root:
            zipfile.ZipFile(io.BytesIO(code)).extractall(root)
            Path(root, "data").symlink_to(cache)
            answer, log = Path(root, "answer"), Path(root, "log")
            settings = {"cwd": root, "env": os.environ | {"OMP_NUM_THREADS": threads}, "text": True, "stdin": PIPE}
            with answer.open("w") as out, log.open("w") as err:
                process = Popen([sys.executable, "-m", "series.execute"], stdout=out, stderr=err, **settings)
                with process.stdin as line:  # when it is closed, the run ends
                    print(json.dumps({"task": task, "versions": versions}), file=line, flush=True)
                    while process.poll() is None and worker.state.tasks[key].state != "cancelled":
                        time.sleep(0.2)
            if process.wait():
                said = log.read_text().strip().splitlines()[-1:]
                return worker.address, {"error": " ".join([f"its process ended with {process.returncode}:", *said])}
            return worker.address, json.loads(answer.read_text())

    return carry_out


def archive(root: Path) -> bytes:
    """What runs need: the code of these packages, and the notebooks at `root`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for base, pattern in ((ROOT, "common/**/*.py"), (ROOT, "series/*.py"), (root, "notebooks/*")):
            for path in filter(Path.is_file, base.glob(pattern)):
                file.write(path, path.relative_to(base))
    return buffer.getvalue()
