"""Sweeps on a Dask scheduler and its workers: real processes, in folders that have nothing of this repository."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import SWEPT, Series, has_ended

from benchmarks.machines import STAND_IN, Machines, wait_until
from common import InputError, chain, data, outpost, remote
from common.cli import read_options
from common.standin import NAME

SWEEP = 'stages = [1]\nseeds = [0, 1]\nsplit = "validation"\nlearning_rate = [0.1, 0.5]\nepochs = 2\ncopies = true\n'


@pytest.fixture(scope="module", autouse=True)
def digits() -> None:
    """The stand-in, drawn before any worker asks for it."""
    data.prepare("rendered")


@pytest.fixture
def machines(tmp_path):
    """A scheduler without workers yet."""
    with Machines(tmp_path / "machines") as found:
        yield found


@pytest.fixture
def swept(series: Series, monkeypatch: pytest.MonkeyPatch) -> Series:
    """A stage to sweep over, on the stand-in."""
    monkeypatch.setattr(chain, "prepare", lambda options: NAME)
    return series.add("01_first", SWEPT)


def run(series: Series, machines: Machines | None, out: str, text: str = SWEEP) -> int:
    """The runner's exit code for a sweep, on the machines or on this one."""
    (series.root / "sweep.toml").write_text(text)
    where = ["--scheduler", machines.address] if machines else ["--jobs", "2"]
    return series.run("--sweep", str(series.root / "sweep.toml"), "--out", str(series.root / out), *where)


def results(folder: Path) -> dict[str, str]:
    """All that a sweep leaves, but for its figure."""
    paths = [path for pattern in ("metrics", "executed", ".done") for path in folder.glob(f"{pattern}/**/*")]
    files = {str(path.relative_to(folder)): path.read_text() for path in paths if path.is_file()}
    return files | {"README.md": (folder / "README.md").read_text()}


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
    Path({str(marker)!r}).write_text(os.getcwd())
    time.sleep(600)
