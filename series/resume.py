"""Going on where an interrupted command stopped: which runs are there already, by the same code and settings."""

import contextlib
import json
from pathlib import Path
from typing import Any

from common.config import InputError
from common.runs import MNIST
from series.tasks import Job

TRAINING_IMAGES, HELD_OUT = 60_000, 10_000


def is_done(job: Job) -> bool:
    """Whether the very same run is there; a variant's recorded one needs no stamp, which other clones lack."""
    if not job.stamp.exists():
        return job.by_variant and agrees(job, read(job.metrics))
    there = job.metrics.exists() and (job.copy.exists() or not job.keep_copy)
    return there and job.stamp.read_text(encoding="utf-8") == job.stamp_text


def agrees(job: Job, run: dict[str, Any]) -> bool:
    """Whether metrics are those of this run, as far as both name the same things."""
    found = run.get("hyperparameters", {}) | {name: run.get(name) for name in ("split", "batch_size", "epochs")}
    found["data"] = "mnist" if run.get("dataset") == MNIST else "rendered"
    asked = json.loads(json.dumps(job.identity["parameters"]))
    if not asked["epochs"]:  # as many as were published
        del found["epochs"]
    return bool(run) and all(found[name] == asked[name] for name in found.keys() & asked.keys())


def refuse_smaller(job: Job) -> None:
    """Let no run replace a longer one, one on more images, or one on MNIST where it isn't itself."""
    asked, run = job.identity["parameters"], read(job.metrics)
    with contextlib.suppress(KeyError, TypeError):  # nothing of use is there
        mnist, epochs, images = run["dataset"] == MNIST, run["epochs"], run["images"]["train"]
        available = TRAINING_IMAGES - HELD_OUT * (asked["split"] != "test")
        mine = asked["epochs"] or epochs, min(asked.get("limit") or available, available)
        less = mine[0] < epochs or mine[1] < images
        if mnist if mnist != (asked["data"] == "mnist") else less:
            raise InputError(f"{job.metrics} is of a bigger run: choose another folder with --out")


def read(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing, if it is not there or can't be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
