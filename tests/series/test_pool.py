"""Many jobs: side by side, tried again, put in place whole, and stopped at any moment without loss."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from fake_series import WRITE_METRICS, kill, results, wait_until

from common.config import InputError, write_whole
from series.execute import Result
from series.pool import Progress, Workers, clear, deliver, last_line, record, run, sole_use
from series.resume import is_done
from series.tasks import Job, Task

METRICS = '{"history": [{"test_accuracy": 99.0}]}'
FILES = {"notebook": '{"cells": []}', "weights": "[]", "metrics": METRICS}


def job(folder: Path, name: str = "01_first", seed: int = 0, **other) -> Job:
    """A piece of work that nobody does."""
    return Job(Task(name, seed, {}, name), folder, {"parameters": {"seed": seed}}, False, True, **other)


class Canned(Workers):
    """Workers whose results are known beforehand, by the name of the task, one a try."""

    where = "nowhere"

    def __init__(self, **answers: list[Result]) -> None:
        self.answers = answers

    def submit(self, task: Task) -> Future:
        future: Future[Result] = Future()
        future.set_result(self.answers[task.name].pop(0))
        return future


FINE, BAD = Result(FILES, seconds=3.0), Result({"notebook": "{}"}, "ValueError: bad", 1.0)


def test_every_job_is_told_in_a_line_and_tried_again_as_often_as_it_may_be(tmp_path, capsys):
    workers = Canned(good=[FINE], mended=[BAD, BAD, FINE], bad=[BAD, BAD, BAD])
    [failure] = run([job(tmp_path, name, attempts=3) for name in ("good", "mended", "bad")], workers)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "[1/3] good, seed 0: test accuracy 99.00%, 3 s"
    failed = tmp_path / "failed" / "bad" / "seed-0.ipynb"
    assert failure == f"bad, seed 0 failed: ValueError: bad; see {failed}" and told[-1] == f"[3/3] {failure}"
    assert sum(line.endswith("; it is tried again") for line in told) == 4
    assert {path.name for path in failed.parent.iterdir()} == {"seed-0.ipynb", "seed-0.json"}
    assert json.loads(failed.with_suffix(".json").read_text())["error"] == "ValueError: bad"
    assert not list((tmp_path / "failed" / "mended").iterdir()), "what went well at last has not failed"


class PowerCut(BaseException):
    """Nothing that runs afterwards may be needed."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch):
    """A way to let the disk fail at the write of a number: every file is flushed, and so is its folder."""

    def cut(moment: int, problem: BaseException) -> None:
        count = iter(range(100))

        def fsync(handle: int) -> None:
            if next(count) == 2 * moment:
                raise problem

        monkeypatch.setattr(os, "fsync", fsync)

    yield cut
    monkeypatch.undo()


@pytest.mark.parametrize("moment", range(5))
def test_a_run_counts_as_done_only_once_all_of_it_is_in_place(moment, tmp_path, cut, monkeypatch):
    one = job(tmp_path)
    cut(moment, PowerCut())
    if moment < 4:  # copy, weights, metrics, stamp
        with pytest.raises(PowerCut):
            deliver(one, FINE)
    else:
        deliver(one, FINE)
    assert is_done(one) is (moment == 4)
    monkeypatch.undo()
    deliver(one, FINE)
    assert is_done(one)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_fails_the_run_by_name_and_the_result_before_it_stays(number, tmp_path, cut):
    one = job(tmp_path)
    deliver(one, FINE)
    cut(0, OSError(number, os.strerror(number)))
    fine, words = deliver(one, Result(FILES | {"notebook": "new"}))
    assert not fine and words.startswith("01_first, seed 0 failed: OSError: ") and os.strerror(number) in words
    assert one.copy.read_text() == FILES["notebook"] and one.metrics.read_text() == METRICS


