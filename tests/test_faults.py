"""What goes wrong in a chain: runners, kernels and disks that fail. Nothing is lost, and nothing half done counts."""

import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import WRITE_METRICS, Series, kill

from common import chain, execution, files, plan
from common.cli import read_options
from common.files import write_whole

ROOT = Path(chain.__file__).parent.parent
MOMENTS = 12  # at which a runner is killed
# Results that depend on the seed alone, and that are half written for a while.
SLOW_RUN = """\
import json, random, time
from pathlib import Path

draw = random.Random(seed)
text = json.dumps({"history": [{"epoch": n, "test_accuracy": draw.random()} for n in range(1, 6)]})
path = Path(out, "metrics", stage, f"seed-{seed}.json")
path.parent.mkdir(parents=True)
with path.open("w") as file:
    for part in (text[:50], text[50:]):
        file.write(part)
        file.flush()
        time.sleep(0.2)
print(text)
"""
RUNNER = """\
import resource, sys
from pathlib import Path
from common import chain

chain.prepare = lambda options: "MNIST"
chain.summarise = lambda folder: "the table"
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.exit(chain.main(sys.argv[2:], Path(sys.argv[1])))
"""


def start(series: Series, *arguments: str, limit: int = 0) -> subprocess.Popen:
    """A runner as a process of its own, whose files can't be larger than `limit` bytes."""
    command = [sys.executable, "-c", RUNNER.format(limit=limit), str(series.root), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(folder: Path) -> dict[str, bytes]:
    """What a chain leaves: metrics and executed copies."""
    found = [*folder.glob("metrics/*/*"), *folder.glob("*.ipynb")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.suffix != ".part"}


def task_of(series: Series, *arguments: str) -> execution.Task:
    """The first piece of work that the runner would do."""
    return plan.plan(read_options(list(arguments), series.root), "MNIST", series.root)[0]


# The runner is killed


@pytest.mark.slow
def test_a_chain_that_is_killed_again_and_again_ends_with_the_results_of_one_that_was_not(series):
    """At random moments: while it starts, while kernels run, while results are written."""
    series.add("01_first", SLOW_RUN).add("02_second", SLOW_RUN)
    asked = ("--seeds", "0", "1", "--jobs", "2", "--out")
    began = time.monotonic()
    whole = start(series, *asked, str(series.root / "whole"))
    assert whole.communicate()[1] == "" and whole.returncode == 0
    lasted, expected = time.monotonic() - began, results(series.root / "whole")
    assert len(expected) == 4 + 2

    folder, draw, met = series.root / "killed", random.Random(0), set()
    for _ in range(MOMENTS):
        runner = start(series, *asked, str(folder))
        time.sleep(draw.uniform(0.1, 0.9) * lasted)
        kill(runner)
        assert results(folder).items() <= expected.items(), "only what is whole is among the results"
        done = len(list(folder.glob(".done/*.json")))
        met.add(done)
        if done == 4:
            shutil.rmtree(folder)
    assert len(met) > 1, "the moments must not all be alike"

    done = len(list(folder.glob(".done/*.json")))
    last = start(series, *asked, str(folder))
    told, complaints = last.communicate()
    assert (last.returncode, complaints) == (0, "")
    assert told.startswith(f"{4 - done} of 4 runs to do"), "at most the interrupted runs are repeated"
    assert results(folder) == expected
    assert not [path for path in folder.rglob("*") if ".part" in path.name], "nothing half done is left"
    assert not list(folder.glob(".running/*"))


class PowerCut(BaseException):
    """Nothing that runs afterwards may be needed."""


def cut_at(moment: int, monkeypatch: pytest.MonkeyPatch, modules: list) -> None:
    """Let the power fail in place of the write of this number."""
    count = iter(range(100))

    def write(path: Path, content: str | bytes) -> None:
        if next(count) == moment:
            raise PowerCut
        write_whole(path, content)

    for module in modules:
        monkeypatch.setattr(module, "write_whole", write)


def put_new_results(task: execution.Task) -> None:
    """What the notebook of a run has written, not yet delivered."""
    task.workplace.mkdir(parents=True)
    task.executed.write_text('{"cells": [], "metadata": {}}')
    write_whole(task.workplace / task.metrics.relative_to(task.folder), '{"history": [{"test_accuracy": 99.0}]}')


@pytest.mark.parametrize("moment", range(4))
def test_a_run_counts_as_done_only_once_all_of_it_is_in_place(moment, series, monkeypatch):
    task = task_of(series.add("01_first"))
    put_new_results(task)
    with monkeypatch.context() as patch:
        cut_at(moment, patch, [execution])
        if moment < 3:
            with pytest.raises(PowerCut):
                execution.deliver(task)
        else:
            execution.deliver(task)
    assert execution.is_done(task) is (moment == 3)
    shutil.rmtree(task.workplace)
    put_new_results(task)
    execution.deliver(task)
    assert execution.is_done(task)


@pytest.mark.parametrize("moment", range(4))
def test_recording_that_is_cut_off_is_made_good_by_the_next_run(moment, series, monkeypatch, capsys):
    series.add("01_first").add("02_second")
    for task in plan.plan(read_options([], series.root), "MNIST", series.root):
        put_new_results(task)
        execution.deliver(task)
        write_whole(series.root / "outputs" / task.metrics.relative_to(task.folder), "old")
    with monkeypatch.context() as patch:
        cut_at(moment, patch, [chain])
        with pytest.raises(PowerCut):
            series.run()
    kept = {path.read_text() for path in series.root.glob("outputs/metrics/*/*.json")}
    assert kept <= {"old", '{"history": [{"test_accuracy": 99.0}]}'}
    assert series.run() == 0
    assert "0 of 2 runs to do" in capsys.readouterr().out
    assert results(series.root / "outputs") == results(series.root / "outputs" / "scratch" / "mnist-15-epochs")


def test_names_reach_the_disk_before_the_next_file_is_written(tmp_path, monkeypatch):
    """Else a power cut could leave the stamp of a run without its results."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    write_whole(tmp_path / "file", "1")
    assert synced == [path.stat().st_ino for path in (tmp_path / "file", tmp_path)]


def test_what_a_killed_runner_left_half_done_is_cleared_by_the_next(series, monkeypatch):
    task = task_of(series.add("01_first"), "--epochs", "2")
    places = (".running/01_first-seed-0-7/x", "metrics/01_first/.seed-0.json.7.part", ".01_first.ipynb.7.part")
    leavings = [task.folder / place for place in places]
    foreign = [task.folder / place for place in ("film.mkv.part", "metrics/.part", "downloads/.film.7.part")]
    for path in (*leavings, *foreign):
        write_whole(path, "half")
    monkeypatch.setattr(chain, "execute", lambda task: execution.Outcome(task, 0.0, [99.0], ""))
    assert series.run("--epochs", "2") == 0
    assert not any(path.exists() for path in leavings)
    assert all(path.exists() for path in foreign), "what is not a runner's is not touched"


def test_a_kernel_that_outlives_its_runner_writes_to_no_place_of_the_next(series, monkeypatch):
    task = task_of(series.add("01_first"))
    places = set()
    for number in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        places.add(task.workplace)
    assert len(places) == 2


# Two runners


def test_a_second_runner_is_refused_as_long_as_the_first_lives_and_no_longer(series, monkeypatch, capsys):
    series.add("01_first")
    folder = series.root / "mine"
    code = (
        "import sys, time; from pathlib import Path; from common import chain\n"
        "with chain.sole_use(Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(chain, "execute", lambda task: execution.Outcome(task, 0.0, [99.0], ""))
    try:
        assert first.stdout.readline() == "in\n"
        assert series.run("--out", str(folder)) == 2
        assert f"another run writes to {folder}: wait for it, or choose --out" in capsys.readouterr().err
    finally:
        kill(first)
    assert series.run("--out", str(folder)) == 0


@pytest.mark.parametrize("task", ["--rewrite", "--benchmark"])
def test_the_recorded_results_are_written_by_one_at_a_time(task, series, monkeypatch, capsys):
    series.add("01_first")
    with chain.sole_use(series.root / "outputs"):
        assert series.run(task) == 2
    assert "another run writes to" in capsys.readouterr().err


# Kernels that fail


FAULTS = {
    "01_out_of_memory": ("bytearray(10**15)", "MemoryError:"),
    "02_killed_for_memory": ("import os; os.kill(os.getpid(), 9)", "DeadKernelError: Kernel died"),
    "03_crashes": ("import ctypes; ctypes.string_at(0)", "DeadKernelError: Kernel died"),
    "04_diverges": ("class DivergedError(Exception): pass\nraise DivergedError('epoch 1')", "DivergedError: epoch 1"),
    "05_steers_the_terminal": (r"raise ValueError('\x1b[31mred\x07 <b>\r\nnext')", "ValueError: [31mred <b> next"),
    "06_writes_nonsense": (WRITE_METRICS + "file.write_text('{')", "JSONDecodeError:"),
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """A chain of one notebook a fault, and a sound one; its exit code, and its folder."""
    series = Series(tmp_path_factory.mktemp("faults") / "series")
    for stage, (code, _) in FAULTS.items():
        series.add(stage, code)
    series.add("99_sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "prepare", lambda options: "MNIST")
        patch.setattr(chain, "summarise", lambda folder: "the table")
        return series.run("--jobs", "4", "--out", str(series.root / "out")), series.root / "out"


def test_whatever_fails_the_sound_run_is_there_and_the_chain_has_failed(faults):
    code, folder = faults
    assert code == 1
    assert {path.parent.name for path in folder.glob("metrics/*/*")} == {"99_sound"}
    assert not psutil.Process().children(recursive=True), "no kernel is left"


@pytest.mark.parametrize("stage", FAULTS)
def test_a_failed_run_leaves_a_record_that_says_so_and_counts_nowhere(faults, stage):
    _, folder = faults
    record = json.loads((folder / "failed" / f"{stage}-seed-0.json").read_text())
    assert (record["stage"], record["seed"], record["dataset"]) == (stage, 0, "MNIST")
    assert record["error"].startswith(FAULTS[stage][1])
    assert record["error"].isprintable(), "it is one line, and steers no terminal"
    assert record["parameters"]["learning_rate"] == 0.1
    assert not (folder / ".done" / f"{stage}-seed-0.json").exists()


def test_a_run_that_goes_well_at_last_forgets_that_it_failed(series):
    assert series.add("01_first", "raise ValueError").run() == 1
    failed = series.root / "outputs" / "scratch" / "mnist-15-epochs" / "failed"
    assert len(list(failed.iterdir())) == 2
    assert series.add("01_first").run() == 0
    assert not list(failed.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import time\nwhile True:\n    try: time.sleep(600)\n    except BaseException: pass",
    ],
    ids=["stands still", "ignores what interrupts it"],
)
def test_a_kernel_is_given_up_and_ended_even_if_it(code, series, capsys):
    assert series.add("01_hangs", code).run("--timeout", "0.1") == 1
    assert "01_hangs, seed 0 failed: not finished after 0.1 minutes" in capsys.readouterr().err
    assert not psutil.Process().children(recursive=True)


@pytest.mark.slow
def test_ten_kernels_that_start_at_once_do_not_collide(series):
    series.add("01_first")
    seeds = [str(seed) for seed in range(10)]
    assert series.run("--jobs", "10", "--epochs", "1", "--seeds", *seeds) == 0
    runs = [series.metrics("outputs/scratch/mnist-1-epochs", "01_first", int(seed)) for seed in seeds]
    assert {run["transport"] for run in runs} == {"ipc"}
    assert len({run["pid"] for run in runs}) == 10


# Disks that fail, and paths that are awkward


def in_small_files(limit: int, work: Callable[[], None]) -> None:
    """Do some work while no file can be larger than `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_is_too_large_for_the_disk_leaves_the_old_one(tmp_path):
    write_whole(tmp_path / "file", "old")
    with pytest.raises(OSError, match="too large"):
        in_small_files(100, lambda: write_whole(tmp_path / "file", "new" * 100))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_a_full_disk_leaves_the_old_file(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    try:
        write_whole(folder / "file", "old")
        with pytest.raises(OSError) as caught:
            write_whole(folder / "file", "new" * 100_000)
        assert caught.value.errno == errno.ENOSPC
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"file": "old"}
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_runs_on_a_full_disk_fail_by_name_and_the_results_before_them_stay(series):
    series.add("01_first", SLOW_RUN)
    assert series.run("--out", str(series.root / "mine")) == 0
    before = results(series.root / "mine")
    runner = start(series, "--fresh", "--out", str(series.root / "mine"), limit=1000)
    told, complaints = runner.communicate()
    assert runner.returncode == 1, complaints
    assert complaints.count("\n") == 1 and "01_first, seed 0 failed: " in complaints and "too large" in complaints
    assert "1 of 1 runs to do" in told
    assert results(series.root / "mine") == before


@pytest.mark.parametrize("place", ["metrics", ".done", "failed", ".running"])
def test_a_file_where_a_folder_should_be_fails_the_run_and_is_left_alone(place, series, capsys, monkeypatch):
    """As read-only results do: whoever is root may write to those."""
    task = task_of(series.add("01_first"))
    write_whole(task.folder / place, "mine")
    monkeypatch.setattr(execution, "run_notebook", put_finished)
    code = series.run()
    told = capsys.readouterr().err
    assert code == 1 and told.count("\n") == 1 and "01_first, seed 0 failed: " in told
    assert (task.folder / place).read_text() == "mine"


def put_finished(task: execution.Task) -> None:
    """In place of a notebook that runs: what it would have written."""
    shutil.rmtree(task.workplace)
    put_new_results(task)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_while_results_are_recorded_is_told_in_a_line_and_the_old_ones_stay(
    number, series, monkeypatch, capsys
):
    task = task_of(series.add("01_first"))
    put_new_results(task)
    execution.deliver(task)
    write_whole(series.root / "outputs" / task.metrics.relative_to(task.folder), "old")

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    assert series.run() == 2
    told = capsys.readouterr().err
    assert os.strerror(number) in told and told.count("\n") == 1
    assert {path.read_text() for path in series.root.glob("outputs/metrics/*/*")} == {"old"}


@pytest.mark.parametrize(
    "name", ["new\nline", "two words", "é ü 数", "{braces}", "'quotes\"", "$(id) `id`", "-p", "%s"]
)
def test_results_may_lie_on_any_path(name, series, monkeypatch):
    monkeypatch.setattr(execution, "run_notebook", put_finished)
    folder = series.root / name
    assert series.add("01_first").run(f"--out={folder}") == 0
    assert (folder / "metrics" / "01_first" / "seed-0.json").exists()
