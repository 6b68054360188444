"""What the engine of a sweep costs, in the words of its page: a record in, lines of markdown out."""

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from common.notebooks import SERIES
from common.runs import RECORDED, ROOT, Runs, load_runs
from common.summary import fill

RECORD, PAGE = RECORDED / "sweep-cost.json", ROOT / "sweeps" / "README.md"
MANY = 10_000  # points, on paper
ENGINES = {"here": "this machine", "dask": "Dask"}


def rewrite() -> None:
    """Bring the page up to the record, and to the recorded runs that it tells of."""
    if RECORD.exists():
        fill(PAGE, {"cost": section(json.loads(RECORD.read_text()))}, "python -m benchmarks.sweep_cost")


def section(record: dict[str, Any]) -> list[str]:
    """The figures, and what follows from them for many points."""
    return [*throughput(record), "", *stubs(record), "", *on_paper(record, load_runs(RECORDED, SERIES[-1]))]


def throughput(record: dict[str, Any]) -> list[str]:
    """How fast small real points are run, by one and by two at a time."""
    points, found = record["points"], record["seconds"]
    rows = [
        f"| {ENGINES[engine]} | {per_minute(points, found[f'{engine} 1'])} | {per_minute(points, found[f'{engine} 2'])}"
        f" | {record['speed_up'][engine]:.2f} |"
        for engine in ENGINES
    ]
    return [
        f"Measured on {record['machine']}; the median of {len(found['here 1'])} rounds, all forms in turns. A sweep of"
        f" {points} points of stage 6, an epoch on {record['images']:,} images each, in points a minute:",
        "",
        "| engine | 1 worker | 2 workers | gain |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        f"Dask adds **{record['overhead']:.1f} s a point**: most of it is that every run starts a Python of its own,"
        " where this machine's runs share one.",
    ]


def per_minute(points: int, seconds: list[float]) -> str:
    """Points a minute."""
    return f"{60 * points / median(seconds):.1f}"


def stubs(record: dict[str, Any]) -> list[str]:
    """Time and memory by the number of points whose runs take no time."""
    lines = [
        "Points whose runs take no time, from the command to its table and figure, on two workers:",
        "",
        "| points | seconds | ms a point | CPU of the runner, ms a point | of the scheduler | memory of the runner, MB"
        " | of the scheduler | of a worker |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["stubs"]:
        each = [f"{1000 * row[name] / row['points']:.1f}" for name in ("seconds", "cpu", "scheduler_cpu")]
        memory = [f"{row[name]:.0f}" for name in ("mb", "scheduler_mb", "worker_mb")]
        lines.append(f"| {row['points']:,} | {row['seconds']:.1f} | {' | '.join([*each, *memory])} |")
    return lines


def on_paper(record: dict[str, Any], runs: Runs) -> list[str]:
    """What many points of the last stage would take."""
    first, last = record["stubs"][0], record["stubs"][-1]
    between = last["points"] - first["points"]
    slope = (last["seconds"] - first["seconds"]) / between
    memory = last["mb"] + (last["mb"] - first["mb"]) / between * (MANY - last["points"])
    trained = mean(run["seconds"] for run in runs)
    beside = median(record["seconds"]["dask 1"]) / record["points"]  # start, imports, figures; and one short epoch
    hours = MANY * (trained + beside) / 3600
    return [
        f"**{MANY:,} points on paper.** A run of stage 6 trained for {trained:.0f} s here, by one core"
        f" ({len(runs)} recorded runs); beside that a point takes {beside:.0f} s, by the first table. {MANY:,} of them"
        f" are {hours:,.0f} core hours: {hours / 24 / 2:,.0f} days on two cores, {hours / 100:.1f} hours on 100. The"
        f" engine itself spends {1000 * slope:.1f} ms on a point, {MANY * slope / 60:.1f} minutes in all, and so could"
        f" feed about {(trained + beside) / slope:,.0f} cores before it is what they wait for. The runner would need"
        f" {memory:,.0f} MB of memory, and the metrics {MANY * mean(map(file_size, runs)) / 1e6:,.0f} MB of disk.",
    ]


def file_size(run: dict[str, Any]) -> int:
    """Bytes of a run's metrics file."""
    return Path(RECORDED, "metrics", run["stage"], f"seed-{run['seed']}.json").stat().st_size