def test_only_runs_of_all_seeds_are_recorded_and_recording_that_is_cut_off_is_made_good(tmp_path, cut, monkeypatch):
    jobs = [job(tmp_path / "runs", seed=seed) for seed in (0, 1)]
    for one in jobs:
        deliver(one, FINE)
    place = tmp_path / "outputs"
    write_whole(place / "metrics" / "01_first" / "seed-3.json", "old")
    assert record(jobs, place) == [0, 1, 3] and not (place / "01_first.ipynb").exists()
    (place / "metrics" / "01_first" / "seed-3.json").rename(place / "metrics" / "01_first" / "seed-1.json")
    cut(3, PowerCut())
    with pytest.raises(PowerCut):
        record(jobs, place)
    assert {path.read_text() for path in place.glob("metrics/*/*.json")} <= {"old", METRICS}
    monkeypatch.undo()
    assert record(jobs, place) == []
    assert results(place) == results(tmp_path / "runs")


def test_what_a_killed_runner_left_half_written_is_cleared_and_nothing_else(tmp_path):
    ours = ("metrics/01_first/.seed-0.json.7.part", ".01_first.ipynb.7.part", "html/.index.html.12.part")
    foreign = ("film.mkv.part", "metrics/01_first/.part", "downloads/.film.7.part")
    for name in (*ours, *foreign):
        write_whole(tmp_path / name, "half")
    clear(tmp_path)
    assert [(tmp_path / name).exists() for name in (*ours, *foreign)] == [False] * 3 + [True] * 3


def test_a_folder_is_one_runners_alone_as_long_as_it_lives(tmp_path):
    code = "import sys; from series.pool import sole_use; from pathlib import Path\n"
    code += "with sole_use(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True, **pipes)
    try:
        assert first.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=f"another run writes to {tmp_path}: wait for it"), sole_use(tmp_path):
            pass
    finally:
        kill(first)
    with sole_use(tmp_path):
        assert (tmp_path / ".lock").exists()


# How far the runs are


def test_the_last_epoch_is_read_from_what_training_writes_even_while_it_writes(tmp_path):
    file = tmp_path / "progress"
    assert last_line(file) == {}
    row = {"epoch": 1, "epochs": 15, "test_accuracy": 98.5}
    file.write_text(f"{json.dumps(row)}\n" + '{"epoch": 2, "ep')
    assert last_line(file) == row
    for nonsense in ('{"epoch": 2}', '{"epoch": 2, "epochs": 0, "test_accuracy": 1}', "[]", '{"epoch": "2"}', "\x00"):
        file.write_text(f"{nonsense}\n")
        assert last_line(file) == {}


ROWS = {
    "05_augmentation, seed 1": {"epoch": 12, "epochs": 15, "test_accuracy": 99.31},
    "06_lr_scheduler, seed 0": {"epoch": 3, "epochs": 15, "test_accuracy": 98.8},
    "smaller_network, seed 0": {"epoch": 1, "epochs": 15, "test_accuracy": 98},
    "06_lr_scheduler, seed 1": {"epoch": 1, "epochs": 15, "test_accuracy": 98},
}
FIRST_TWO = "05 seed 1: 12/15 99.31%; 06 seed 0: 3/15 98.80%"


def test_in_a_log_there_is_a_line_a_minute(capsys):
    show, rows = Progress(4), dict(list(ROWS.items())[:2])
    show.update(rows)
    assert capsys.readouterr().out == ""
    show.done, show.started, show.printed = 1, show.started - 120, show.printed - 61
    show.update(rows)
    show.update(rows)
    assert capsys.readouterr().out == f"1 of 4 runs after 2 min, about 2 min left; {FIRST_TWO}\n"


AT_A_TERMINAL = """
import io, sys, time
from test_pool import ROWS, Progress
sys.stderr = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})()
show = Progress(6)
show.done = 1
show.bar.start_t = time.time() - 4000
show.update({name: ROWS[name] for name in sys.argv[1:]})
show.line("a line")
print(ascii(sys.stderr.getvalue()))
"""


