"""How long training takes until it is at the goal, beside others, and how many runs an hour makes of it."""

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import data
from common.config import ROOT, InputError, environment, write_whole
from series.contenders import CONTENDERS, LAST_STEP, Settings
from series.execute import ENVIRONMENT
from series.plans import SMOKE, Plan
from series.pool import Workers, cores, threads
from series.pool import run as run_jobs
from series.tasks import make_jobs

ROUNDS = dict.fromkeys(CONTENDERS, 3) | {"pytorch_example": 1, "conventional": 1}  # these two take longest


def run(dataset: str, outputs: Path, smoke: bool = False, rounds: int = 0, names: list[str] | None = None) -> Path:
    """Measure what an interrupted benchmark has not measured yet, and write the record; where it lies.

    One of all contenders, on MNIST and in full, is the recorded one, in `outputs` itself.
    """
    if unknown := set(names or []) - CONTENDERS.keys():
        raise InputError(f"there is no contender {min(unknown)!r}, only {', '.join(CONTENDERS)}")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"This machine is busy (load {load:.1f}): times will be longer than on a quiet one")
    name = "mnist" if dataset == data.MNIST else "rendered"
    scratch = outputs / "scratch" / f"benchmark-{name}{'-smoke' * smoke}"
    parts = scratch / f"torch-{torch.__version__}"
    machine = f"{cores()} cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
    record = {"machine": machine, "dataset": dataset, **environment(torch.device("cpu"))}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(folder, name, **(SMOKE if smoke else {}))
        lay_out(settings)
        counts = {name: rounds or (1 if smoke else ROUNDS[name]) for name in names or CONTENDERS}
        record["contenders"] = take_turns(counts, settings, parts)
    record |= {} if names else {"growth": growth(settings, parts)}
    recorded = dataset == data.MNIST and not (smoke or names)
    path = (outputs if recorded else scratch) / "benchmark.json"
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    if not names:  # it is complete: the next one begins from the start
        shutil.rmtree(parts)
    return path


def lay_out(settings: Settings) -> None:
    """Write the images as the files that torchvision's MNIST reads."""
    for name, values in zip(data.FILES, data.read(settings.data)[1], strict=True):
        values = values[: settings.limit or None].byte().numpy()
        header = struct.pack(f">{1 + values.ndim}i", 0x800 + values.ndim, *values.shape)
        write_whole(Path(settings.folder, "MNIST", "raw", name), header + values.tobytes())


def take_turns(counts: dict[str, int], settings: Settings, parts: Path) -> dict[str, list[dict[str, Any]]]:
    """So many rounds of each contender, who take turns, so that all meet whatever else the machine does."""
    found: dict[str, list] = {name: [] for name in counts}
    for seed in range(max(counts.values())):
        for name in (name for name in counts if seed < counts[name]):
            measure = partial(in_process, name, replace(settings, seed=seed))
            found[name].append(kept(parts / f"{name}, seed {seed}.json", measure))
    return found


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before an interruption; else what is measured now."""
    if not path.exists():
        print(f"Measuring {path.stem}", flush=True)
        write_whole(path, json.dumps(measure()) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def in_process(name: str, settings: Settings) -> dict[str, Any]:
    """What a contender comes to in a process of its own, with the settings that the runner's kernels have."""
    command = [sys.executable, "-m", "series.contenders", name, json.dumps(asdict(settings))]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f"contender {name} failed, for the reason above; the same command goes on from here")
    return json.loads(done.stdout)


def growth(settings: Settings, parts: Path) -> dict[str, dict[str, float]]:
    """How long runs of the last step take side by side: in processes of the runner, and on Dask's workers."""
    ways = {"one process": (1, threads), "two processes": (2, threads), "Dask workers": (cores(), on_dask)}
    return {name: kept(parts / f"{name}.json", partial(time_runs, settings, *way)) for name, way in ways.items()}


def time_runs(settings: Settings, count: int, workers: Callable[[int, Path], AbstractContextManager]) -> dict[str, Any]:
    """The seconds that so many runs of the last step take side by side; in small, it is one."""
    asked, count = ({**SMOKE}, 1) if settings.limit else ({}, count)
    plan = Plan("benchmark", [LAST_STEP], list(range(count)), asked | {"data": settings.data, "device": "cpu"})
    with tempfile.TemporaryDirectory() as folder, workers(count, ROOT) as found:
        started = time.perf_counter()
        outcomes = run_jobs(make_jobs(plan, Path(folder), ROOT), found)
        seconds = time.perf_counter() - started
    if failed := [outcome.words for outcome in outcomes if outcome.error]:
        raise InputError(f"{failed[0]}; the same command goes on from here")
    return {"runs": count, "seconds": seconds}


@contextmanager
def on_dask(count: int, root: Path) -> Iterator[Workers]:
    """Dask's workers on this machine, who find the data in the runner's cache."""
    from distributed import LocalCluster

    from series.dask_pool import CACHE, dask_workers

    with tempfile.TemporaryDirectory() as folder:
        (beside := Path(folder, "dask-scratch-space")).mkdir()
        data.CACHE.mkdir(exist_ok=True)
        (beside / CACHE).symlink_to(data.CACHE)
        cluster = LocalCluster(count, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=folder)
        with cluster, dask_workers(cluster.scheduler_address, root) as workers:
            yield workers
