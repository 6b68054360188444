"""A small series of notebooks without torch, to try the runner on; data and reports are stand-ins, too."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from series.__main__ import PLANS, Runner
from series.options import COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
STAND_IN = "rendered digits, not MNIST"
PARAMETERS = """\
seed = 0
epochs = 15
batch_size = 64
learning_rate = 0.1
nesterov = False
device = "auto"
data = "auto"
split = "test"
limit = 0
rule = ""
out = ""
"""
# Writes a metrics file that depends on seed and rate alone.
WRITE_METRICS = """\
import json, random
from pathlib import Path

draw = random.Random(seed + learning_rate)
run = {
    "stage": stage, "seed": seed, "dataset": "MNIST" if data == "mnist" else "rendered digits, not MNIST",
    "split": split, "epochs": epochs, "batch_size": batch_size, "hyperparameters": {"learning_rate": learning_rate},
    "images": {"train": limit or (60000 if split == "test" else 50000)}, "commit": "abc",
    "history": [{"epoch": n + 1, "test_accuracy": 99 + draw.random()} for n in range(epochs)],
}
file = Path(out, "metrics", stage, f"seed-{seed}.json")
file.parent.mkdir(parents=True)
file.write_text(json.dumps(run, indent=1) + "\\n")
print("written by", Path.home() / "code.py")
"""
WRITE_WEIGHTS = """
file = Path(out, "weights", stage, f"seed-{seed}.json")
file.parent.mkdir(parents=True)
file.write_text("[]")
"""


# In place of the real reports: functions of the same names.
for command in COMMANDS:
    globals()[command] = lambda *asked, command=command: f"the table of {command}"


class Series:
    """A folder laid out like the repository, and the runner at work in it."""

    def __init__(self, root: Path, dataset: str = "MNIST") -> None:
        self.root, self.dataset, self.outputs, self.plans = root, dataset, root / "outputs", PLANS
        (root / "notebooks").mkdir(parents=True)

    def add(self, name: str, code: str = WRITE_METRICS, parameters: str = PARAMETERS, stage: str = "") -> "Series":
        """One more notebook: its set-up, its parameters, the name of its stage, `code`."""
        sources = {"setup": "", "parameters": parameters, "name": stage or f"stage = {name!r}", "code": code}
        cells = [
            {
                "cell_type": "code",
                "id": id,
                "metadata": {"tags": [id]} if id == "parameters" else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for id, source in sources.items()
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (self.root / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook))
        return self

    def plan(self, text: str, name: str = "rates") -> str:
        """The path of a plan's file."""
        path = self.root / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run(self, *arguments: object) -> int:
        """The runner's exit code."""
        runner = Runner(self.root, self.plans, lambda parameters, here: self.dataset, "fake_series")
        return runner.main([str(word) for word in arguments])

    def start(self, *arguments: object, limit: int = 0, **environment: str) -> subprocess.Popen:
        """A runner as a process of its own, whose files can't be larger than `limit` bytes."""
        code = f"""
import resource, sys
from pathlib import Path
from fake_series import PLANS, Runner
from series.__main__ import heed_signals

if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
heed_signals()
sys.exit(Runner(Path({str(self.root)!r}), PLANS, lambda *asked: {self.dataset!r}, "fake_series").main(sys.argv[1:]))
"""
        given = os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"} | environment
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(folder: Path) -> dict[str, bytes]:
    """What runs leave: metrics and executed copies."""
    paths = [*folder.glob("metrics/**/*.json"), *folder.glob("*.ipynb"), *folder.glob("executed/**/*.ipynb")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def kill(runner: subprocess.Popen) -> None:
    """End a process as the system does, which asks nobody; what it had started must end by itself."""
    started = psutil.Process(runner.pid).children(recursive=True) if runner.poll() is None else []
    runner.kill()
    runner.communicate()
    wait_until(lambda: all(map(has_ended, started)))


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also where nobody clears away what has."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Poll, within bounds that hold on a busy machine, too."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
