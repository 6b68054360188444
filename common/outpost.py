"""What a Dask worker is given: the code of the runs, in a folder of its own, and how to start one.

It travels to workers that have nothing of this repository, so Dask and the standard library are all it needs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Lock
from typing import Any

from distributed import Worker, WorkerPlugin
from distributed.versions import get_versions

CACHE = "mnist-six-steps-data"  # beside the workers' own folders, so that those of one machine share it
PAUSE, LONGEST_PAUSE = 0.1, 60.0  # seconds


class Outpost(WorkerPlugin):
    """The code on one worker. A run is a process of its own there: no two versions of the code ever meet."""

    def __init__(self, name: str, files: dict[str, bytes], versions: dict[str, str | None], threads: str) -> None:
        self.name, self.files, self.versions, self.threads = name, files, versions, threads

    def setup(self, worker: Worker) -> None:
        """Unpack; called on every worker, on those that join later, too."""
        self.address = worker.address
        self.complaint = difference(self.versions, get_versions(self.versions.keys() - {"python"})["packages"])
        self.root = Path(worker.local_directory, self.name).absolute()
        for path, content in self.files.items():
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        cache = self.root.parent.with_name(CACHE)
        cache.mkdir(exist_ok=True)
        (self.root / "data").symlink_to(cache)
        self.lock, self.verified, self.processes, self.refused = Lock(), {}, set(), 0

    def teardown(self, worker: Worker) -> None:
        """End what still runs, as the runner has gone, and leave the worker as it was."""
        for process in list(self.processes):
            process.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def carry_out(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run a task, if this worker is fit for it: the answer of `common.remote`, or why there is none."""
        complaint = self.complaint or self.complaint_of(task["parameters"]["data"])
        if complaint:
            # Longer and longer, or a worker that refuses at once would be free for every run there is.
            time.sleep(min(self.refused * PAUSE, LONGEST_PAUSE))
            self.refused += 1
            return {"error": f"worker {self.address} is not fit: {complaint}", "unfit": self.address}
        return self.ask({"task": task})

    def complaint_of(self, data: str) -> str:
        """What is wrong with the data set that this worker has; it is looked at once."""
        with self.lock:
            if data not in self.verified:
                self.verified[data] = self.ask({"verify": data})["error"]
            return self.verified[data]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `common.remote` answers, in a process that ends with this one: its input then closes."""
        with tempfile.TemporaryDirectory(dir=self.root, ignore_cleanup_errors=True) as folder:
            Path(folder, "request.json").write_text(json.dumps(request))
            words = [sys.executable, "-m", "common.remote", folder]
            given = os.environ | {"OMP_NUM_THREADS": self.threads}
            with Path(folder, "log").open("wb") as log:
                process = subprocess.Popen(words, cwd=self.root, env=given, stdin=-1, stdout=log, stderr=log)
            self.processes.add(process)
            try:
                process.wait()
            finally:
                process.stdin.close()
                self.processes.discard(process)
            try:
                return json.loads(Path(folder, "answer.json").read_text())
            except (OSError, ValueError):
                said = Path(folder, "log").read_text(errors="replace").strip().splitlines()[-1:]
                return {"error": " ".join([f"the run's process ended with {process.returncode}:", *said])}


def difference(here: dict[str, str | None], there: dict[str, str | None]) -> str:
    """The first difference between the versions that the runner has and those of a worker, in words."""
    found = [name for name in here if here[name] != there.get(name)]
    return f"it has {found[0]} {there.get(found[0])}, the runner {here[found[0]]}" if found else ""
