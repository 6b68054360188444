"""The measurement of a sweep's engine, in small; and its words."""

import json

import pytest
from conftest import make_run

from benchmarks import sweep_cost, sweep_text
from common.runs import Runs

OTHERS = {"scheduler_mb": 110.0, "worker_mb": 95.0}
RECORD = {
    "machine": "2 cores",
    "points": 8,
    "images": 2000,
    "seconds": {"here 1": [80.0], "here 2": [40.0], "dask 1": [96.0], "dask 2": [48.0]},
    "speed_up": {"here": 2.0, "dask": 2.0},
    "overhead": 2.0,
    "stubs": [
        {
            "points": 1000,
            "seconds": 14.0,
            "cpu": 7.0,
            "scheduler_cpu": 4.0,
            "mb": 300.0,
            "scheduler_mb": 100.0,
            "worker_mb": 90.0,
        },
        {
            "points": 5000,
            "seconds": 54.0,
            "cpu": 25.0,
            "scheduler_cpu": 20.0,
            "mb": 340.0,
            "scheduler_mb": 110.0,
            "worker_mb": 95.0,
        },
    ],
}


@pytest.mark.slow
def test_stub_points_go_the_whole_way_and_come_back():
    [first, second] = sweep_cost.stub_points((10, 20))
    assert (first["points"], second["points"]) == (10, 20)
    for row in (first, second):
        assert row["seconds"] > 0 and row["mb"] >= row["before_mb"] > 0 and row["scheduler_mb"] > 0 < row["worker_mb"]
        assert row["cpu"] > 0 < row["scheduler_cpu"]


def test_the_page_says_what_was_measured(monkeypatch):
    monkeypatch.setattr(sweep_text, "file_size", lambda run: 10_000)
    run = make_run(stage="06_lr_scheduler", seconds=168.0)
    monkeypatch.setattr(sweep_text, "load_runs", lambda folder, stage: Runs(stage, [run]))
    text = "\n".join(sweep_text.section(RECORD))
    assert "| this machine | 6.0 | 12.0 | 2.00 |" in text and "| Dask | 5.0 | 10.0 | 2.00 |" in text
    assert "Dask adds **2.0 s a point**" in text
    assert "| 5,000 | 54.0 | 10.8 | 5.0 | 4.0 | 340 | 110 | 95 |" in text
    # (168 + 12) s × 10,000 points; 10 ms a point; 340 MB and 0.01 MB a point more.
    for words in ("500 core hours", "10 days on two cores", "5.0 hours on 100", "10.0 ms on a point", "1.7 minutes"):
        assert words in text
    assert "18,000 cores" in text and "390 MB of memory" in text and "100 MB of disk" in text


def test_the_committed_page_is_that_of_the_committed_figures():
    assert "\n".join(sweep_text.section(json.loads(sweep_text.RECORD.read_text()))) in sweep_text.PAGE.read_text()
