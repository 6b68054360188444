"""The same seed gives the same numbers, however a notebook is run; a run that diverges says so and counts nowhere."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import kill

from common import runs

ROOT = Path(runs.__file__).resolve().parent.parent
STAGE = "06_lr_scheduler"  # the one that draws random numbers for everything: weights, order, dropout, augmentation
SMALL = {"epochs": "1", "images": "300", "data": "rendered"}
CHAIN = ("--epochs", "1", "-p", "images", "300", "--data", "rendered", "--device", "cpu")
WILD = {"learning_rate": "1000", "batch_size": "8"}
KILLS = 3

pytestmark = pytest.mark.chain


def start(*arguments: str) -> subprocess.Popen:
    """A command on the real notebooks, with as many threads as it takes by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, **pipes)


def chain(out: Path, *arguments: str) -> subprocess.Popen:
    """The runner, on the last stage in small."""
    stages = [] if "--stages" in arguments else ["--stages", "6"]
    return start("series", *CHAIN, *stages, "--out", str(out), *arguments)


def figures(out: Path) -> dict[int, dict]:
    """What the runs in a folder found, by seed: all of it but the time it took, and the commit, which may move on."""
    found = {run["seed"]: run for run in runs.load_runs(out, STAGE)}
    for run in found.values():
        del run["commit"]
        for timed in (run, *run["history"]):
            del timed["seconds"]
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, dict], float]:
    """The figures of two seeds that ran side by side, undisturbed, and how long that took."""
    out, began = tmp_path_factory.mktemp("reference"), time.monotonic()
    runner = chain(out, "--seeds", "0", "1", "--jobs", "2")
    told, complaints = runner.communicate()
    assert runner.returncode == 0, told + complaints
    return figures(out), time.monotonic() - began


def test_two_seeds_are_two_runs(reference):
    expected, _ = reference
    assert expected.keys() == {0, 1}
    assert expected[0]["history"] != expected[1]["history"]


def test_one_run_at_a_time_finds_what_runs_side_by_side_do(reference, tmp_path):
    assert chain(tmp_path, "--seeds", "0", "--jobs", "1").communicate()
    assert figures(tmp_path) == {0: reference[0][0]}


def test_a_notebook_by_hand_finds_what_the_runner_does(reference, tmp_path):
    words = [word for name, value in SMALL.items() for word in ("-p", name, value)]
    words += ["-p", "seed", "1", "-p", "device", "cpu", "-p", "out", str(tmp_path), "-k", "python3"]
    by_hand = start("papermill", f"notebooks/{STAGE}.ipynb", str(tmp_path / "out.ipynb"), *words)
    assert by_hand.communicate() and by_hand.returncode == 0
    assert figures(tmp_path) == {1: reference[0][1]}


def test_a_runner_that_is_killed_and_called_again_finds_what_it_would_have_found(reference, tmp_path):
    expected, lasted = reference
    draw = random.Random(0)
    for _ in range(KILLS):
        runner = chain(tmp_path, "--seeds", "0", "1", "--jobs", "2")
        time.sleep(draw.uniform(0.2, 0.9) * lasted)
        kill(runner)
        assert figures(tmp_path).items() <= expected.items()
    last = chain(tmp_path, "--seeds", "0", "1", "--jobs", "2")
    assert last.communicate() and last.returncode == 0
    assert figures(tmp_path) == expected


def test_a_run_that_diverges_says_so_in_a_file_of_its_own_and_counts_nowhere(tmp_path):
    wild = [word for name, value in WILD.items() for word in ("-p", name, value)]
    runner = chain(tmp_path, "--stages", "1", *wild)
    _, complaints = runner.communicate()
    assert runner.returncode == 1
    assert "01_skeleton, seed 0 failed: DivergedError: epoch 1, loss is" in complaints
    assert "try a lower learning_rate" in complaints and complaints.count("\n") == 1
    record = json.loads((tmp_path / "failed" / "01_skeleton-seed-0.json").read_text())
    assert record["error"].startswith("DivergedError: epoch 1, loss is") and record["stage"] == "01_skeleton"
    assert record["parameters"]["learning_rate"] == 1000
    assert not list(tmp_path.glob("metrics/*/*")), "it is no run"
