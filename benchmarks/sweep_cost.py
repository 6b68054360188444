"""What the engine of a sweep costs: `python -m benchmarks.sweep_cost` measures, and writes sweeps/README.md's figures.

`--smoke` shows that it works, and `--part` measures only the throughput, or only the stub points.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.benchmark import machine, two_cores
from benchmarks.machines import Machines
from benchmarks.sweep_text import RECORD, rewrite
from common import chain, cluster
from common.data import ROOT, prepare
from common.files import write_whole
from common.outpost import Outpost

STAGE = 6
TEMPLATE = ROOT / "outputs" / "metrics" / "06_lr_scheduler" / "seed-0.json"
POINT = f'stages = [{STAGE}]\nsplit = "validation"\n'
# Throughput: real notebooks, small, so that what is measured is the engine at its worst.
REAL = {"points": 6, "images": 2000, "rounds": 3}
REAL_SMOKE = {"points": 2, "images": 100, "rounds": 1}
STUBS, STUBS_SMOKE = (1250, 2500, 5000), (20, 40)


class Stub(Outpost):
    """An outpost whose runs take no time: all else is as it is in earnest."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a run would have left: a recorded one's metrics, by its seed."""
        if "verify" in request:
            return {"error": ""}
        run = json.loads(self.files["metrics.json"]) | {"seed": request["task"]["seed"], "split": "validation"}
        return {"error": "", "seconds": 0.0, "accuracies": [99.0], "files": {"metrics": json.dumps(run, indent=1)}}


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for; a full measurement is recorded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--part", choices=["throughput", "stubs"])
    parser.add_argument("--stub-sweep", nargs=3, metavar=("POINTS", "ADDRESS", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.stub_sweep:
        points, address, folder = asked.stub_sweep
        print(json.dumps(stub_sweep(int(points), address, Path(folder))))
        return
    prepare("rendered")
    record: dict[str, Any] = {"machine": machine()}
    with two_cores():
        if asked.part != "stubs":
            record |= throughput(**(REAL_SMOKE if asked.smoke else REAL))
        if asked.part != "throughput":
            record["stubs"] = stub_points(STUBS_SMOKE if asked.smoke else STUBS)
    print(json.dumps(record, indent=1))
    if not asked.smoke and not asked.part:
        write_whole(RECORD, json.dumps(record, indent=1) + "\n")
        rewrite()


def throughput(points: int, images: int, rounds: int) -> dict[str, Any]:
    """Seconds of the same sweep on this machine and on Dask, by one and by two at a time, all in turns."""
    text = POINT + f"seeds = {list(range(points))}\nepochs = 1\nimages = {images}\n"
    found: dict[str, list[float]] = {"here 1": [], "here 2": [], "dask 1": [], "dask 2": []}
    for _ in range(rounds):
        for name, seconds in found.items():
            engine, jobs = name.split()
            seconds.append(timed(text, engine, int(jobs)))
            print(f"{name} at a time: {points} points in {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    return {"points": points, "images": images, "seconds": found} | {
        "speed_up": {
            engine: median(found[f"{engine} 1"]) / median(found[f"{engine} 2"]) for engine in ("here", "dask")
        },
        "overhead": (median(found["dask 1"]) - median(found["here 1"])) / points,
    }


def timed(text: str, engine: str, jobs: int) -> float:
    """The wall clock of a sweep, from the command to its table; workers have started, and know the data set."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if engine == "here":
            return sweep(text, folder, ["--jobs", str(jobs)])
        with Machines(folder / "machines") as machines:
            for number in range(jobs):
                machines.add(f"worker-{number}")
            return sweep(text, folder, ["--scheduler", machines.address])


def sweep(text: str, folder: Path, where: list[str]) -> float:
    """The seconds that a sweep takes as a command of its own."""
    write_whole(folder / "sweep.toml", text)
    command = [sys.executable, "-m", "common.chain", "--data", "rendered", "--device", "cpu"]
    files = ["--sweep", str(folder / "sweep.toml"), "--out", str(folder / "out")]
    started = time.perf_counter()
    subprocess.run([*command, *files, *where], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def stub_points(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """For each size, what a sweep of so many points costs whose runs take no time, on two workers."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as place, Machines(Path(place, "machines")) as machines:
            machines.add("one")
            machines.add("two")
            words = ["--stub-sweep", str(size), machines.address, place]
            command = [sys.executable, "-m", "benchmarks.sweep_cost", *words]
            told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
            scheduler, worker = machines.process("scheduler"), machines.process("one")
            others = {"scheduler_mb": scheduler.memory_info().rss / 1e6, "worker_mb": worker.memory_info().rss / 1e6}
            others["scheduler_cpu"] = sum(scheduler.cpu_times()[:2])
            found.append(json.loads(told.splitlines()[-1]) | others)
            print(found[-1], file=sys.stderr, flush=True)
    return found


def stub_sweep(points: int, address: str, folder: Path) -> dict[str, float]:
    """Run a sweep of stubs: its seconds, and the processor's seconds and the memory of this process."""
    seeds = 5
    rates = [round(0.001 * (number + 1), 3) for number in range(points // seeds)]
    write_whole(folder / "sweep.toml", POINT + f"seeds = {list(range(seeds))}\nlearning_rate = {rates}\n")
    cluster.outpost.Outpost = Stub
    files_of = cluster.files_of
    cluster.files_of = lambda tasks: files_of(tasks) | {"metrics.json": TEMPLATE.read_bytes()}
    chain.prepare = lambda options: "MNIST"
    before, started, cpu = memory(), time.perf_counter(), time.process_time()
    asked = ["--sweep", str(folder / "sweep.toml"), "--out", str(folder / "out"), "--scheduler", address]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = chain.main(asked)
    figures = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    there = len(list((folder / "out").glob("metrics/*/*/*.json")))
    if code or there != points:
        raise RuntimeError(f"{there} of {points} stub points came back, exit code {code}")
    return {"points": points, "before_mb": before, "mb": memory()} | figures


def memory() -> float:
    """MB that this process holds. The highest it ever had would be that of the process it was forked from."""
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    main()
