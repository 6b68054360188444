"""What the runner adds to the training: a real chain, its wall clock against the seconds its notebooks trained."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from common import InputError
from common.data import ROOT

EPOCHS = 15  # of the recorded series


def run_chain(arguments: list[str], jobs: int) -> dict[str, Any]:
    """A chain in a folder of its own: wall clock, the histories of its runs, and the memory of its largest process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "series", "--device", "cpu", "--jobs", str(jobs), "--out", folder]
        started = time.perf_counter()
        chain = subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
        # Of the chain and all that it started and waited for, the kernels among them.
        try:
            _, status, usage = os.wait4(chain.pid, 0)
        except BaseException:
            chain.terminate()  # which it heeds, and ends its kernels
            raise
        chain.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if chain.returncode:
            raise InputError("a chain of the benchmark failed, for the reason above; nothing was recorded")
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("metrics/*/*.json")]
    kilobyte = 1 if sys.platform == "darwin" else 1024  # as the system counts
    histories = [run["history"] for run in runs]
    return {"wall": wall, "histories": histories, "gigabytes": usage.ru_maxrss * kilobyte / 1e9}


def overhead(chain: dict[str, Any], jobs: int) -> float:
    """What a chain of 15 epochs spends beside its training, as a share of the training.

    Beside are kernel start, imports, data, figures, tables, and cores that wait for the last run: whatever of the wall
    clock, on all cores, no notebook trained in. It is the same for few epochs as for many, so few are run.
    """
    trained = sum(row["seconds"] for history in chain["histories"] for row in history)
    beside = chain["wall"] * jobs - trained
    return beside / sum(seconds_of_full_run(history) for history in chain["histories"])


def seconds_of_full_run(history: list[dict]) -> float:
    """How long 15 epochs take, from the seconds of a few: those that measure clean accuracy, and those that don't."""
    clean = mean(row["seconds"] for row in history if row["train_accuracy_clean"] is not None)
    others = [row["seconds"] for row in history if row["train_accuracy_clean"] is None]
    measured = sum(epoch in (1, EPOCHS) or epoch % 5 == 0 for epoch in range(1, EPOCHS + 1))  # as `fit` does
    return clean * measured + (mean(others) if others else clean) * (EPOCHS - measured)
