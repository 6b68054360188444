"""Who trains in the benchmark: `python -m series.contenders NAME SETTINGS` prints what one of them came to, as JSON."""

import io
import json
import re
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
import torchsummary  # noqa: F401  as the notebook does, and before the clock runs
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adadelta, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from common import plots  # noqa: F401  the same
from common.config import ROOT, commit
from common.data import MEAN, STD, Batches

LAST_STEP = sorted(path.stem for path in ROOT.glob("notebooks/[0-9]*.ipynb"))[-1]


@dataclass(frozen=True)
class Settings:
    """What a contender trains on; torchvision reads the same data from `folder`."""

    folder: str
    data: str
    seed: int = 0
    limit: int = 0  # images; 0 is all
    epochs: int = 0  # 0 is as many as the recipe has


class Training(NamedTuple):
    """All that a loop needs."""

    net: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler  # steps with every batch
    loaders: Sequence[Iterable]  # to train and to test
    epochs: int


class Clock(io.TextIOBase):
    """In place of standard output: notes when an epoch's test accuracy was there, in processor seconds."""

    def __init__(self) -> None:
        self.curve: list[tuple[float, float]] = []
        self.started = time.process_time()

    def write(self, text: str) -> int:
        """Take what is printed; lines of epochs go on to the terminal."""
        if found := re.match(r"epoch +\d+ .*test (?:accuracy )?([\d.]+)%", text):
            self.curve.append((time.process_time() - self.started, float(found[1])))
            print(found[0], file=sys.stderr)
        return len(text)


def run_cells(notebook: str, cells: str, **other: dict[str, Any]) -> dict[str, Any]:
    """The names that a notebook has after some of its cells, of which each may be given `other` values."""
    content = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    code = {cell["id"]: "".join(cell["source"]) for cell in content["cells"]}
    names = {"__name__": notebook, "In": [code["parameters"]]}
    for cell in cells.split():
        exec(compile(code[cell], f"{notebook}, {cell}", "exec"), names)
        names |= other.get(cell, {})
    return names


def last_step(settings: Settings) -> nn.Module:
    """The last notebook of the series."""
    asked = {name: getattr(settings, name) for name in ("data", "seed", "limit", "epochs") if getattr(settings, name)}
    return run_cells(LAST_STEP, "parameters imports data net idea fit", parameters=asked | {"device": "cpu"})["net"]


def one_file(settings: Settings) -> nn.Module:
    """The same as a script."""
    sys.path.append(str(ROOT / "notebooks"))
    sys.argv[1:] = ["--device=cpu", f"--data={settings.folder}", f"--seed={settings.seed}"]
    sys.argv += [f"--epochs={settings.epochs}"] if settings.epochs else []
    return import_module("one_file").main()[0]


def pytorch_example(settings: Settings) -> Training:
    """The recipe of PyTorch's own MNIST example, its images in a new order every epoch."""
    convolutions = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)
    linear = nn.Flatten(), nn.Linear(64 * 12**2, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
    net, loaders = nn.Sequential(*convolutions, *linear), usual_loaders(settings, 64)
    optimizer = Adadelta(net.parameters(), lr=1.0)
    return Training(net, optimizer, StepLR(optimizer, len(loaders[0]), gamma=0.7), loaders, settings.epochs or 14)


def fast_series(settings: Settings) -> Training:
    """The last notebook of train_mnist_fast: one epoch, on images in memory, in the order that they have."""
    convolutions = nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()
    net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32 * 5**2, 256), nn.ReLU(), nn.Linear(256, 10))
    halves = [MNIST(settings.folder, half) for half in (True, False)]
    loaders = [Batches(half.data[:, None] / 255, half.targets, 256) for half in halves]
    optimizer, epochs = Adam(net.parameters(), betas=(0.7, 0.9)), settings.epochs or 1
    scheduler = OneCycleLR(optimizer, 0.01, epochs * len(loaders[0]), cycle_momentum=False)
    return Training(net, optimizer, scheduler, loaders, epochs)


def conventional(settings: Settings) -> Training:
    """B3 of the published systems, as most tutorials train: PIL's transforms and a DataLoader."""
    asked = {"device": "cpu", "seed": settings.seed}
    names = run_cells("appendix_published", "parameters imports layer b", parameters=asked)
    net = names["B"]("relu norm drop", 11, 10, bias=False)
    loaders = usual_loaders(settings, 32, transforms.RandomRotation(7))
    optimizer = SGD(net.parameters(), 0.02, momentum=0.9, nesterov=True)
    return Training(net, optimizer, StepLR(optimizer, 4 * len(loaders[0]), gamma=0.5), loaders, settings.epochs or 15)


def usual_loaders(settings: Settings, batch_size: int, *moves: Any) -> list[DataLoader]:
    """Torchvision's data set and transforms, and PyTorch's loader, to train and to test."""
    plain = transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))
    train_set, test_set = MNIST(settings.folder), MNIST(settings.folder, False)
    train_set.transform, test_set.transform = transforms.Compose([*moves, *plain]), transforms.Compose(plain)
    return [DataLoader(train_set, batch_size, shuffle=True), DataLoader(test_set, 1000)]


def train(training: Training) -> nn.Module:
    """The loop of a tutorial: every epoch ends with a test."""
    net, optimizer, scheduler, (train_loader, test_loader), epochs = training
    for epoch in range(1, epochs + 1):
        net.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            scheduler.step()
        net.eval()
        with torch.no_grad():
            right = torch.cat([net(images).argmax(1) == labels for images, labels in test_loader])
        print(f"epoch {epoch:2}  test accuracy {100 * int(right.sum()) / len(right):.2f}%")
    return net


CONTENDERS = {made.__name__: made for made in (last_step, one_file, pytorch_example, fast_series, conventional)}


def measure(name: str, settings: Settings) -> dict[str, Any]:
    """What a contender comes to, in this process and one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    with redirect_stdout(Clock()) as clock:
        made = CONTENDERS[name](settings)
        net = train(made) if isinstance(made, Training) else made
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seed": settings.seed,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "curve": clock.curve,
        "gigabytes": memory / 1e9,
        "commit": commit(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Settings(**json.loads(sys.argv[2])))))
