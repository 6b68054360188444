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
    """They share no folder with one another or with the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes, self.killed = folder, {}, 0
        self.start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0")
        file = folder / "scheduler.json"
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        self.address = json.loads(file.read_text())["address"]

    def log(self, name: str) -> str:
        """What a machine has printed."""
        return (self.folder / f"{name}.log").read_text()

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Start one of Dask's commands, far from this package."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        file = ["--scheduler-file", str(self.folder / "scheduler.json"), "--no-dashboard"]
        given = {key: value for key, value in os.environ.items() if key not in ("MNIST_DIR", "PYTHONPATH")}
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *arguments, *file]
            self.processes[name] = subprocess.Popen(
                command, cwd=folder, env=given | environment, stdout=log, stderr=log
            )

    def have(self, *names: str, digits: str = "", **environment: str) -> None:
        """Have these workers and no others; new ones have joined when this returns, and find `digits` as their data."""
        for name in self.processes.keys() - {"scheduler", *names}:
            self.kill(name)
        new = [name for name in names if name not in self.processes]
        for name in new:
            cache = self.folder / name / "dask-scratch-space" / CACHE
            cache.mkdir(parents=True, exist_ok=True)
            (cache / "digits").write_text(digits)
            settings = ["--nthreads", "1", "--no-nanny", "--local-directory", "."]
            self.start(name, "worker", *settings, WORKER=name, **environment)
        for name in new:
            wait_until(lambda name=name: "Registered to" in self.log(name))

    def process(self, name: str) -> psutil.Process:
        """The process of one."""
        return psutil.Process(self.processes[name].pid)

    def kill(self, name: str) -> list[psutil.Process]:
        """End one as a power cut does; the processes that it had started."""
        process = self.processes.pop(name)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        if "scheduler" in self.processes:
            self.killed += 1
            wait_until(lambda: self.log("scheduler").count("Remove worker") >= self.killed)
        return children

    def close(self) -> None:
        """Leave no process behind."""
        for name in ["scheduler", *self.processes.keys() - {"scheduler"}]:
            for child in self.kill(name) if name in self.processes else []:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
