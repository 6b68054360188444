"""The processes of a benchmark: workers that train on request, alone or side by side, and a busy neighbour."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from common import InputError
from common.data import ROOT


class Worker:
    """A process that `benchmarks.worker` runs in; to be used as a context, which ends it."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks.worker"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | (environment or {}), stdin=pipe, stdout=pipe, text=True
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *problem: object) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # which ends it, unless it is at work
        if any(problem):
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def begin(self, do: str, **task: Any) -> None:
        """Hand it a task."""
        with contextlib.suppress(OSError):  # one that has died is told of by `end`
            self.process.stdin.write(json.dumps({"do": do, **task}) + "\n")
            self.process.stdin.flush()

    def end(self) -> dict:
        """Wait for its answer."""
        answer = self.process.stdout.readline()
        if not answer:
            raise InputError("a process of the benchmark ended early, for the reason above; nothing was recorded")
        return json.loads(answer)


def together(processes: list[Worker], do: str, **task: Any) -> list[dict]:
    """The answers of workers that do the same at the same time."""
    for process in processes:
        process.begin(do, **task)
    return [process.end() for process in processes]


def rate(answers: list[dict], what: str = "images") -> float:
    """How much was done in a second, by all of them until the last one had finished."""
    return sum(answer[what] for answer in answers) / max(answer["seconds"] for answer in answers)


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """A process that spins on one core meanwhile."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()
