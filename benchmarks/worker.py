"""A process that trains on request: it reads tasks as lines of JSON, and answers each by one.

It stays from task to task, so that what is timed is the work and not the start of Python; while it waits, it rests.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import psutil
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import pipelines

MATRIX = 1024  # rows and columns of the product that the cores' speed is measured by


@cache
def stage_of(data: str, stage: str, images: int, form: str = "as recorded") -> dict[str, Any]:
    """A stage, set up and warm."""
    changes = pipelines.FORMS[form]
    names = pipelines.set_up(stage, data=data, device="cpu", images=images, **changes.parameters)
    names["net"] = changes.net(names["net"])
    pipelines.our_pass(names, pipelines.WARM_UP)
    return names


@cache
def conventional_of(data: str, stage: str, images: int, num_workers: int) -> tuple:
    """The conventional side of a stage, set up and warm."""
    names = stage_of(data, stage, images, "with jitter")
    training = (*pipelines.conventional_training(names), pipelines.conventional_loader(names, num_workers))
    pipelines.conventional_pass(*training, pipelines.WARM_UP)
    return training


def ours(data: str, stage: str, images: int, form: str) -> dict:
    """One epoch of a stage."""
    names = stage_of(data, stage, images, form)
    return {"images": images, "seconds": seconds(lambda: pipelines.our_pass(names))}


def conventional(data: str, stage: str, images: int, num_workers: int) -> dict:
    """One epoch of the conventional pipeline."""
    training = conventional_of(data, stage, images, num_workers)
    return {"images": images, "seconds": seconds(lambda: pipelines.conventional_pass(*training))}


def matrix_product(times: int) -> dict:
    """Multiply matrices: as fast as these cores do arithmetic in 32 bits."""
    left, right = torch.rand(2, MATRIX, MATRIX)
    left @ right
    return {"flops": times * 2 * MATRIX**3, "seconds": seconds(lambda: [left @ right for _ in range(times)])}


def arithmetic(data: str, stage: str, images: int) -> dict:
    """How many multiplications and additions the net takes, forward and backward, for one image."""
    names = stage_of(data, stage, images)
    batch, labels = next(iter(names["train_loader"]))
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(names["net"](batch), labels).backward()
    return {"flops": counter.get_total_flops() / len(labels)}


def whole_fit(data: str, stage: str, images: int, epochs: int) -> dict:
    """Train for some epochs with all that the notebook measures; megabytes in use after each."""
    names = stage_of(data, stage, images)
    memory: list[float] = []
    test_loader = Watched(names["test_loader"], memory)
    loaders = names["train_loader"], test_loader, names["clean_loader"]
    taken = seconds(lambda: names["train"](names["net"], *loaders, names["optimizer"], epochs, names.get("scheduler")))
    return {"seconds": taken, "memory": memory}


class Watched:
    """A loader that notes the memory in use whenever it is read: once an epoch."""

    def __init__(self, loader: Any, memory: list[float]) -> None:
        self.loader, self.memory = loader, memory

    def __iter__(self) -> Iterator:
        self.memory.append(psutil.Process().memory_info().rss / 1e6)
        return iter(self.loader)


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


TASKS = {task.__name__: task for task in (ours, conventional, matrix_product, arithmetic, whole_fit)}


def serve() -> None:
    """Answer tasks until there are no more. `threads` 0 is what PyTorch takes by itself."""
    answers, sys.stdout = sys.stdout, io.StringIO()  # what the work prints must not mix with answers
    usual = torch.get_num_threads()
    for line in sys.stdin:
        task = json.loads(line)
        torch.set_num_threads(task.pop("threads", 0) or usual)
        print(json.dumps(TASKS[task.pop("do")](**task)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
