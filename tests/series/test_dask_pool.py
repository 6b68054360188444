"""Runs on a Dask scheduler and its workers: real processes, in folders that have nothing of this repository."""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest
from fake_series import WRITE_METRICS, Series, has_ended, wait_until
from machines import Machines

from common.config import InputError, commit
from series.dask_pool import dask_workers

# A data set that a worker has or has not, beside its own folder.
LOAD = """
import sys
sys.path.insert(0, "..")
from common.config import ROOT, InputError
if (ROOT / "data" / "digits").resolve().read_text() != "sound":
    raise InputError("digits can't be read: delete it")
"""


@pytest.fixture
def machines(tmp_path: Path):
    """A scheduler without workers yet."""
    with Machines(tmp_path / "machines") as found:
        yield found


@contextlib.contextmanager
def meanwhile(work, *arguments):
    """Do something in another thread, as the runner has this one for itself; what fails there fails here."""
    failures = []

    def attempt() -> None:
        try:
            work(*arguments)
        except BaseException as problem:
            failures.append(problem)

    thread = threading.Thread(target=attempt)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def waiting(marker: Path, condition: str = "True") -> str:
    """Code of a notebook that stands still, after saying where it runs; but not if another has done so before."""
    return f"""\
import os, time
from pathlib import Path
if {condition} and not Path({str(marker)!r}).exists():
    Path({str(marker)!r}).write_text(os.environ["WORKER"])
    time.sleep(600)
"""


def run(series: Series, out: str, machines: Machines, *arguments: object) -> int:
    """The runner's exit code for two seeds on the machines."""
    return series.run("--seeds", 0, 1, "--out", series.root / out, "--scheduler", machines.address, *arguments)


def figures(folder: Path) -> dict[str, dict]:
    """What metrics files say, but for the commit."""
    return {path.name: json.loads(path.read_text()) | {"commit": ""} for path in folder.glob("metrics/*/*.json")}


def test_workers_that_share_nothing_make_what_this_machine_makes(series, machines, tmp_path, capsys):
    series.add("01_first")
    machines.add("one", "two")
    assert series.run("--seeds", 0, 1, "--out", series.root / "here") == 0
    assert run(series, "there", machines) == 0
    told = capsys.readouterr()
    assert f"2 of 2 runs to do on MNIST, on the 2 workers of {machines.address}" in told.out and told.err == ""
    assert figures(series.root / "there") == figures(series.root / "here") and len(figures(series.root / "here")) == 2
    for path in (series.root / "there").glob("metrics/*/*"):
        assert json.loads(path.read_text())["commit"] == commit(), "the code that ran is this machine's"
    copies = [series.root / name / "01_first.ipynb" for name in ("here", "there")]
    assert copies[0].read_text() == copies[1].read_text()
    wait_until(lambda: not list(machines.folder.glob("*/dask-scratch-space/worker-*/tmp*"))), "nothing is left there"


def test_a_worker_with_another_version_is_refused_in_a_line(series, machines, tmp_path, capsys):
    metadata = tmp_path / "other" / "papermill-1.2.3.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: papermill\nVersion: 1.2.3\n")
    series.add("01_first")
    machines.add("other", PYTHONPATH=str(tmp_path / "other"))
    assert run(series, "out", machines) == 2
    told = capsys.readouterr().err
    assert told.startswith("run_all: worker tcp://127.0.0.1:") and told.count("\n") == 1
    assert " is not fit: it has papermill 1.2.3, the runner " in told
    assert not list((series.root / "out").glob("*/*"))


def test_a_run_whose_worker_is_killed_is_made_on_another(series, machines, tmp_path, capsys):
    assert series.add("01_first").run("--seeds", 0, 1, "--out", series.root / "here") == 0
    marker = tmp_path / "marker"
    series.add("01_first", waiting(marker) + WRITE_METRICS)
    machines.add("one", "two")
    orphans: list[psutil.Process] = []

    def kill_the_busy_one() -> None:
        wait_until(lambda: marker.exists() and marker.read_text())
        orphans.extend(machines.kill(marker.read_text()))

    with meanwhile(kill_the_busy_one):
        assert run(series, "there", machines) == 0
    assert "failed" not in capsys.readouterr().out
    assert len(orphans) >= 2, "the run's process and its kernel"
    wait_until(lambda: all(map(has_ended, orphans)))
    assert figures(series.root / "there") == figures(series.root / "here")


def test_a_scheduler_that_is_killed_is_told_in_a_line_and_another_goes_on(series, machines, tmp_path, capsys):
    marker = tmp_path / "marker"
    series.add("01_first", waiting(marker, "seed == 1") + WRITE_METRICS)
    machines.add("one")

    def kill_the_scheduler() -> None:
        wait_until(marker.exists)
        machines.kill("scheduler")

    with meanwhile(kill_the_scheduler):
        assert run(series, "out", machines) == 2
    gone = f"the scheduler at {machines.address} is gone; when it is back, the same command goes on"
    assert capsys.readouterr().err == f"run_all: {gone}\n"
    with Machines(tmp_path / "others") as others:
        others.add("one")
        assert run(series, "out", others) == 0
    assert "1 of 2 runs to do on MNIST" in capsys.readouterr().out


def test_a_worker_with_a_wrong_data_set_is_refused_and_its_runs_are_made_elsewhere_if_they_can(
    series, machines, capsys
):
    series.add("01_first", LOAD + WRITE_METRICS)
    machines.add("wrong", digits="damaged")
    assert series.run("--out", series.root / "out", "--scheduler", machines.address) == 2
    told = capsys.readouterr().err
    assert told.startswith("run_all: worker tcp://127.0.0.1:") and told.count("\n") == 1
    assert " is not fit: digits can't be read: delete it" in told
    machines.add("sound", digits="sound")
    assert run(series, "out", machines) == 0
    assert len(figures(series.root / "out")) == 2 and not list((series.root / "out").glob("failed/*/*"))


def test_ctrl_c_ends_what_runs_on_the_workers_too(series, machines, tmp_path, capsys):
    marker = tmp_path / "marker"
    series.add("01_first", waiting(marker))
    machines.add("one")
    worker, runs = machines.process("one"), []

    def interrupt() -> None:
        wait_until(marker.exists)
        runs.extend(worker.children(recursive=True))
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background has Ctrl-C switched off for them.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with meanwhile(interrupt):
            assert run(series, "out", machines) == 130
    finally:
        signal.signal(signal.SIGINT, usual)
    assert capsys.readouterr().err == "\nrun_all: stopped; the same command goes on from here\n"
    wait_until(lambda: all(map(has_ended, runs)))
    assert len(runs) >= 2 and worker.is_running(), "the worker itself goes on"
    assert not list(series.root.rglob("failed/*"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here"])
def test_a_scheduler_that_is_not_there_is_told_in_a_line(address, tmp_path):
    with pytest.raises(InputError, match=f"no Dask scheduler can be reached at {address} \\("):
        dask_workers(address, tmp_path, seconds=0.5).__enter__()


def test_without_dask_the_scheduler_option_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "series.dask_pool")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"--scheduler needs Dask: pip install -r requirements-cluster.txt"):
        __import__("series.dask_pool")
