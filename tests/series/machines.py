"""A Dask scheduler and workers as processes of this machine, each in a folder of its own, as if on machines apart."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
from fake_series import wait_until

from series.dask_pool import CACHE


class Machines:
    """They share no folder with one another or with the repository, and end with the context."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, {}
        self.start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_until((folder / "scheduler.json").exists)
        self.address = json.loads((folder / "scheduler.json").read_text())["address"]

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *problem: object) -> None:
        """Leave no process behind."""
        for name in list(self.processes):
            for child in self.kill(name):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Start one of Dask's commands, far from this package."""
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        file = ["--scheduler-file", str(self.folder / "scheduler.json"), "--no-dashboard"]
        given = {key: value for key, value in os.environ.items() if key not in ("MNIST_DIR", "PYTHONPATH")}
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *arguments, *file]
            self.processes[name] = subprocess.Popen(command, cwd=place, env=given | environment, stdout=log, stderr=log)

    def add(self, *names: str, digits: str = "", **environment: str) -> None:
        """More workers, that have joined when this returns, and find `digits` beside their folder."""
        for name in names:
            cache = self.folder / name / "dask-scratch-space" / CACHE
            cache.mkdir(parents=True)
            (cache / "digits").write_text(digits)
            settings = ["--nthreads", "1", "--no-nanny", "--local-directory", "."]
            self.start(name, "worker", *settings, WORKER=name, **environment)
        for name in names:
            wait_until(lambda name=name: "Registered to" in (self.folder / f"{name}.log").read_text())

    def process(self, name: str) -> psutil.Process:
        """The process of one."""
        return psutil.Process(self.processes[name].pid)

    def kill(self, name: str) -> list[psutil.Process]:
        """End one as a power cut does; the processes that it had started."""
        children = self.process(name).children(recursive=True) if self.processes[name].poll() is None else []
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        return children