@pytest.mark.parametrize(
    ("number", "shown", "disabled"),
    [(0, "1 of 6 runs", ""), (2, FIRST_TWO, ""), (4, f"{FIRST_TWO}; +2", ""), (2, "", "1")],
)
def test_at_a_terminal_there_is_a_bar_that_fits_unless_tqdm_is_switched_off(number, shown, disabled):
    given = os.environ | {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "80", "TQDM_DISABLE": disabled}
    command = [sys.executable, "-c", AT_A_TERMINAL, *list(ROWS)[:number]]
    line, told = subprocess.run(command, env=given, capture_output=True, text=True).stdout.splitlines()
    assert line == "a line" and (told == "''") is bool(disabled)
    if not disabled:
        bar = told.strip("'").split(r"\r")[2]
        assert re.fullmatch(r" *\d+% [#\d ]{5} 1:06:4\d<\d+:[\d:]+" + re.escape(f" {shown}"), bar) and len(bar) < 80


# Runners that are killed or stopped, kernels and all

SLOW = (
    WRITE_METRICS.replace("file.write_text(", "text = (")
    + """
import time
with file.open("w") as half_written:
    for part in (text[:50], text[50:]):
        half_written.write(part)
        half_written.flush()
        time.sleep(0.2)
"""
)


@pytest.mark.slow
def test_runs_that_are_killed_again_and_again_end_with_the_results_of_those_that_were_not(series):
    """At random moments: while kernels start, while they run, while results are written."""
    series.add("01_first", SLOW).add("02_second", SLOW)
    assert series.run("--seeds", 0, 1, "--jobs", 4, "--out", series.root / "whole") == 0
    expected = results(series.root / "whole")
    assert len(expected) == 4 + 2

    folder, draw = series.root / "killed", random.Random(0)
    for done in (0, 1, 3):
        runner = series.start("--seeds", 0, 1, "--jobs", 2, "--out", folder)
        wait_until(lambda done=done: len(list(folder.glob(".done/*/*"))) >= done)
        time.sleep(draw.uniform(0, 2 - done / 2))
        kill(runner)
        assert results(folder).items() <= expected.items(), "only what is whole is among the results"

    done = len(list(folder.glob(".done/*/*")))
    last = series.start("--seeds", 0, 1, "--jobs", 1, "--out", folder)
    told, complaints = last.communicate()
    assert (last.returncode, complaints) == (0, "")
    assert told.startswith(f"{4 - done} of 4 runs to do"), "at most the interrupted runs are made again"
    assert results(folder) == expected, "whatever the number of jobs"
    assert not list(folder.rglob(".*.part"))


@pytest.mark.parametrize(("number", "later"), [(signal.SIGINT, 1.5), (signal.SIGTERM, 0)])
def test_ctrl_c_ends_runner_and_kernels_at_once_and_says_how_to_go_on(series, number, later):
    series.add("01_first", "import time; time.sleep(600)").add("02_second", "while True: pass")
    runner = series.start("--jobs", "2")
    try:
        wait_until(lambda: len(psutil.Process(runner.pid).children()) == 2)
        kernels = psutil.Process(runner.pid).children(recursive=True)
        time.sleep(later)  # the signal comes while cells run, or while the kernels still start
        runner.send_signal(number)
        _, told = runner.communicate(timeout=60)
    finally:
        runner.kill()
    assert runner.returncode == 130
    assert told.strip() == "run_all: stopped; the same command goes on from here"
    assert not any(kernel.is_running() for kernel in kernels)
    assert not list(series.root.rglob("failed/*")), "what was stopped has not failed"


def test_runs_on_a_full_disk_fail_by_name_and_the_results_before_them_stay(series):
    series.add("01_first")
    assert series.run("--out", series.root / "mine") == 0
    before = results(series.root / "mine")
    runner = series.start("--fresh", "--out", series.root / "mine", limit=1000)
    told, complaints = runner.communicate()
    assert runner.returncode == 1, complaints
    assert complaints.count("\n") == 1 and "01_first, seed 0 failed: " in complaints and "too large" in complaints
    assert "1 of 1 runs to do" in told
    assert results(series.root / "mine") == before
