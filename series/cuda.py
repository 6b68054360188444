"""What a GPU makes of the series, in about ten minutes; on a processor, in small, it rehearses."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import torch

from common.config import ROOT, InputError, choose_device, environment, write_whole
from common.runs import MNIST, Runs
from common.train import Captured, train_epoch
from series.contenders import LAST_STEP, run_cells
from series.pool import cores

CELLS = "parameters imports data net idea fit"
Figures = dict[str, Any]


def run_series(arguments: list[str], folder: Path) -> float:
    """The seconds of a command, from its start to its table."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "series", *arguments, "--out", str(folder)], cwd=ROOT)
    if done.returncode:
        raise InputError("a chain of the benchmark failed, for the reason above: mend that first")
    return time.perf_counter() - started


def run(
    dataset: str,
    outputs: Path,
    device: str,
    smoke: bool = False,
    series: Callable[[list[str], Path], float] = run_series,
) -> Path:
    """Measure one thing after the other, up to the first that fails; where the record lies.

    That of a GPU, on MNIST and in full, is the recorded one, in `outputs/cuda`.
    """
    place, name = choose_device(device), "mnist" if dataset == MNIST else "rendered"
    folder = outputs / "scratch" / f"benchmark-{name}-{place.type}{'-smoke' * smoke}"
    shutil.rmtree(folder, ignore_errors=True)
    asked = {"device": place.type, "data": name, "limit": 600 * smoke}
    command = ["--device", place.type, "--data", name, *["--smoke"] * smoke]
    seeds = [str(seed) for seed in range(2 if smoke else 10)]
    measurements = {
        "again": partial(train_twice, asked | {"epochs": 2 if smoke else 15}),
        "apart": partial(step_apart, asked | {"dropout": 0.0}),
        "step": partial(look_into_steps, asked),
        "chain": partial(time_series, series, [*command, "--seeds", "0"], folder),
        "seeds": partial(time_series, series, [*command, "--stages", LAST_STEP[:2], "--seeds", *seeds], folder),
    }
    record = {"dataset": dataset, **environment(place), "cores": cores(), "mps": shares_gpu()}
    for name, measure in measurements.items():
        record[name] = measure()
        print(f"{name}: {record[name]}", flush=True)
        write_whole(folder / "benchmark.json", json.dumps(record, indent=1) + "\n")
    if place.type == "cuda" and dataset == MNIST and not smoke:
        shutil.rmtree(outputs / "cuda", ignore_errors=True)
        folder = folder.rename(outputs / "cuda")
    return folder / "benchmark.json"


def shares_gpu() -> bool:
    """Whether NVIDIA's MPS runs, which lets processes compute on a GPU at the same time."""
    return any(process.name().startswith("nvidia-cuda-mps") for process in psutil.process_iter())


def train_twice(asked: Figures) -> Figures:
    """Whether a seed gives the same figures twice, and what an epoch and a run take."""
    first, second = (run_cells(LAST_STEP, CELLS, parameters=asked)["history"] for _ in range(2))
    same = all(one | {"seconds": other["seconds"]} == other for one, other in zip(first, second, strict=True))
    memory = torch.cuda.max_memory_reserved() / 1e9 if asked["device"] == "cuda" else None
    return {"same": same, "seconds_an_epoch": mean(row["seconds"] for row in second), "gigabytes": memory}


def step_apart(asked: Figures) -> Figures:
    """How far a processor's weights and the device's are apart after one step, and how far that step was."""
    found = [prepared(asked | {"device": device}) for device in ("cpu", asked["device"])]
    before = weights(found[0])
    for names in found:
        take_steps(names, 1)
    one, other = map(weights, found)
    return {"apart": (one - other).abs().max().item(), "moved": (one - before).abs().max().item()}


def prepared(asked: Figures) -> Figures:
    """The names that the last notebook has when it is about to train."""
    return run_cells(LAST_STEP, CELLS, parameters=asked, imports={"fit": lambda *given: []})


def weights(names: Figures) -> torch.Tensor:
    """All weights of a network, as they are now, in a row."""
    return torch.cat([weight.detach().flatten().cpu().clone() for weight in names["net"].parameters()])


def take_steps(names: Figures, count: int, work: Captured | None = None) -> None:
    """The first steps of an epoch."""
    train_epoch(names["net"], islice(names["train_loader"], count), names["optimizer"], names["scheduler"], work)


def look_into_steps(asked: Figures) -> Figures:
    """What the steps of an epoch are made of: kernels, launches, and how often the program waits for the GPU."""
    names, on_gpu = prepared(asked), asked["device"] == "cuda"
    count = min(200, len(names["train_loader"]) - 2)
    work = Captured(names["net"], names["optimizer"]) if on_gpu else None
    take_steps(names, 2, work)
    with torch.profiler.profile() as profile:
        take_steps(names, count, work)
    with tempfile.TemporaryDirectory() as folder:
        profile.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    few, many = (waits(partial(take_steps, names, steps, work)) if on_gpu else 0 for steps in (2, 2 + count))
    found = {"graph": bool(work and work.graph), "waits": (many - few) / count if on_gpu else None}
    return shares(events, count) | found


def shares(events: list[Figures], steps: int) -> Figures:
    """Kernels and launches of a step, and the share of the time in which the GPU computes, from a profiler's trace."""
    at_work = [event for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    launches = [event for event in events if str(event.get("cat")).startswith("cuda_") and "Launch" in event["name"]]
    busy = None
    if at_work:
        span = max(event["ts"] + event["dur"] for event in at_work) - min(event["ts"] for event in at_work)
        busy = sum(event["dur"] for event in at_work) / span
    return {"kernels": len(at_work) / steps, "launches": len(launches) / steps, "busy": busy}


def waits(work: Callable[[], None]) -> int:
    """How often the program waits for the GPU meanwhile."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in found)


def time_series(series: Callable[[list[str], Path], float], arguments: list[str], folder: Path) -> Figures:
    """The seconds of some runs, whose metrics and last notebook are kept, and how many runs of the last step hold."""
    with tempfile.TemporaryDirectory() as name:
        seconds = series(arguments, results := Path(name))
        runs = Runs.read(results / "metrics" / LAST_STEP)
        shutil.copytree(results / "metrics", folder / "metrics", dirs_exist_ok=True)
        shutil.copy(results / f"{LAST_STEP}.ipynb", folder)
        made = len(list(results.glob("metrics/*/*.json")))
    return {"seconds": seconds, "runs": made, "accuracy": runs.end, "holding": runs.holding, "of": len(runs)}