"""


def test_workers_that_share_nothing_make_what_this_machine_makes(swept, machines, capsys):
    machines.add("one")
    machines.add("two")
    assert run(swept, None, "here") == 0
    assert run(swept, machines, "there") == 0
    told = capsys.readouterr()
    assert f"4 of 4 runs to do on {NAME}, on the workers of {machines.address}" in told.out
    assert told.err == ""
    there = results(swept.root / "there")
    assert len(there) == 4 + 2 + 4 + 1, "metrics, copies of the lowest seed, stamps, and the table"
    assert there == results(swept.root / "here")
    assert not (swept.root / "there" / ".running").exists()

    for name in ("one", "two"):  # both had a part in it, and nothing of it is left there
        wait_until(lambda name=name: not list((machines.folder / name).glob("dask-scratch-space/worker-*/series-*")))
        assert "Starting Worker plugin series-" in (machines.folder / f"{name}.log").read_text()

    assert run(swept, machines, "there") == 0
    assert f"0 of 4 runs to do on {NAME}" in capsys.readouterr().out


@pytest.mark.chain
def test_a_real_notebook_finds_the_same_on_a_worker(tmp_path, machines, capfd):
    """All of its figures but the seconds: the code that travelled is this code, and so are the numbers."""
    machines.add("one")
    text = 'stages = [6]\nsplit = "validation"\ndropout = [0.1]\ncopies = true\nimages = 300\nepochs = 1\n'
    (tmp_path / "sweep.toml").write_text(text)
    asked = ["--sweep", str(tmp_path / "sweep.toml"), "--data", "rendered", "--out"]
    assert chain.main([*asked, str(tmp_path / "here")]) == 0
    assert chain.main([*asked, str(tmp_path / "there"), "--scheduler", machines.address]) == 0
    [here, there] = [
        {str(path.relative_to(tmp_path / name)): path.read_text() for path in (tmp_path / name).glob("*/*/06*/*.json")}
        for name in ("here", "there")
    ]
    assert here.keys() == there.keys() and len(here) == 2, "metrics and weights"
    for name in here:
        assert without_seconds(here[name]) == without_seconds(there[name])
    copy = (tmp_path / "there" / "executed" / "dropout-0.1" / "06_lr_scheduler.ipynb").read_text()
    assert NAME in copy and str(tmp_path) not in copy


def without_seconds(text: str) -> str:
    """A file of a run, without what no two runs have in common."""
    return re.sub(r'"seconds": [\d.e-]+', "", text)


def test_a_point_whose_worker_is_killed_runs_elsewhere_and_the_results_are_the_same(swept, machines, tmp_path, capsys):
    assert run(swept, None, "here") == 0
    marker = tmp_path / "marker"
    swept.add("01_first", waiting(marker) + SWEPT)
    machines.add("one")
    machines.add("two")
    orphans: list[psutil.Process] = []

    def kill_the_busy_one() -> None:
        wait_until(lambda: marker.exists() and marker.read_text())
        [busy] = [name for name in ("one", "two") if f"/machines/{name}/" in marker.read_text()]
        orphans.extend(machines.kill(busy))

    with meanwhile(kill_the_busy_one):
        assert run(swept, machines, "there") == 0
    assert "failed" not in capsys.readouterr().out
    assert len(orphans) >= 2, "the run's process and its kernel"
    wait_until(lambda: all(map(has_ended, orphans)))
    metrics = {name: text for name, text in results(swept.root / "there").items() if name.startswith("metrics")}
    assert len(metrics) == 4
    assert metrics.items() <= results(swept.root / "here").items()


def test_a_sweep_whose_scheduler_is_killed_stops_in_a_line_and_goes_on_with_another(swept, machines, tmp_path, capsys):
    marker = tmp_path / "marker"
    swept.add("01_first", waiting(marker, "seed == 1") + SWEPT)
    machines.add("one")

    def kill_the_scheduler() -> None:
        wait_until(marker.exists)
        machines.kill("scheduler")

    with meanwhile(kill_the_scheduler):
        assert run(swept, machines, "out") == 2
    told = capsys.readouterr().err
    gone = f"the scheduler at {machines.address} is gone; when it is back, the same command goes on"
    assert told == f"run_all: {gone}\n"
    assert len(list((swept.root / "out").glob("metrics/*/*/*.json"))) == 2, "those of the first seed"

    with Machines(tmp_path / "others") as others:
        others.add("one")
        assert run(swept, others, "out") == 0
    assert f"2 of 4 runs to do on {NAME}" in capsys.readouterr().out


def test_tasks_of_a_worker_with_a_wrong_data_set_fail_by_name_and_run_elsewhere_if_they_can(
    swept, machines, tmp_path, capsys
):
    wrong = tmp_path / "wrong.npz"
    shutil.copy(STAND_IN, wrong)
    with wrong.open("r+b") as file:
        file.truncate(1000)
    machines.add("wrong", digits=wrong)
    assert run(swept, machines, "out") == 1
    told = capsys.readouterr()
    complaints = told.err.splitlines()
    assert len(complaints) == 4
    for line in complaints:
        assert "01_first, learning_rate " in line and " failed: worker tcp://127.0.0.1:" in line
        assert f"is not fit: {machines.folder}" in line and "can't be read" in line
    assert told.out.count("it is tried again") == 8
    assert not list((swept.root / "out").glob("metrics/*/*/*.json"))
    assert machines.folder.joinpath("wrong.log").read_text().count("Starting Worker plugin series-") == 1

    machines.add("sound")
    assert run(swept, machines, "out") == 0
    assert len(list((swept.root / "out").glob("metrics/*/*/*.json"))) == 4
    assert not list((swept.root / "out").glob("failed/*"))


def test_versions_that_differ_are_refused_by_name_before_anything_runs(swept, machines, tmp_path, capsys):
    metadata = tmp_path / "other" / "papermill-1.2.3.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: papermill\nVersion: 1.2.3\n")
    machines.add("one", PYTHONPATH=str(tmp_path / "other"))
    assert run(swept, machines, "out") == 2
    told = capsys.readouterr().err
    assert "is not like this machine: it has papermill 1.2.3, the runner " in told and told.count("\n") == 1
    assert not list((swept.root / "out").glob("*/*"))


def test_a_worker_that_joins_with_other_versions_unpacks_all_and_runs_nothing(tmp_path):
    worker = SimpleNamespace(address="tcp://late:1", local_directory=str(tmp_path / "scratch" / "worker"))
    here = {"python": sys.version, "papermill": "1.2.3"}
    late = outpost.Outpost("series-1", {"common/a.py": b"a = 1"}, here, "1")
    late.setup(worker)
    root = tmp_path / "scratch" / "worker" / "series-1"
    assert (root / "common" / "a.py").read_bytes() == b"a = 1"
    assert (root / "data").resolve() == tmp_path / "scratch" / outpost.CACHE
    answer = late.carry_out({"parameters": {"data": "rendered"}})
    assert answer["unfit"] == "tcp://late:1" and answer["error"].startswith("worker tcp://late:1 is not fit: it has ")
    late.teardown(worker)
    assert not root.exists() and (tmp_path / "scratch" / outpost.CACHE).exists()


def test_a_run_whose_process_ends_without_an_answer_says_with_what(tmp_path):
    worker = SimpleNamespace(address="tcp://one:1", local_directory=str(tmp_path / "scratch" / "worker"))
    one = outpost.Outpost("series-1", {"common/remote.py": b"import sys\nsys.exit('no such thing')"}, {}, "1")
    one.setup(worker)
    assert one.ask({}) == {"error": "the run's process ended with 1: no such thing"}


@pytest.mark.parametrize("arguments", ["--stages 1 --seeds 3", "--published --seeds 3 -p system B3", "--sweep FILE"])
def test_a_task_of_any_kind_travels_as_text(arguments, tmp_path):
    (tmp_path / "sweep.toml").write_text('stages = [6]\nsplit = "test"\nseeds = [3]\ndropout = [0.1]')
    words = arguments.replace("FILE", str(tmp_path / "sweep.toml")).split()
    options = read_options([*words, "--timeout", "5"], chain.ROOT)
    [task] = chain.kind_of(options.task).plan(options, NAME, chain.ROOT)
    there = remote.unpacked(json.loads(json.dumps(remote.packed(task))), chain.ROOT, task.folder)
    assert there == dataclasses.replace(task, identity={})


def test_a_difference_in_python_comes_first_and_a_missing_package_is_one():
    here = {"python": "3.11.7", "torch": "2.4"}
    assert outpost.difference(here, {"python": "3.11.7", "torch": "2.4", "more": "1"}) == ""
    assert outpost.difference(here, {"python": "3.10.0", "torch": None}) == "it has python 3.10.0, the runner 3.11.7"
    assert outpost.difference(here, {"python": "3.11.7"}) == "it has torch None, the runner 2.4"


def test_ctrl_c_ends_what_runs_on_the_workers_too(swept, machines, tmp_path, capsys):
    marker = tmp_path / "marker"
    swept.add("01_first", waiting(marker))
    machines.add("one")
    worker = machines.process("one")
    runs: list[psutil.Process] = []

    def interrupt() -> None:
        wait_until(marker.exists)
        runs.extend(worker.children(recursive=True))
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background has Ctrl-C switched off for them.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with meanwhile(interrupt):
            assert run(swept, machines, "out") == 130
    finally:
        signal.signal(signal.SIGINT, usual)
    assert capsys.readouterr().err == "\nrun_all: stopped; the same command goes on from here\n"
    wait_until(lambda: all(map(has_ended, runs)))
    assert len(runs) >= 2 and worker.is_running(), "the worker itself goes on"
    assert not list(swept.root.rglob("failed/*"))


def test_a_scheduler_that_is_not_there_is_told_in_a_line(swept, monkeypatch, capsys):
    monkeypatch.setattr("common.cluster.CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        (swept.root / "sweep.toml").write_text(SWEEP)
        asked = ["--sweep", str(swept.root / "sweep.toml"), "--out", str(swept.root / "out")]
        assert swept.run(*asked, "--scheduler", address) == 2
        told = capsys.readouterr().err
        assert f"no Dask scheduler can be reached at {address} (" in told and told.count("\n") == 1


def test_without_dask_the_scheduler_option_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "common.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"--scheduler needs Dask: pip install -r requirements-cluster.txt"):
        __import__("common.cluster")
