"""The benchmark as a whole: everything measured, then one record, one figure, and the table for the README."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common.canvas import save
from common.files import write_whole
from common.runtime import environment

from benchmarks import measures
from benchmarks.measures import SMALL, STAGES, TRICKS, Bench, Figures, Sizes
from benchmarks.processes import Worker
from common import speed
from common.runs import MNIST
from series.execute import ENVIRONMENT

CORES = 2  # what the bars are about
# The forms that one call of a tutorial's script can have; the best of them is what ours is held against.
CONVENTIONAL = "conventional, 0 workers", "conventional, 2 workers", "conventional, 2 workers, one thread"


def run(dataset: str, outputs: Path, smoke: bool = False) -> Path:
    """Measure, and write the record and its figure; where they lie. Only a full run on MNIST is recorded."""
    recorded = dataset == MNIST and not smoke
    folder = outputs if recorded else outputs / "scratch" / f"benchmark-{'smoke' if smoke else 'full'}"
    record = measure(dataset, SMALL if smoke else Sizes())
    path = folder / "benchmark.json"
    save(speed.rates(record), folder / "figures" / "benchmark.png")
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return path


def measure(dataset: str, sizes: Sizes) -> dict[str, Any]:
    """All that is measured, on two cores; told on the way, since it takes minutes."""
    data = "mnist" if dataset == MNIST else "rendered"
    with contextlib.ExitStack() as processes:
        processes.enter_context(two_cores())
        ours = [processes.enter_context(Worker(ENVIRONMENT)) for _ in range(CORES)]
        usual = [processes.enter_context(Worker()) for _ in range(CORES)]
        bench = Bench(ours, usual, data, sizes)
        rates = told("images per second", measures.throughput, bench)
        figures = ratios(rates, measures.flops(bench))
        figures |= prefixed("growth", told("growth", measures.growth, bench))
        figures["memory_growth"] = told("memory", measures.memory_growth, bench)
        figures |= prefixed("neighbour", told("neighbour", measures.neighbour, bench))
    with two_cores():  # without the workers, which would take memory from the chains
        figures["growth_seeds"] = told("seeds", measures.growth_by_seeds, bench)
        chain = told("chain", measures.whole_chain, bench)
    figures |= {"chain_overhead": chain["overhead"], "peak_memory": chain["gigabytes"]}
    del rates["matrix product"]
    return describe(dataset, figures, rates)


def told(name: str, measurement: Any, bench: Bench) -> Any:
    """A measurement's figures, after a line that says what it is at."""
    print(f"Measuring: {name}", flush=True)
    return measurement(bench)


def ratios(rates: Figures, flops: float) -> Figures:
    """Ours over the conventional forms and over the arithmetic, round by round."""
    best = rates[max(CONVENTIONAL, key=lambda form: median(rates[form]))]
    by_stage = [divided(rates[f"ours {stage}"], best) for stage in STAGES]

    def over_arithmetic(form: str) -> list[float]:
        return [rate / flops for rate in divided(rates["matrix product"], rates[form])]

    return {
        "ratio_conventional": min(by_stage, key=median),
        "ratio_conventional_alone": divided(rates["ours alone"], rates["conventional alone"]),
        "ratio_conventional_pair": divided(rates[f"ours {STAGES[-1]}"], rates["conventional, two side by side"]),
        "ratio_floor": over_arithmetic("ours as recorded"),
        **{f"ratio_floor_{name(form)}": over_arithmetic(f"ours {form}") for form in TRICKS if f"ours {form}" in rates},
    }


def divided(above: list[float], below: list[float]) -> list[float]:
    """Round by round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def prefixed(prefix: str, figures: Figures) -> Figures:
    """The figures by longer names."""
    return {f"{prefix}_{name(form)}": found for form, found in figures.items()}


def name(form: str) -> str:
    """What the record calls a form."""
    return form.removeprefix("in the ").removeprefix("in ").replace(" ", "_")


def describe(dataset: str, figures: Figures, rates: Figures) -> dict[str, Any]:
    """The record: each figure's median at the top, its rounds below."""
    return {
        **{name: median(found) for name, found in figures.items()},
        "machine": machine(),
        "dataset": dataset,
        **environment(torch.device("cpu")),
        "stages": list(STAGES),
        "measured": {name: with_spread(found) for name, found in figures.items()},
        "images_per_second": {name: with_spread(found) for name, found in rates.items()},
    }


def with_spread(found: list[float]) -> dict[str, Any]:
    """The rounds of a figure, their median, the lowest and the highest."""
    return {"median": median(found), "spread": [min(found), max(found)], "rounds": found}


def machine() -> str:
    """The machine in words: what it computes with, not what it is called."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{min(CORES, os.cpu_count() or 1)} cores ({platform.machine()}, {capability}), no GPU"


@contextlib.contextmanager
def two_cores() -> Iterator[None]:
    """Keep to two cores where there are more, with all processes started meanwhile."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usual)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
