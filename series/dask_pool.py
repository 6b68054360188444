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
from series.execute import Result, in_a_line
from series.kernel import THREADS
from series.pool import Workers
from series.tasks import Task

try:
    from distributed import Client, get_worker
    from distributed.versions import get_versions
except ModuleNotFoundError:
    raise InputError("--scheduler needs Dask: pip install -r requirements-cluster.txt") from None

CACHE = "mnist-six-steps-data"  # beside the workers' own folders, so that those of one machine share it
# What a run's numbers, or the talk between the machines, may depend on.
PACKAGES = ("torch", "torchvision", "numpy", "papermill", "matplotlib", "ipykernel", "distributed")


@contextlib.contextmanager
def dask_workers(address: str, root: Path, seconds: float = 10) -> Iterator["DaskWorkers"]:
    """The workers of a scheduler, all of which have the versions of this machine; they stop when the context ends."""
    for name in ("distributed", "distributed.client", "tornado", "tornado.application"):  # it is told in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as problem:
        reason = in_a_line(str(problem))
        raise InputError(f"no Dask scheduler can be reached at {address} ({reason}): start one there") from None
    try:
        here = get_versions(PACKAGES)["packages"]
        misfit, carry_out = for_workers({name: here[name] for name in ("python", *PACKAGES)}, THREADS)
        for worker, words in client.run(misfit).items():
            if words:
                raise InputError(f"worker {worker} is not like this machine: {words}; install the same on both")
        yield DaskWorkers(client, address, carry_out, archive(root))
    finally:
        client.close(timeout=2)


class DaskWorkers(Workers):
    """Workers elsewhere, whose results come back as if they had been made here."""

    def __init__(self, client: Client, address: str, carry_out: Callable, code: bytes) -> None:
        self.client, self.address, self.carry_out, self.commit = client, address, carry_out, commit()
        self.where = f"on the {len(client.nthreads())} workers of {address}"
        self.code = client.submit(bytes, code)  # a task, so that it is made again where it is lost
        self.count, self.runs = 0, set()  # Dask cancels what nobody holds
        self.unfit: set[str] = set()  # addresses of workers whose runs fail, whatever they are

    def submit(self, task: Task) -> Future:
        future: Future[Result] = Future()
        self.hand_over(task, future)
        return future

    def hand_over(self, task: Task, future: Future) -> None:
        """Send a task to a worker, not to one that is unfit if there are others."""
        fit = list(self.client.nthreads().keys() - self.unfit) if self.unfit else None
        self.count += 1
        settings = {"pure": False, "retries": 2, "priority": -self.count, "workers": fit or None}
        run = self.client.submit(self.carry_out, self.code, asdict(task), **settings)
        self.runs.add(run)
        run.add_done_callback(lambda run: self.take(task, run, future))

    def take(self, task: Task, run: Any, future: Future) -> None:
        """Take what a worker sent; what an unfit one was given goes to another."""
        self.runs.discard(run)
        try:
            answer = run.result()
        except CancelledError:
            gone = f"the scheduler at {self.address} is gone; when it is back, the same command goes on"
            return future.set_exception(InputError(gone))
        except Exception as problem:  # of Dask's: workers that died, again and again
            answer = {"error": in_a_line(f"{type(problem).__name__}: {problem}")}
        if "unfit" in answer:
            self.unfit.add(answer.pop("unfit"))
            if self.client.nthreads().keys() - self.unfit:
                return self.hand_over(task, future)
        if metrics := answer.get("files", {}).get("metrics"):  # of this machine's code
            run = json.loads(metrics)
            named = run | {"commit": self.commit} if "commit" in run else run
            answer["files"]["metrics"] = json.dumps(named, indent=1, allow_nan=False) + "\n"
        return future.set_result(Result(**answer))


def for_workers(
    versions: dict[str, str | None], threads: str
) -> tuple[Callable[[], str], Callable[[bytes, dict], dict]]:
    """What workers do: say why they are not fit, and carry out a task.

    A function within a function travels whole, with what it needs of Python's library; workers would look for others.
    """

    def misfit() -> str:
        found = get_versions(versions.keys() - {"python"})["packages"]
        other = [name for name in versions if found[name] != versions[name]]
        return f"it has {other[0]} {found[other[0]]}, the runner {versions[other[0]]}" if other else ""

    def unfit(words: str) -> dict[str, str]:
        address = get_worker().address
        return {"error": f"worker {address} is not fit: {words}", "unfit": address}

    def carry_out(code: bytes, task: dict[str, Any]) -> dict[str, Any]:
        if words := misfit():
            return unfit(words)
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
                    print(json.dumps(task), file=line, flush=True)
                    while process.poll() is None and worker.state.tasks[key].state != "cancelled":
                        time.sleep(0.2)
            if process.wait():
                said = log.read_text().strip().splitlines()[-1:]
                return {"error": " ".join([f"the run's process ended with {process.returncode}:", *said])}
            result = json.loads(answer.read_text())
        # Parameters were checked before, so that an InputError is of what the worker has: data, or a device.
        kind, _, words = result["error"].partition("InputError: ")
        return result | unfit(words) if words and not kind else result

    return misfit, carry_out


def archive(root: Path) -> bytes:
    """What runs need: the code of these packages, and the notebooks at `root`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for base, pattern in ((ROOT, "common/**/*.py"), (ROOT, "series/*.py"), (root, "notebooks/**/*")):
            for path in filter(Path.is_file, base.glob(pattern)):
                file.write(path, path.relative_to(base))
    return buffer.getvalue()
