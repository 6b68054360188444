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
    for name in ("distributed", "distributed.client", "tornado", "tornado.application"):  # errors are said in a line
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
        future: Future[Result] = Future()
        self.send(task, future)
        return future

    def fit(self) -> list[str]:
        """The addresses of the workers that may have runs."""
        return [*self.client.nthreads().keys() - self.unfit]

    def send(self, task: Task, future: Future) -> None:
        """Send a task to a worker that is not unfit, older tasks first."""
        self.count += 1
        settings = {"pure": False, "retries": 2, "priority": -self.count, "workers": self.fit() if self.unfit else None}
        run = self.client.submit(self.carry_out, self.code, asdict(task), **settings)
        self.runs.add(run)
        run.add_done_callback(lambda run: self.receive(task, run, future))

    def receive(self, task: Task, run: Any, future: Future) -> None:
        """Accept what a worker sent; a run that came from an unfit one goes to another, if there is one."""
        self.runs.discard(run)
        try:
            if run.cancelled():  # also by a client that is being closed, whose `result` might wait for ever
                raise CancelledError
            worker, answer = run.result(timeout=60)
        except CancelledError:
            gone = f"the scheduler at {self.address} is gone; when it is back, the same command goes on"
            return future.set_exception(InputError(gone))
        except Exception as problem:  # of Dask's: workers that died, again and again
            return future.set_result(Result(error=in_a_line(in_words(problem))))
        # Parameters were checked before, so that an InputError is about what the worker has: data, versions, a device.
        if answer["error"].startswith("InputError: "):
            unfit = f"worker {worker} is not fit: {answer['error'].removeprefix('InputError: ')}"
            self.unfit.add(worker)
            if not self.fit():
                return future.set_exception(InputError(unfit))
            print(f"{unfit}; {task.title} goes to another", flush=True)
            return self.send(task, future)
        if metrics := answer["files"].get("metrics"):
            found = json.loads(metrics)
            found |= {"commit": self.commit} if "commit" in found else {}  # the code is this machine's
            answer["files"]["metrics"] = json.dumps(found, indent=1, allow_nan=False) + "\n"
        return future.set_result(Result(**answer))


def make_carry_out(versions: dict[str, str], threads: str) -> Callable[[bytes, dict], tuple[str, dict]]:
    """What workers do: a function within a function, which travels whole, with what it needs of Python's library."""

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
                error = " ".join([f"its process ended with {process.returncode}:", *said])
                return worker.address, {"error": error, "files": {}}
            return worker.address, json.loads(answer.read_text())

    return carry_out


def archive(root: Path) -> bytes:
    """What runs need: the code of these packages, and the notebooks at `root`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for base, pattern in ((ROOT, "common/**/*.py"), (ROOT, "series/*.py"), (root, "notebooks/**/*")):
            for path in filter(Path.is_file, base.glob(pattern)):
                file.write(path, path.relative_to(base))
    return buffer.getvalue()
