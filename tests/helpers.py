"""Runs that nothing was trained for, and the networks of the notebooks."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from common import notebooks, pages, runs
from common.blocks import GlobalAveragePool, conv_block
from common.weights import read_layers, restore, write_weights
from series import sources

ROOT = runs.ROOT


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


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the one that the repository has recorded runs in."""
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")
    return runs.RECORDED


def parameters_of(path: Path) -> dict:
    """The parameters of a notebook of the repository."""
    return sources.parameters_of(path.relative_to(ROOT / "notebooks").with_suffix("").as_posix(), ROOT)


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
