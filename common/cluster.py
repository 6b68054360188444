"""Runs on the workers of a Dask scheduler, which need not share a disk with this machine."""

import contextlib
import json
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import InputError
from common.execution import Outcome, Task, in_a_line, receive
from common.kernel import THREADS
from common.remote import packed
from common.runtime import commit

try:
    import cloudpickle
    from distributed import Client

    from common import outpost
except ModuleNotFoundError:
    raise InputError("--scheduler needs Dask: pip install -r requirements-cluster.txt") from None

# What a run's numbers, or the talk between the machines, may depend on.
PACKAGES = ("torch", "torchvision", "numpy", "papermill", "matplotlib", "ipykernel", "distributed", "cloudpickle")
LOGGERS = "distributed", "distributed.client", "tornado", "tornado.application"
CONNECT_SECONDS = 10
PACKAGE = Path(__file__).resolve().parent


class Cluster(Executor):
    """An executor of tasks on workers elsewhere; their results are put in place here, as if they had been run here."""

    def __init__(self, address: str, tasks: list[Task]) -> None:
        for name in LOGGERS:  # what goes wrong is told in a line
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.address, self.client = address, connect(address)
        try:
            versions = self.refuse_differences()
            self.outpost = outpost.Outpost(f"series-{uuid.uuid4().hex}", files_of(tasks), versions, THREADS)
            cloudpickle.register_pickle_by_value(outpost)  # workers have no package `common`, or another one
            self.client.register_plugin(self.outpost, self.outpost.name)
        except BaseException:
            self.client.close(timeout=2)
            raise
        self.workers = self.client.get_executor(pure=False)
        self.carry_out = carry_out_at(self.outpost.name)
        self.unfit: set[str] = set()  # addresses of workers whose tasks fail, whatever they are
        self.commit = commit()
        self.settling = ThreadPoolExecutor(1)  # one by one, as Dask's own thread must not wait for the disk

    def refuse_differences(self) -> dict[str, str | None]:
        """The versions that count; InputError if a worker that is there has others."""
        found = self.client.get_versions(packages=PACKAGES)
        here = {name: found["client"]["packages"][name] for name in ("python", *PACKAGES)}
        for address, worker in found["workers"].items():
            if words := outpost.difference(here, worker["packages"]):
                raise InputError(f"worker {address} is not like this machine: {words}; install the same on both")
        return here

    def submit(self, execute: Callable[[Task], Outcome], task: Task) -> Future:
        """Have a task carried out on a worker; the future of its outcome, as `execute` would give it here."""
        future: Future[Outcome] = Future()
        run = self.workers.submit(self.carry_out, packed(task), **self.preference())
        run.add_done_callback(lambda run: future.cancelled() or self.settling.submit(self.settle, task, run, future))
        return future

    def preference(self) -> dict[str, Any]:
        """Only the workers that have not shown to be unfit, once there are such, and as long as there are others."""
        others = self.client.nthreads().keys() - self.unfit if self.unfit else ()
        return {"workers": list(others)} if others else {}

    def settle(self, task: Task, run: Future, future: Future) -> None:
        """Take what a worker sent, and tell it to whoever waits."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self.outcome(task, run.result()))
        except CancelledError:
            gone = InputError(f"the scheduler at {self.address} is gone; when it is back, the same command goes on")
            future.set_exception(gone)
        except Exception as problem:  # of Dask's: workers that died, again and again
            lost = {"error": in_a_line(f"{type(problem).__name__}: {problem}")}
            future.set_result(self.outcome(task, lost))

    def outcome(self, task: Task, answer: dict[str, Any]) -> Outcome:
        """What became of a task, its results put in place."""
        if "unfit" in answer:
            self.unfit.add(answer["unfit"])
        outcome = Outcome(task, answer.get("seconds", 0.0), answer.get("accuracies", []), answer["error"])
        files = answer.get("files", {})
        if "metrics" in files:
            files["metrics"] = with_commit(files["metrics"], self.commit)
        return receive(task, outcome, files)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the workers as they were; what still runs there ends."""
        self.settling.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(Exception):  # the scheduler may be gone
            if self.client.status == "running":
                self.client.unregister_worker_plugin(self.outpost.name)
        self.client.close(timeout=2)


def connect(address: str) -> Client:
    """A client of the scheduler; InputError if there is none."""
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as problem:
        reason = in_a_line(str(problem))
        raise InputError(f"no Dask scheduler can be reached at {address} ({reason}): start one there") from None
    if not client.nthreads():
        print(f"No worker has joined {address} yet: the runs wait for one", flush=True)
    return client


def files_of(tasks: list[Task]) -> dict[str, bytes]:
    """What the runs need: the package, their notebooks, and the pictures beside these."""
    root, notebooks = tasks[0].root, {task.notebook for task in tasks}
    files = {path: path.relative_to(root) for path in [*notebooks, *root.glob("notebooks/*.png")]}
    files |= {path: path.relative_to(PACKAGE.parent) for path in PACKAGE.glob("*.py")}
    return {str(place): path.read_bytes() for path, place in files.items()}


def with_commit(metrics: str, commit: str) -> str:
    """The text of a metrics file that names the commit of this machine, whose code it was that ran."""
    run = json.loads(metrics)
    return json.dumps(run | {"commit": commit}, indent=1, allow_nan=False) + "\n" if "commit" in run else metrics


def carry_out_at(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What workers are to do. A function within a function travels whole; one by name they would look for."""

    def carry_out(task: dict[str, Any]) -> dict[str, Any]:
        from distributed import get_worker

        return get_worker().plugins[name].carry_out(task)

    return carry_out
