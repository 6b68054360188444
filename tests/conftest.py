"""A small series of notebooks without torch, to try the runner on; and runs that nothing was trained for."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from common import chain, notebooks, pages, runs
from common.blocks import GlobalAveragePool, conv_block
from common.weights import read_layers, restore, write_weights

ROOT = runs.ROOT
torch.set_num_threads(1)  # as runs have: threads that share a core wait for each other

PARAMETERS = """\
seed = 0
epochs = 15
batch_size = 64
learning_rate = 0.1
nesterov = False
device = "auto"
data = "auto"
split = "test"
images = 0
rule = ""
out = ""
"""
WRITE_METRICS = """\
import json, os, sys
from pathlib import Path
from ipykernel import get_connection_file

metrics = {
    "dataset": "MNIST", "epochs": epochs, "images": {"train": images or 60000}, "data": data,
    "history": [{"epoch": n + 1, "test_accuracy": 99 + n / 100} for n in range(epochs)],
    "python": sys.executable, "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"],
    "pid": os.getpid(), "learning_rate": learning_rate,
    "transport": json.loads(Path(get_connection_file()).read_text())["transport"],
}
file = Path(out, "metrics", stage, f"seed-{seed}.json")
file.parent.mkdir(parents=True)
file.write_text(json.dumps(metrics))
print("written by", Path.home() / "code.py")
"""


class Series:
    """A folder laid out like the repository, and the runner at work in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "notebooks").mkdir(parents=True)

    def add(self, stage: str, code: str = WRITE_METRICS, parameters: str = PARAMETERS) -> "Series":
        """One more notebook: its parameters, its name, `code`."""
        sources = {"parameters": parameters, "name": f"stage = {stage!r}", "code": code}
        cells = [
            {
                "cell_type": "code",
                "id": name,
                "metadata": {"tags": [name]} if name == "parameters" else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for name, source in sources.items()
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (self.root / "notebooks" / f"{stage}.ipynb").write_text(json.dumps(notebook))
        return self

    def run(self, *arguments: str) -> int:
        """The runner's exit code."""
        return chain.main(list(arguments), self.root)

    def metrics(self, folder: str, stage: str, seed: int = 0) -> dict:
        """What a run wrote."""
        return json.loads((self.root / folder / "metrics" / stage / f"seed-{seed}.json").read_text())


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Series:
    """A series without notebooks yet, on a path as awkward as paths may be; data and report are stand-ins."""
    monkeypatch.setattr(chain, "prepare", lambda options: "MNIST")
    monkeypatch.setattr(chain, "summarise", lambda folder: "the table")
    return Series(tmp_path / "a {series} é")


def kill(runner: subprocess.Popen) -> None:
    """End a runner as the system does, which asks nobody; its kernels must notice by themselves."""
    kernels = psutil.Process(runner.pid).children(recursive=True) if runner.poll() is None else []
    runner.kill()
    runner.communicate()
    deadline = time.monotonic() + 60
    while not all(map(has_ended, kernels)):
        assert time.monotonic() < deadline, "kernels whose runner is gone must end"
        time.sleep(0.1)


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also where nobody clears away what has."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def make_run(*accuracies: float, clean: float = 99.9, running: float = 99.0, **other) -> dict:
    """A run with these test accuracies; five epochs of 99.0 unless told."""
    history = [
        {
            "epoch": epoch,
            "lr": 0.1,
            "train_loss": 0.02,
            "train_accuracy": running,
            "train_accuracy_clean": clean,
            "test_loss": 0.03,
            "test_correct": round(accuracy * 100),
            "test_accuracy": accuracy,
            "seconds": 2.0,
        }
        for epoch, accuracy in enumerate(accuracies or (99.0,) * other.get("epochs", 5), 1)
    ]
    run = {
        "stage": "02_batchnorm",
        "seed": 0,
        "dataset": "MNIST",
        "split": "test",
        "parameters": 7_900,
        "epochs": len(history),
        "batch_size": 64,
        "device": "cpu",
        "versions": {"torch": "2"},
        "images": {"train": 60_000, "test": 10_000},
        "hyperparameters": {"learning_rate": 0.1},
        "receptive_field": 22,
        "wrong": [1, 2],
        "taken_for": [7, 8],
        "history": history,
    }
    return run | other


# A notebook that is quick and writes all that a metrics file must hold; its accuracy tells seed and rate.
SWEPT = f"""\
import json
from pathlib import Path

run = {make_run(stage="", seed=0)!r}
run |= dict(stage=stage, seed=seed, split=split, epochs=epochs, batch_size=batch_size)
run["dataset"] = "MNIST" if data == "mnist" else "rendered digits, not MNIST"
run["images"] = dict(train=60_000 if split == "test" else 50_000, test=10_000)
accuracy = 99 - learning_rate + seed / 100
run["history"] = [run["history"][-1] | dict(epoch=n + 1, test_accuracy=accuracy) for n in range(epochs)]
file = Path(out, "metrics", stage, f"seed-{{seed}}.json")
file.parent.mkdir(parents=True)
file.write_text(json.dumps(run))
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the one that the repository has recorded runs in."""
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")
    return runs.RECORDED


def network_of(stage: str, dropout: float = 0.02) -> nn.Module:
    """The network that stands in a notebook of the series or the appendix."""
    path = next((ROOT / "notebooks").rglob(f"{stage}.ipynb"))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = next("".join(cell["source"]) for cell in cells if cell["id"] == "net")
    names = {"nn": nn, "conv_block": conv_block, "GlobalAveragePool": GlobalAveragePool}
    exec(code, names)
    return names["Net"](*([dropout] if "dropout: float" in code else []))


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """The network of the last stage, from its own cell, with the recorded weights, or fresh ones where none are."""
    torch.manual_seed(0)
    net = network_of(notebooks.SERIES[-1])
    paths = sorted((ROOT / "outputs" / "weights" / notebooks.SERIES[-1]).glob("*.json"))
    if paths:
        return restore(net, read_layers(paths[0]))
    net(torch.randn(64, 1, 28, 28))  # moves the statistics of batch norm away from 0 and 1
    return net.eval()


@pytest.fixture
def folder(tmp_path: Path, network: nn.Module) -> Path:
    """A copy of the recorded results, without their report."""
    return copy_results(tmp_path / "outputs", network)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, network: nn.Module) -> Path:
    """A report of the recorded results, made anew."""
    folder = copy_results(tmp_path_factory.mktemp("report") / "outputs", network)
    pages.write_report(folder)
    return folder / "html"


def copy_results(folder: Path, network: nn.Module) -> Path:
    """The recorded results in another folder; weights of the network too, where none are recorded."""
    shutil.copytree(ROOT / "outputs", folder, ignore=shutil.ignore_patterns("html", "scratch"))
    (folder.parent / "notebooks").symlink_to(ROOT / "notebooks")  # which pages lead to
    if not (folder / "weights").exists():
        write_weights(folder, {"stage": notebooks.SERIES[-1], "seed": 0}, network)
    return folder
