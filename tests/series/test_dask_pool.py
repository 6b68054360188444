"""Runs on a Dask scheduler and its workers: real processes, in folders that have nothing of this repository."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
from fake_series import WRITE_METRICS, Series, has_ended, results, wait_until
from machines import Machines

from common.config import InputError, commit
from series.dask_pool import DaskWorkers, dask_workers

# A data set that a worker has or has not, beside its own folder.
LOAD = """
import sys
sys.path.insert(0, "..")
from common.config import ROOT, InputError
if (ROOT / "data" / "digits").resolve().read_text() != "sound":
    raise InputError("digits can't be read: delete it")
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory):
    """A scheduler, and workers that the tests share."""
    with contextlib.closing(Machines(tmp_path_factory.mktemp("machines"))) as found:
        yield found


@contextlib.contextmanager
def once_there(marker: Path, action: Callable[[], object]):
    """Do something in another thread as soon as a file is there, since the runner needs this one for itself."""
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(lambda: wait_until(lambda: marker.exists() and marker.read_text()) or action())
        yield
        done.result()


def waiting(marker: Path, condition: str = "True") -> str:
    """Code of a notebook that writes where it runs, then waits; but not if another has done so before."""
    return f"""\
import os, time
from pathlib import Path
if {condition} and not Path({str(marker)!r}).exists():
    Path({str(marker)!r}).write_text(os.environ["WORKER"])
    time.sleep(150)
"""


def run(series: Series, machines: Machines, out: str = "there", seeds: tuple[int, ...] = (0, 1)) -> int:
    """The runner's exit code on the machines."""
    return series.run("--seeds", *seeds, "--out", series.root / out, "--scheduler", machines.address)


def test_a_worker_that_is_not_fit_is_refused_and_its_runs_are_made_elsewhere_if_they_can(
    series, machines, tmp_path, capsys
):
    metadata = tmp_path / "other" / "papermill-1.2.3.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: papermill\nVersion: 1.2.3\n")
    series.add("01_first", LOAD + WRITE_METRICS)
    for name, settings, complaint in (
        ("other", {"PYTHONPATH": str(tmp_path / "other")}, "it has papermill 1.2.3, the runner "),
        ("wrong", {"digits": "damaged"}, "digits can't be read: delete it"),
    ):
        machines.have(name, **settings)
        assert run(series, machines, seeds=(0,)) == 2
        told = capsys.readouterr().err
        assert told.startswith("run_all: worker tcp://127.0.0.1:") and told.count("\n") == 1
        assert f" is not fit: {complaint}" in told and not list(series.root.glob("there/*/*"))
    machines.have("wrong", "one", digits="sound")
    assert run(series, machines) == 0
    assert len(results(series.root / "there")) == 3 and not list(series.root.rglob("failed/*/*"))


def test_workers_make_what_this_machine_makes_also_if_one_is_killed(series, machines, tmp_path, capsys):
    marker, orphans = tmp_path / "marker", []
    marker.write_text("not yet")
    series.add("01_first", waiting(marker) + WRITE_METRICS.replace('"commit": "abc"', '"commit": ""'))
    assert series.run("--seeds", 0, 1, "--out", series.root / "here") == 0
    marker.unlink()
    machines.have("one", "two", digits="sound")
    with once_there(marker, lambda: orphans.extend(machines.kill(marker.read_text()))):
        assert run(series, machines) == 0
    told = capsys.readouterr()
    assert f"2 of 2 runs to do on MNIST, on the 2 workers of {machines.address}" in told.out
    assert "failed" not in told.out and told.err == ""
    assert len(orphans) >= 2, "the run's process and its kernel"
    wait_until(lambda: all(map(has_ended, orphans)))
    here, there = (results(series.root / name) for name in ("here", "there"))
    ours = f'"commit": "{commit()}"'.encode()  # the code that ran is this machine's
    assert there == {name: text.replace(b'"commit": ""', ours) for name, text in here.items()} and len(there) == 3


def test_ctrl_c_ends_what_runs_on_the_workers_too(series, machines, tmp_path, capsys):
    series.add("01_first", waiting(tmp_path / "marker"))
    machines.have("one", digits="sound")
    worker, runs = machines.process("one"), []

    def interrupt() -> None:
        runs.extend(worker.children(recursive=True))
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background has Ctrl-C switched off for them.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with once_there(tmp_path / "marker", interrupt):
            assert run(series, machines) == 130
    finally:
        signal.signal(signal.SIGINT, usual)
    assert capsys.readouterr().err == "\nrun_all: stopped; the same command goes on from here\n"
    wait_until(lambda: all(map(has_ended, runs)))
    assert len(runs) >= 2 and worker.is_running(), "the worker itself goes on"
    assert not list(series.root.rglob("failed/*"))
    wait_until(lambda: not list(machines.folder.glob("one/dask-scratch-space/worker-*/tmp*"))), "nothing is left there"


def test_a_scheduler_that_is_killed_is_told_in_a_line_and_the_same_command_goes_on(series, tmp_path, capsys):
    marker = tmp_path / "marker"
    series.add("01_first", waiting(marker, "seed == 1") + WRITE_METRICS)
    with contextlib.closing(Machines(tmp_path / "machines")) as machines:
        machines.have("one")
        with once_there(marker, lambda: machines.kill("scheduler")):
            assert run(series, machines) == 2
    gone = f"the scheduler at {machines.address} is gone; when it is back, the same command goes on"
    assert capsys.readouterr().err == f"run_all: {gone}\n"
    assert series.run("--seeds", 0, 1, "--out", series.root / "there") == 0
    assert "1 of 2 runs to do on MNIST" in capsys.readouterr().out


def test_a_cancelled_run_is_not_waited_for():
    run, future = Mock(), Future()
    DaskWorkers.receive(Mock(address="tcp://here"), Mock(), run, future)
    with pytest.raises(InputError, match="the scheduler at tcp://here is gone"):
        future.result(timeout=0)
    run.cancelled.assert_called_once_with()
    run.result.assert_not_called()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here"])
def test_a_scheduler_that_is_not_there_is_told_in_a_line(address, tmp_path):
    with pytest.raises(InputError, match=f"no Dask scheduler can be reached at {address} \\("):
        dask_workers(address, tmp_path, seconds=0.5).__enter__()


def test_without_dask_the_scheduler_option_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "series.dask_pool")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"--scheduler needs Dask: pip install -r requirements-cluster.txt"):
        __import__("series.dask_pool")
